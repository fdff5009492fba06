//! The screen: what is to be shown comes in, characters and colours go out. What is kept here is how
//! far the list is scrolled, and how many rows there were room for.

mod detail;
mod list;
#[cfg(test)]
mod tests;

use nano_tls::short_name;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Padding, Paragraph, TableState},
};

use super::{asking::Period, model::Model, plain::totals};
use crate::{
    command::{
        output::Tone,
        status::{duration, redis_in_words},
    },
    json::written_ms,
};

const KEYS: &str = "\
s > <     order by the next column, or the one before
1 to 7    order by that column; r reverses
/         show only patterns that contain what is typed
          Enter keeps that, Esc drops it
arrows    move, and j, k, PageUp, PageDown, Home, End
Enter     the instances of a pattern, and how its calls failed
Esc       go back
p         pause
q Ctrl-C  end

(other)   patterns that the node does not count by themselves
(none)    calls that failed before their pattern was known

What programs call without the node it does not see.";

/// Draws on the screen of a terminal.
pub(super) struct Painter {
    is_colored: bool,
    prefix: Option<String>,
    list: TableState,
    page: usize,
}

impl Painter {
    pub(super) fn new(is_colored: bool, prefix: Option<String>) -> Self {
        Self {
            is_colored,
            prefix,
            list: TableState::new(),
            page: 1,
        }
    }

    /// How many rows there was room for.
    pub(super) fn page(&self) -> usize {
        self.page
    }

    pub(super) fn paint(&mut self, frame: &mut Frame<'_>, model: &Model) {
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ];
        let [head, sums, notice, body, foot] = Layout::vertical(rows).areas(frame.area());
        self.paint_head(frame, head, model.period.as_ref());
        frame.render_widget(Paragraph::new(sums_in_words(model, sums.width)), sums);
        frame.render_widget(Paragraph::new(self.notice(model)), notice);
        match &model.detail {
            None => self.paint_list(frame, body, model),
            Some(detail) => self.paint_detail(frame, body, detail, model.looked_into()),
        }
        frame.render_widget(Paragraph::new(self.foot(model)), foot);
        if model.is_helping {
            paint_help(frame);
        }
    }

    fn paint_head(&self, frame: &mut Frame<'_>, area: Rect, period: Option<&Period>) {
        let Some(Period { status, at_ms, .. }) = period else {
            frame.render_widget("nanod top: no answer yet", area);
            return;
        };
        let (tone, redis) = redis_in_words(status.redis.as_ref());
        let identity = Span::styled(short_name(&status.identity), Modifier::BOLD);
        let place = format!(" at {}, up {}", status.quic, duration(status.uptime()));
        // The day is known to who looks at it.
        let time = written_ms(*at_ms / 1_000 * 1_000);
        let time = time.split_once('T').map_or("", |(_, time)| time);
        let redis = [
            Span::raw("  Redis: "),
            Span::styled(redis, self.style(tone)),
        ];
        let whole = Line::from(vec![identity.clone(), place.into()]);
        let timed = Line::from_iter(
            [Span::raw(format!("  {time}"))]
                .into_iter()
                .chain(redis.clone()),
        );
        // What comes first is what is left where there is no room.
        let candidates = [
            (whole, timed.clone()),
            (Line::from(identity.clone()), timed),
            (Line::from(identity.clone()), Line::from_iter(redis)),
        ];
        let fits = |(left, right): &(Line<'_>, Line<'_>)| {
            left.width() + right.width() <= area.width.into()
        };
        let fitting = candidates.into_iter().find(fits);
        let (left, right) = fitting.unwrap_or((identity.into(), Line::default()));
        frame.render_widget(left, area);
        frame.render_widget(right.right_aligned(), area);
    }

    /// What is out of the ordinary.
    fn notice(&self, model: &Model) -> Line<'_> {
        let mut parts = Vec::new();
        if let Some(error) = &model.lost {
            let words = format!("No answer, still trying: {error}");
            return Line::styled(words, self.style(Tone::Bad));
        }
        if model.is_paused {
            parts.push(Span::styled(
                "paused, p goes on  ",
                self.style(Tone::Doubtful),
            ));
        }
        if model.is_filtering || !model.filter.is_empty() {
            let end = if model.is_filtering { "_" } else { "" };
            parts.push(format!("filter: {}{end}  ", model.filter).into());
        }
        if let Some(prefix) = &self.prefix {
            parts.push(format!("only of {prefix}").into());
        }
        parts.into()
    }

    fn foot(&self, model: &Model) -> Line<'static> {
        let keys: &[_] = match model {
            _ if model.is_filtering => &[("type", "filter"), ("Enter", "keep"), ("Esc", "drop")],
            _ if model.detail.is_some() => &[
                ("Esc", "back"),
                ("arrows", "move"),
                ("p", "pause"),
                ("?", "keys"),
                ("q", "end"),
            ],
            _ => &[
                ("s < >", "order"),
                ("r", "reverse"),
                ("/", "filter"),
                ("Enter", "instances"),
                ("p", "pause"),
                ("?", "keys"),
                ("q", "end"),
            ],
        };
        let spans = keys.iter().flat_map(|(key, what)| {
            [
                Span::styled(*key, Modifier::BOLD),
                format!(" {what}  ").into(),
            ]
        });
        Line::from_iter(spans)
    }

    /// How a tone looks. Without colours what is bad stands out all the same.
    fn style(&self, tone: Tone) -> Style {
        let color = match tone {
            Tone::Good => Color::Green,
            Tone::Doubtful => Color::Yellow,
            Tone::Bad => Color::Red,
            Tone::Neutral => return Style::new(),
        };
        match self.is_colored {
            true => Style::new().fg(color),
            false if tone == Tone::Good => Style::new(),
            false => Style::new().add_modifier(Modifier::BOLD),
        }
    }
}

/// What became of all calls, and how much there is if there is room for it.
fn sums_in_words(model: &Model, width: u16) -> String {
    let Some(period) = &model.period else {
        return String::new();
    };
    let Some(rates) = &period.rates else {
        return "the first period is not over yet".to_owned();
    };
    let sums = totals(rates);
    let (patterns, sessions) = (period.status.patterns, period.status.sessions);
    let whole = format!("{sums}; {patterns} patterns, {sessions} sessions");
    match whole.chars().count() <= width.into() {
        true => whole,
        false => sums,
    }
}

fn paint_help(frame: &mut Frame<'_>) {
    let width = KEYS.lines().map(|line| line.chars().count()).max();
    let area = frame.area().centered(
        Constraint::Length(width.unwrap_or(0) as u16 + 4),
        Constraint::Length(KEYS.lines().count() as u16 + 2),
    );
    let block = Block::bordered()
        .title(" keys; any key goes on ")
        .padding(Padding::horizontal(1));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(KEYS).block(block), area);
}

/// As much of a text as there is room for, without its middle if it is too long: patterns differ at
/// their ends.
fn shortened(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (begin, end) = (kept / 2, kept - kept / 2);
    let mut short: String = text.chars().take(begin).collect();
    short.push('…');
    short.extend(text.chars().skip(length - end));
    short
}
