//! Spans in the protocol buffers of OTLP 1.x (`opentelemetry/proto/trace/v1/trace.proto`): records of
//! calls come in, the body of an export request goes out. Field numbers are those of the `.proto` files.

use std::time::{SystemTime, UNIX_EPOCH};

use nano_wire::{Certainty, Code};

use crate::observe::record::{Attempt, Ending, Over, Record, SpanIds};

const KIND_SERVER: u64 = 2;
const STATUS_ERROR: u64 = 2;

/// The parent is known to be in another process, or not to be.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The types of fields on the wire.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// One `ExportTraceServiceRequest` with the spans of all records that have one.
pub(super) fn request<'r>(
    resource: &[(String, String)],
    records: impl Iterator<Item = &'r Record>,
) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| {
            for (key, value) in resource {
                message.attribute(1, key, Value::Text(value));
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.text(1, "nanod");
                scope.text(2, env!("CARGO_PKG_VERSION"));
            });
            for record in records {
                scope_spans.message(2, |message| span(message, record));
            }
        });
    });
    request.0
}

fn span(message: &mut Message, record: &Record) {
    let (Some(trace), Some(SpanIds { id, parent })) = (&record.trace, &record.span) else {
        return;
    };
    message.bytes(1, &trace.trace_id);
    message.bytes(2, id);
    if let Some(parent) = parent {
        message.bytes(4, parent);
    }
    let pattern = record.pattern.as_ref().map(|pattern| pattern.as_str());
    message.text(5, pattern.unwrap_or("nano call"));
    message.number(6, KIND_SERVER);
    message.time(7, record.begun_at);
    message.time(8, record.ended_at());
    attributes(message, record, pattern);
    for attempt in &record.attempts {
        message.message(11, |event| attempt_failed(event, attempt));
    }
    if let Ending::Failed(_, _, why) = &record.ending {
        message.message(15, |status| {
            status.text(2, why);
            status.number(3, STATUS_ERROR);
        });
    }
    let remote = if parent.is_some() { IS_REMOTE } else { 0 };
    message.fixed32(16, u32::from(trace.flags) | HAS_IS_REMOTE | remote);
}

fn attributes(message: &mut Message, record: &Record, pattern: Option<&str>) {
    let mut text = |key, value: &str| message.attribute(9, key, Value::Text(value));
    text("rpc.system", "nano");
    text("network.protocol.name", record.over.name());
    if let Some(pattern) = pattern {
        text("rpc.method", pattern);
        text("nano.pattern", pattern);
    }
    if let Some(instance) = record.instance {
        text("nano.instance", &instance.to_string());
    }
    if let Some(caller) = record
        .caller
        .as_deref()
        .filter(|_| record.over != Over::Node)
    {
        text("nano.caller", caller);
    }
    text("nano.certainty", record.ending.certainty().name());
    if let Ending::Failed(code, ..) = &record.ending {
        text("error.type", code.name());
    }
    let mut number = |key, value| message.attribute(9, key, Value::Number(value));
    number("nano.request.bytes", record.bytes_in);
    number("nano.response.bytes", record.bytes_out);
    if let Some(status) = record.status {
        number("http.response.status_code", status.into());
    }
}

fn attempt_failed(event: &mut Message, attempt: &Attempt) {
    event.time(1, attempt.at);
    event.text(2, "attempt failed");
    let mut text = |key, value: &str| event.attribute(3, key, Value::Text(value));
    if let Some(instance) = attempt.instance {
        text("nano.instance", &instance.to_string());
    }
    // Without one an instance had just left.
    let (code, certainty) = attempt
        .failure
        .unwrap_or((Code::Draining, Certainty::NotSent));
    text("error.type", code.name());
    text("nano.certainty", certainty.name());
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

enum Value<'v> {
    Text(&'v str),
    Number(u64),
}

impl Message {
    /// A message within this one.
    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn attribute(&mut self, field: u64, key: &str, value: Value<'_>) {
        self.message(field, |attribute| {
            attribute.text(1, key);
            attribute.message(2, |any| match value {
                Value::Text(text) => any.text(1, text),
                Value::Number(number) => any.number(3, number),
            });
        });
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.tag(field, VARINT);
        self.varint(number);
    }

    fn time(&mut self, field: u64, time: SystemTime) {
        let nanos = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        self.tag(field, FIXED64);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.0.extend_from_slice(&nanos.to_le_bytes());
    }

    fn fixed32(&mut self, field: u64, number: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn tag(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}
