//! The table of `nanod routes`: routes come in page by page, rows go out. A page of a long list is
//! printed before the next one is known, so columns may only grow.

use std::io::{self, Write};

use comfy_table::{
    Attribute, Cell, ColumnConstraint, ContentArrangement, Table, Width, presets::NOTHING,
};
use nano_client::Route;

use super::line::{COLUMNS, HEADER, row};
use crate::command::output::Tone;

/// The column of the state, which is coloured.
const STATE: usize = 4;

/// How rows are set.
pub(super) struct Rows {
    /// Whether there are colours.
    is_colored: bool,
    /// Characters of a line, in which cells are wrapped; `None` for any number.
    line_width: Option<u16>,
    /// How wide each column is.
    widths: [u16; COLUMNS],
    has_begun: bool,
}

impl Rows {
    pub(super) fn new(is_colored: bool, line_width: Option<u16>) -> Self {
        // Whether NO_COLOR counts has been decided.
        crossterm::style::force_color_output(is_colored);
        Self {
            is_colored,
            line_width,
            widths: [0; COLUMNS],
            has_begun: false,
        }
    }

    /// Prints some more, after the header if they are the first.
    pub(super) fn print(&mut self, out: &mut impl Write, routes: &[Route]) -> io::Result<()> {
        let mut table = self.table();
        if !self.has_begun && !routes.is_empty() {
            self.has_begun = true;
            let header = HEADER.map(|name| Cell::new(name).add_attribute(Attribute::Bold));
            table.add_row(header);
        }
        table.add_rows(routes.iter().map(Self::cells));
        self.align(&mut table);
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        match self.is_colored {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        match self.line_width {
            Some(width) => table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        table
    }

    fn cells(route: &Route) -> Vec<Cell> {
        let mut cells: Vec<_> = row(route).into_iter().map(Cell::new).collect();
        if let Some(color) = Tone::of(route.state).cell_color() {
            cells[STATE] = Cell::new(route.state).fg(color);
        }
        cells
    }

    /// Makes columns as wide as those of the pages before, where lines may be of any width.
    fn align(&mut self, table: &mut Table) {
        let found = table.column_max_content_widths();
        for (width, found) in self.widths.iter_mut().zip(found) {
            *width = (*width).max(found);
        }
        for (column, width) in table.column_iter_mut().zip(self.widths) {
            column.set_padding((0, 2));
            if self.line_width.is_none() {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width + 2)));
            }
        }
    }
}
