//! One pattern: its figures, how its calls failed, and how its instances stand come in, lines go out.

use std::time::Duration;

use nano_client::{Of, Standing, State, Winner};
use nano_tls::short_name;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Modifier,
    text::{Line, Span, Text},
    widgets::{Cell, Paragraph, Row, Table},
};

use super::{Painter, shortened};
use crate::{
    activity::rates::{PatternRate, Rate},
    command::{
        explain,
        output::Tone,
        place, short_id,
        top::{cells, model::Detail},
    },
};

/// Characters from which on there is room for words.
const WIDE: u16 = 120;

/// Lines of failures at most, and the part of all lines that they take at most.
const FAILURES: u16 = 8;
const PART: u16 = 4;

/// Lines from which on there is room for empty ones.
const HIGH: u16 = 10;

const INSTANCE_HEADER: [&str; 7] = [
    "INSTANCE", "IDENTITY", "AT", "STATE", "FLIGHT", "AVERAGE", "PICKED",
];

impl Painter {
    pub(super) fn paint_detail(
        &mut self,
        frame: &mut Frame<'_>,
        area: Rect,
        detail: &Detail,
        row: Option<&PatternRate>,
    ) {
        let above = self.above(&detail.of, row.map(|row| &row.rate), area.height);
        let rows = [
            Constraint::Length(u16::try_from(above.len()).unwrap_or(u16::MAX)),
            Constraint::Fill(1),
        ];
        let [top, below] = Layout::vertical(rows).areas(area);
        frame.render_widget(Paragraph::new(above), top);
        self.page = usize::from(below.height.saturating_sub(1)).max(1);
        if matches!(detail.of, Of::Pattern(_)) {
            self.paint_instances(frame, below, detail);
        }
    }

    /// What there is above the instances.
    fn above(&self, of: &Of, rate: Option<&Rate>, height: u16) -> Vec<Line<'static>> {
        let name = Span::styled(cells::name(of).to_owned(), Modifier::BOLD);
        let mut lines = vec![Line::from(name)];
        let Some(rate) = rate else {
            lines.push("The node does not count it any more.".into());
            return lines;
        };
        let (calls, failures) = (rate.calls_per_s, rate.failures_per_s);
        lines.push(Line::from(format!(
            "{} calls/s, {} failures/s, p50 {}, p99 {}, {} in flight{}",
            cells::rate(calls),
            cells::rate(failures),
            cells::latency(rate.p50),
            cells::latency(rate.p99),
            rate.in_flight,
            states(rate),
        )));
        let between = (height >= HIGH).then(Line::default);
        lines.extend(between.clone());
        let most = FAILURES.min(height / PART);
        let mut failures = rate.failures.clone();
        failures.sort_by(|(.., one), (.., other)| other.total_cmp(one));
        match failures.is_empty() {
            true => lines.push("No call has failed in this period.".into()),
            false => lines.push(Line::styled(
                format!("{:>8}  {:<20} {}", "FAIL/S", "CODE", "CERTAINTY"),
                Modifier::BOLD,
            )),
        }
        for (code, certainty, per_s) in failures.iter().take(most.into()) {
            let (code, certainty) = (code.name(), certainty.name());
            let text = format!("{:>8}  {code:<20} {certainty}", cells::rate(*per_s));
            lines.push(Line::styled(text, self.style(Tone::Bad)));
        }
        lines.extend(between);
        lines
    }

    fn paint_instances(&self, frame: &mut Frame<'_>, area: Rect, detail: &Detail) {
        let Some(explained) = &detail.explained else {
            frame.render_widget(Paragraph::new("Asking for its instances ..."), area);
            return;
        };
        let winner = explained.winner.as_ref();
        // Without it another pattern may get its calls.
        let winner = winner.filter(|winner| winner.pattern == cells::name(&detail.of));
        let Some(winner) = winner else {
            frame.render_widget(Paragraph::new("It has no instances."), area);
            return;
        };
        let is_wide = area.width >= WIDE;
        let (identity, at) = if is_wide { (30, 24) } else { (12, 15) };
        let widths = [
            Constraint::Length(8),
            Constraint::Length(identity),
            Constraint::Length(at),
            Constraint::Length(11),
            Constraint::Length(6),
            Constraint::Length(7),
            Constraint::Fill(1),
        ];
        // There may be fewer than when it was scrolled.
        let last = winner.listed.len().saturating_sub(1);
        let listed = winner.listed.iter().skip(detail.scroll.min(last));
        let rows = listed.map(|standing| {
            let cells = self.instance(standing, identity.into(), at.into(), is_wide);
            Row::new(cells)
        });
        let header = Row::new(INSTANCE_HEADER).style(Modifier::BOLD);
        let table = Table::new(rows.chain(unlisted(winner)), widths)
            .header(header)
            .column_spacing(1);
        frame.render_widget(table, area);
    }

    fn instance(
        &self,
        standing: &Standing,
        identity: usize,
        at: usize,
        is_wide: bool,
    ) -> [Cell<'static>; 7] {
        let latency = standing.latency_us.map(Duration::from_micros);
        let pick = match is_wide {
            true => explain::pick_in_words(standing),
            false => pick_in_a_word(standing),
        };
        let number = |text: String| Cell::new(Text::raw(text).right_aligned());
        [
            Cell::new(short_id(standing.instance)),
            Cell::new(shortened(short_name(&standing.identity), identity)),
            Cell::new(shortened(&place(&standing.place), at)),
            Cell::new(standing.state.to_string()).style(self.style(Tone::of(standing.state))),
            number(standing.in_flight.to_string()),
            number(cells::latency(latency)),
            Cell::new(pick).style(self.style(explain::tone(standing.pick))),
        ]
    }
}

fn pick_in_a_word(standing: &Standing) -> String {
    let word = standing.pick.name();
    match standing.ejected() {
        Some(left) => format!("{word} {:.1} s", left.as_secs_f32()),
        None => word.to_owned(),
    }
}

/// How its instances stand, in numbers.
fn states(rate: &Rate) -> String {
    let states = rate.instances.iter();
    let states: Vec<_> = states
        .map(|(state, count): &(State, u32)| format!("{count} {}", state.name()))
        .collect();
    match states.is_empty() {
        true => String::new(),
        false => format!("; {}", states.join(", ")),
    }
}

fn unlisted(winner: &Winner) -> Option<Row<'static>> {
    let rest = (winner.instances as usize).saturating_sub(winner.listed.len());
    (rest > 0).then(|| Row::new(["and".to_owned(), format!("{rest} more")]))
}
