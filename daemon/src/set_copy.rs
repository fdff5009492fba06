//! A node's own routes over a control stream, for a node that has not seen its newest in Redis:
//! in goes a [`struct@Copy`] at the one end, page by page, out it comes at the other.

use std::mem;

use nano_routing::Pattern;
use nano_wire::{
    control::{ControlError, ControlReceiver, ControlSender},
    message::{AskSet, Control, SetPage, SetRecord},
};

use crate::cluster::{Copy, Key, Kind, Record};

/// Bytes of records in a page, each of which is smaller.
const PAGE: usize = 32 * 1024;

/// Bytes that a record takes beside its pattern and payload, at most.
const RECORD: usize = 64;

/// Most records that are taken of a node: more than it may have registered.
const LIMIT: usize = 100_000_000;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The stream failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It holds something else.
    #[error("the node answers with something else than its routes: {0}")]
    Answer(String),
}

/// Sends a set, or that there is nothing newer, in answer to a request.
///
/// # Errors
///
/// If the connection ends or the peer does not read.
pub async fn send(
    sender: &mut ControlSender,
    id: u64,
    copy: Option<Copy>,
) -> Result<(), ControlError> {
    let Some(Copy { version, records }) = copy else {
        return sender.send(id, &Control::Done).await;
    };
    let page = |records, is_last| {
        Control::SetPage(SetPage {
            version,
            records,
            is_last,
        })
    };
    let (mut part, mut size) = (Vec::new(), 0);
    for (key, record) in records {
        let length = RECORD + key.pattern.as_str().len() + record.payload.len();
        if size + length > PAGE && !part.is_empty() {
            sender.send(id, &page(mem::take(&mut part), false)).await?;
            size = 0;
        }
        size += length;
        part.push(to_wire(key, &record));
    }
    sender.send(id, &page(part, true)).await
}

/// Asks a node for its set; `None` if there is none that is newer than what is held.
///
/// # Errors
///
/// If the connection ends, or the node answers with something else.
pub async fn ask(
    sender: &mut ControlSender,
    receiver: &mut ControlReceiver,
    held: Option<u64>,
) -> Result<Option<Copy>, CopyError> {
    sender.send(ASK, &Control::AskSet(AskSet { held })).await?;
    let mut records = Vec::new();
    loop {
        let page = match receiver.recv().await? {
            (ASK, Control::SetPage(page)) => page,
            (ASK, Control::Done) => return Ok(None),
            (ASK, Control::Refused(failure)) => return Err(CopyError::Answer(failure.to_string())),
            // The node may be leaving just then.
            _ => continue,
        };
        if records.len() + page.records.len() > LIMIT {
            let reason = format!("more than {LIMIT} of them");
            return Err(CopyError::Answer(reason));
        }
        for record in page.records {
            records.push(from_wire(record)?);
        }
        if page.is_last {
            let version = page.version;
            return Ok(Some(Copy { version, records }));
        }
    }
}

/// The number of the one request on a connection.
const ASK: u64 = 1;

fn to_wire(key: Key, record: &Record) -> SetRecord {
    SetRecord {
        pattern: key.pattern.to_string(),
        instance: key.instance,
        incarnation: record.incarnation,
        is_http: record.kind == Kind::Http,
        payload: record.payload.to_vec(),
    }
}

fn from_wire(record: SetRecord) -> Result<(Key, Record), CopyError> {
    let pattern = Pattern::parse(&record.pattern);
    let key = Key {
        pattern: pattern.map_err(|error| CopyError::Answer(error.to_string()))?,
        instance: record.instance,
    };
    let record = Record {
        incarnation: record.incarnation,
        kind: match record.is_http {
            true => Kind::Http,
            false => Kind::Session,
        },
        payload: record.payload.into(),
    };
    Ok((key, record))
}
