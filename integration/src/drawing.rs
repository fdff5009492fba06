//! What a terminal shows, as a picture: text with the sequences that set colours comes in, SVG goes out.

use std::fmt::Write;

/// The size of a character, and the edge around all of them, in pixels.
const WIDTH: f64 = 8.4;
const HEIGHT: usize = 19;
const EDGE: usize = 14;

/// Of text and what is behind it.
const TEXT: &str = "#d7dce2";
const BEHIND: &str = "#14181d";

/// The first eight colours of a terminal.
const COLORS: [&str; 8] = [
    "#3b424c", "#ff7b72", "#7ee787", "#e3b341", "#79b8ff", "#d2a8ff", "#56d4dd", TEXT,
];

/// How a character looks.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Look {
    color: Option<usize>,
    is_bold: bool,
    is_dim: bool,
    is_reversed: bool,
}

impl Look {
    /// Takes the numbers between `ESC [` and `m`; what is no colour of the first eight is passed over.
    fn set(&mut self, numbers: &str) {
        let mut numbers = numbers.split(';').map(|number| number.parse().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                0 => *self = Self::default(),
                1 => self.is_bold = true,
                2 => self.is_dim = true,
                7 => self.is_reversed = true,
                22 => (self.is_bold, self.is_dim) = (false, false),
                27 => self.is_reversed = false,
                30..=37 => self.color = Some(number - 30),
                38 => {
                    // One of a palette; tmux writes no others unless it is told.
                    self.color = numbers.nth(1).filter(|color| *color < COLORS.len());
                }
                39 => self.color = None,
                _ => {}
            }
        }
    }
}

/// Draws what a terminal of so many columns and rows shows.
#[must_use]
pub fn drawing(screen: &str, columns: usize, rows: usize) -> String {
    let width = (columns as f64 * WIDTH).ceil() as usize + 2 * EDGE;
    let height = rows * HEIGHT + 2 * EDGE;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14" fill="{TEXT}">
<rect width="{width}" height="{height}" rx="8" fill="{BEHIND}"/>
"#
    );
    let mut look = Look::default();
    for (row, line) in screen.lines().take(rows).enumerate() {
        let mut column = 0;
        for piece in line.split('\u{1b}') {
            let text = match piece.strip_prefix('[').and_then(|it| it.split_once('m')) {
                Some((numbers, text)) => {
                    look.set(numbers);
                    text
                }
                None => piece,
            };
            draw(&mut svg, look, row, column, text);
            column += text.chars().count();
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Draws a piece of a line. Each of its characters is put in its place, whatever font there is.
fn draw(svg: &mut String, look: Look, row: usize, column: usize, text: &str) {
    let at = |column: usize| EDGE as f64 + column as f64 * WIDTH;
    let (left, top) = (at(column), EDGE + row * HEIGHT);
    let color = look.color.map_or(TEXT, |color| COLORS[color]);
    let (color, behind) = match look.is_reversed {
        true => (BEHIND, Some(color)),
        false => (color, None),
    };
    let length = text.chars().count() as f64 * WIDTH;
    if let Some(behind) = behind.filter(|_| !text.is_empty()) {
        let _ = writeln!(
            svg,
            r#"<rect x="{left:.1}" y="{top}" width="{length:.1}" height="{HEIGHT}" fill="{behind}"/>"#
        );
    }
    let base = top + HEIGHT - 5;
    let weight = if look.is_bold {
        r#" font-weight="bold""#
    } else {
        ""
    };
    let opacity = if look.is_dim { r#" opacity="0.6""# } else { "" };
    let mut words = text.char_indices().enumerate().peekable();
    while let Some((first, (begin, character))) = words.next() {
        if character == ' ' {
            continue;
        }
        let mut characters = 1;
        while words.next_if(|(_, (_, next))| *next != ' ').is_some() {
            characters += 1;
        }
        let end = words.peek().map_or(text.len(), |(_, (end, _))| *end);
        let word = escaped(&text[begin..end]);
        let (x, length) = (at(column + first), f64::from(characters) * WIDTH);
        let _ = writeln!(
            svg,
            r#"<text x="{x:.1}" y="{base}" textLength="{length:.1}" fill="{color}"{weight}{opacity}>{word}</text>"#
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::drawing;

    #[test]
    fn colours_and_places_are_drawn() {
        let svg = drawing(
            "a \u{1b}[1m\u{1b}[38;5;1m<b\u{1b}[0m\n\u{1b}[7m c\u{1b}[27md",
            10,
            2,
        );
        let expected = [
            r##"<text x="14.0" y="28" textLength="8.4" fill="#d7dce2">a</text>"##,
            r##"<text x="30.8" y="28" textLength="16.8" fill="#ff7b72" font-weight="bold">&lt;b</text>"##,
            r##"<rect x="14.0" y="33" width="16.8" height="19" fill="#d7dce2"/>"##,
            r##"<text x="22.4" y="47" textLength="8.4" fill="#14181d">c</text>"##,
            r##"<text x="30.8" y="47" textLength="8.4" fill="#d7dce2">d</text>"##,
        ];
        for line in expected {
            assert!(svg.contains(line), "{line} of\n{svg}");
        }
    }
}
