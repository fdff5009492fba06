//! The list of patterns: rows come in, a table goes out that is as wide as the screen. Where there is
//! no room for all columns the less needed ones are left out.

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::Modifier,
    text::{Span, Text},
    widgets::{Cell, Paragraph, Row, Table},
};

use super::{Painter, shortened};
use crate::{
    activity::rates::PatternRate,
    cli::Column,
    command::top::{cells::name, model::Model},
};

/// Characters of a pattern that other columns are left out for, and those that it has where there is room.
const LEAST_PATTERN: u16 = 20;
const WIDE_PATTERN: u16 = 40;

/// Characters of the instances: those that are not ready in one word, or in full.
const INSTANCES: u16 = 15;
const ALL_INSTANCES: u16 = 34;

/// What is left out first where there is no room.
const LEFT_OUT: [Column; 5] = [
    Column::P50,
    Column::InFlight,
    Column::Instances,
    Column::P99,
    Column::Failures,
];

/// Which columns there are, and how wide they are.
struct Columns {
    shown: Vec<Column>,
    pattern: u16,
    is_whole: bool,
}

impl Columns {
    /// Those that there is room for, where the longest pattern has so many characters.
    fn within(width: u16, longest: usize) -> Self {
        let mut shown = Column::ALL.to_vec();
        for column in LEFT_OUT {
            if taken(&shown) + LEAST_PATTERN <= width {
                break;
            }
            shown.retain(|other| *other != column);
        }
        let more = ALL_INSTANCES - INSTANCES;
        let is_whole = taken(&shown) + WIDE_PATTERN + more <= width;
        let others = taken(&shown) + if is_whole { more } else { 0 };
        let wanted = u16::try_from(longest).unwrap_or(u16::MAX).max(WIDE_PATTERN);
        Self {
            shown,
            // Figures stay near to their pattern.
            pattern: wanted.min(width.saturating_sub(others)),
            is_whole,
        }
    }

    fn width(&self, column: Column) -> u16 {
        match column {
            Column::Pattern => self.pattern,
            Column::Instances if self.is_whole => ALL_INSTANCES,
            _ => width(column),
        }
    }
}

fn width(column: Column) -> u16 {
    match column {
        Column::Pattern => 0,
        Column::Calls => 8,
        Column::Instances => INSTANCES,
        Column::Failures | Column::P50 | Column::P99 | Column::InFlight => 7,
    }
}

/// Characters of all columns but the pattern, with those between them.
fn taken(columns: &[Column]) -> u16 {
    let between = columns.len().saturating_sub(1) as u16;
    columns.iter().map(|column| width(*column)).sum::<u16>() + between
}

impl Painter {
    pub(super) fn paint_list(&mut self, frame: &mut Frame<'_>, area: Rect, model: &Model) {
        self.page = usize::from(area.height.saturating_sub(1)).max(1);
        let rows = model.rows();
        let lengths = rows.iter().map(|row| name(&row.of).chars().count());
        let columns = Columns::within(area.width, lengths.max().unwrap_or(0));
        let widths = columns.shown.iter().map(|column| columns.width(*column));
        let widths: Vec<_> = widths.map(Constraint::Length).collect();
        let header = columns.shown.iter().map(|column| title(*column, model));
        let header = Row::new(header).style(Modifier::BOLD);
        let body = rows.iter().map(|row| {
            let cells = columns.shown.iter();
            Row::new(cells.map(|column| self.cell(*column, row, &columns)))
        });
        let table = Table::new(body, widths)
            .header(header)
            .column_spacing(1)
            .row_highlight_style(Modifier::REVERSED);
        let cursor = (!rows.is_empty()).then(|| model.cursor(&rows));
        self.list.select(cursor);
        frame.render_stateful_widget(table, area, &mut self.list);
        if rows.is_empty() && area.height > 2 {
            let below = Rect {
                y: area.y + 2,
                height: 1,
                ..area
            };
            frame.render_widget(Paragraph::new(nothing(model)), below);
        }
    }

    fn cell(&self, column: Column, row: &PatternRate, columns: &Columns) -> Cell<'static> {
        let text = column.cell(row, columns.is_whole);
        let text = shortened(&text, columns.width(column).into());
        // Only what is said has a colour, or the cursor would make a block of it.
        let text = Text::from(Span::styled(text, self.style(column.tone(row))));
        match column.is_number() {
            true => Cell::new(text.right_aligned()),
            false => Cell::new(text),
        }
    }
}

fn title(column: Column, model: &Model) -> Cell<'static> {
    // The highest first, but of names the lowest.
    let is_down = (column == Column::Pattern) == model.is_reversed;
    let text = match column == model.sort {
        true if is_down => format!("{}▼", column.title()),
        true => format!("{}▲", column.title()),
        false => column.title().to_owned(),
    };
    match column.is_number() {
        true => Cell::new(Text::raw(text).right_aligned()),
        false => Cell::new(text),
    }
}

fn nothing(model: &Model) -> &'static str {
    let rates = model.period.as_ref().and_then(|it| it.rates.as_ref());
    match rates {
        None => "Waiting for the end of the first period ...",
        Some(rates) if rates.patterns.is_empty() => "No pattern was called yet.",
        Some(_) if model.filter.is_empty() => "No pattern was called yet.",
        Some(_) => "No pattern contains that.",
    }
}
