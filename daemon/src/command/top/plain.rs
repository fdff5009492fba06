//! A period as text that is read in a pipe: rates come in, a table or a line of JSON goes out.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets::NOTHING};
use nano_client::Status;
use nano_tls::short_name;
use serde::Serialize;

use super::{asking::Period, cells, model::Model};
use crate::{
    activity::{Rates, rates::PatternRate},
    cli::Column,
    command::status::{duration, redis_in_words},
    json::{PatternRateObject, RateObject, millis, written_ms},
};

/// What became of a node's calls in a period.
#[derive(Serialize)]
struct PeriodObject {
    /// Its end.
    time: String,
    period_ms: f64,
    /// The identity of the node, and this start of it.
    node: String,
    instance: String,
    uptime_ms: u64,
    total: RateObject,
    patterns: Vec<PatternRateObject>,
}

/// Prints a period as one line of JSON; of none before there are two answers of one node.
pub(super) fn json(out: &mut impl Write, model: &Model) -> io::Result<()> {
    let Some((period, rates)) = whole(model) else {
        return Ok(());
    };
    let line = PeriodObject {
        time: written_ms(period.at_ms),
        period_ms: millis(rates.period),
        node: period.status.identity.clone(),
        instance: period.status.instance.to_string(),
        uptime_ms: period.status.uptime_ms,
        total: RateObject::from(&rates.total),
        patterns: model
            .rows()
            .into_iter()
            .map(PatternRateObject::from)
            .collect(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)?;
    out.flush()
}

/// Prints a period as a table.
pub(super) fn table(out: &mut impl Write, model: &Model, is_colored: bool) -> io::Result<()> {
    let Some((period, rates)) = whole(model) else {
        return Ok(());
    };
    writeln!(out, "{}", headline(&period.status, period.at_ms))?;
    writeln!(out, "{}\n", totals(rates))?;
    // Whether NO_COLOR counts has been decided.
    crossterm::style::force_color_output(is_colored);
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    match is_colored {
        true => table.enforce_styling(),
        false => table.force_no_tty(),
    };
    let header = Column::ALL.map(|column| Cell::new(column.title()).add_attribute(Attribute::Bold));
    table.add_row(header);
    for row in model.rows() {
        table.add_row(Column::ALL.map(|column| cell(column, row)));
    }
    for (cells, column) in table.column_iter_mut().zip(Column::ALL) {
        cells.set_padding((0, 2));
        if column.is_number() {
            cells.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    out.flush()
}

fn cell(column: Column, row: &PatternRate) -> Cell {
    let cell = Cell::new(column.cell(row, true));
    match column.tone(row).cell_color() {
        Some(color) => cell.fg(color),
        None => cell,
    }
}

/// Which node it is, and how it does.
fn headline(status: &Status, at_ms: u64) -> String {
    let (_, redis) = redis_in_words(status.redis.as_ref());
    let (identity, quic) = (short_name(&status.identity), &status.quic);
    let (up, time) = (duration(status.uptime()), written_ms(at_ms));
    format!("{identity} at {quic}, up {up}, {time}, Redis: {redis}")
}

/// What became of all calls.
pub(super) fn totals(rates: &Rates) -> String {
    let total = &rates.total;
    let calls = cells::rate(total.calls_per_s);
    let failures = cells::rate(total.failures_per_s);
    let (p50, p99) = (cells::latency(total.p50), cells::latency(total.p99));
    let in_flight = total.in_flight;
    format!("{calls} calls/s, {failures} failures/s, p50 {p50}, p99 {p99}, {in_flight} in flight")
}

fn whole(model: &Model) -> Option<(&Period, &Rates)> {
    let period = model.period.as_ref()?;
    Some((period, period.rates.as_ref()?))
}
