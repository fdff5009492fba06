//! Charts as SVG, written by hand: bars for calls per second and for the 99th percentile.
//!
//! A group of bars has a scale of its own, since one call in flight and a thousand are
//! orders of magnitude apart; what is compared are the bars of one group.

use std::fmt::Write;

use crate::compare::{Case, Measured, Point};

const WIDTH: usize = 860;
/// Where the bars of a column begin.
const COLUMNS: [usize; 2] = [150, 520];
/// The longest bar; its figure stands behind it.
const LONGEST: f64 = 240.0;
const BAR: usize = 18;
const GAP: usize = 16;
const HEAD: usize = 64;

/// Colours in the order of contenders, legible on light and on dark.
const COLOURS: [&str; 5] = ["#2f81f7", "#8b949e", "#bf8700", "#2da44e", "#a371f7"];

const STYLE: &str = "\
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.head { font-weight: 600 }
.name { text-anchor: end }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
</style>
";

/// What a column shows.
struct Figure {
    title: &'static str,
    of: fn(&Measured) -> f64,
    says: fn(f64) -> String,
}

const FIGURES: [Figure; 2] = [
    Figure {
        title: "calls per second (more is better)",
        of: |measured| measured.calls_per_s,
        says: thousands,
    },
    Figure {
        title: "99th percentile (less is better)",
        of: |measured| measured.p99_us,
        says: |micros| format!("{:.2} ms", micros / 1000.0),
    },
];

/// The chart of one case.
pub(crate) fn draw(case: Case, points: &[&Point]) -> String {
    let mut body = text(16, 24, "title", case.says());
    for (figure, left) in FIGURES.iter().zip(COLUMNS) {
        body += &text(left, 48, "head", figure.title);
    }
    let mut top = HEAD;
    for point in points {
        body += &group(point, top);
        top += height(point);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" \
         width=\"{WIDTH}\" height=\"{top}\" role=\"img\">\n{STYLE}{body}</svg>\n"
    )
}

fn height(point: &Point) -> usize {
    (point.peers.len() + 2) * BAR + GAP
}

/// The bars at one number of calls in flight.
fn group(point: &Point, top: usize) -> String {
    let label = format!("{} {}", point.in_flight, point.case.unit());
    let mut body = text(16, top + 12, "head", &label);
    let contenders: Vec<&Measured> = point.contenders().collect();
    for (index, measured) in contenders.iter().enumerate() {
        let y = top + (index + 1) * BAR;
        body += &text(COLUMNS[0] - 8, y + 12, "name", measured.name);
        for (figure, left) in FIGURES.iter().zip(COLUMNS) {
            let largest = contenders.iter().map(|other| (figure.of)(other));
            let share = (figure.of)(measured) / largest.fold(f64::MIN_POSITIVE, f64::max);
            let colour = COLOURS[index % COLOURS.len()];
            body += &bar(
                left,
                y,
                share * LONGEST,
                colour,
                &(figure.says)((figure.of)(measured)),
            );
        }
    }
    body
}

fn bar(left: usize, top: usize, length: f64, colour: &str, says: &str) -> String {
    let height = BAR - 4;
    let mut bar = String::new();
    let _ = writeln!(
        bar,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{length:.1}\" height=\"{height}\" rx=\"2\" \
         fill=\"{colour}\"/>"
    );
    bar + &text(left + length as usize + 6, top + 12, "figure", says)
}

fn text(x: usize, y: usize, class: &str, says: &str) -> String {
    format!("<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{says}</text>\n")
}

/// A whole number with its thousands set apart.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(7.0), "7");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }
}
