//! A line of the access log: a call's record comes in, text or JSON goes out, in the form of the
//! node's other log lines.

use std::{fmt::Write, time::SystemTime};

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::record::Record;
use crate::config::LogFormat;

/// What filters of logs know the lines by.
const TARGET: &str = "nanod::access";

#[derive(Serialize)]
struct Line<'r> {
    timestamp: String,
    level: &'static str,
    fields: Fields<'r>,
    target: &'static str,
}

#[derive(Serialize)]
struct Fields<'r> {
    message: &'static str,
    caller: Option<&'r str>,
    over: &'static str,
    subject: &'r str,
    pattern: Option<&'r str>,
    instance: Option<String>,
    outcome: &'static str,
    certainty: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    latency_us: u64,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
}

/// Appends a line.
pub(super) fn append(out: &mut String, record: &Record, format: LogFormat) {
    let line = Line::of(record);
    match format {
        LogFormat::Json => {
            // Text and numbers always have a JSON form.
            out.push_str(&serde_json::to_string(&line).unwrap_or_default());
        }
        LogFormat::Text => line.append_text(out),
    }
    out.push('\n');
}

impl<'r> Line<'r> {
    fn of(record: &'r Record) -> Self {
        let trace = record
            .trace
            .map(|trace| u128::from_be_bytes(trace.trace_id));
        let span = record.span_id().map(u64::from_be_bytes);
        Self {
            timestamp: written(record.ended_at()),
            level: "INFO",
            target: TARGET,
            fields: Fields {
                message: "call",
                caller: record.caller.as_deref(),
                over: record.over.name(),
                subject: &record.subject,
                pattern: record.pattern.as_ref().map(|pattern| pattern.as_str()),
                instance: record.instance.map(|id| id.to_string()),
                outcome: record.ending.name(),
                certainty: record.ending.certainty().name(),
                status: record.status,
                latency_us: u64::try_from(record.took.as_micros()).unwrap_or(u64::MAX),
                bytes_in: record.bytes_in,
                bytes_out: record.bytes_out,
                trace_id: trace.map(|id| format!("{id:032x}")),
                span_id: span.map(|id| format!("{id:016x}")),
            },
        }
    }

    fn append_text(&self, out: &mut String) {
        let Fields {
            message,
            caller,
            over,
            subject,
            pattern,
            instance,
            outcome,
            certainty,
            status,
            latency_us,
            bytes_in,
            bytes_out,
            trace_id,
            span_id,
        } = &self.fields;
        let (timestamp, level, target) = (&self.timestamp, self.level, self.target);
        // A string takes whatever is written.
        let _ = write!(
            out,
            "{timestamp}  {level} {target}: {message} caller={} over={over} subject={subject:?} \
             pattern={:?} instance={} outcome={outcome} certainty={certainty} \
             latency_us={latency_us} bytes_in={bytes_in} bytes_out={bytes_out}",
            caller.unwrap_or("-"),
            pattern.unwrap_or("-"),
            instance.as_deref().unwrap_or("-"),
        );
        if let Some(status) = status {
            let _ = write!(out, " status={status}");
        }
        if let (Some(trace), Some(span)) = (trace_id, span_id) {
            let _ = write!(out, " trace_id={trace} span_id={span}");
        }
    }
}

fn written(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let micros = time.nanosecond() / 1000 * 1000;
    // Neither fails for a number of nanoseconds that a time has, in a year that a clock shows.
    let time = time.replace_nanosecond(micros).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}
