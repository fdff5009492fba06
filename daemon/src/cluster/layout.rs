//! The bytes in Redis. Everything but versions and counters is sealed bincode behind the
//! format's number; those two are hexadecimal digits, since scripts compare them.
//!
//! | where | bytes |
//! | --- | --- |
//! | field of a record | pattern, `0x00`, instance (16) |
//! | value of a record | format (1), incarnation, kind (0 session, 1 HTTP), payload, seal |
//! | field of a set's version | none: the empty field |
//! | value of a set's version | 16 digits |
//! | entry of a boot | counter: 16 digits, seal (32); head: version: 16 digits, format (1), count, digest, node, address, seal |
//! | delta | format (1), from, to, count, then per record its field and its sealed value or none; seal |
//!
//! No pattern holds a zero byte. Digits in an entry are covered by the seal after them.

use bincode::{BorrowDecode, Decode, Encode};
use bytes::BytesMut;
use nano_routing::Pattern;
use nano_wire::{InstanceId, codec};

use super::{
    command::{Delta, Entry},
    digest::{Digest, Sum},
    head::Head,
    record::{Boot, Key, Kind, Record},
    seal::{SEAL, Sealed, Sealer},
};

/// Version of the layout above.
const FORMAT: u8 = 1;

/// Digits of a version or counter.
pub(super) const DIGITS: usize = 16;

/// Bytes of an entry's counter.
pub(super) const COUNTER: usize = DIGITS + SEAL;

#[derive(Encode, BorrowDecode)]
struct RecordBytes<'a> {
    incarnation: u64,
    kind: u8,
    payload: &'a [u8],
}

#[derive(Encode, Decode)]
struct HeadBytes {
    count: u64,
    digest: u128,
    node: [u8; 16],
    address: String,
}

#[derive(Encode, Decode)]
struct DeltaBytes {
    from: u64,
    to: u64,
    count: u32,
}

type FieldAndValue<'a> = (&'a [u8], Option<&'a [u8]>);

/// A version or counter, as scripts compare it.
pub(super) fn digits(number: u64) -> String {
    format!("{number:016x}")
}

/// The reverse of [`digits`]: nothing else that could be read as a number is one, here and in
/// scripts.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let text = std::str::from_utf8(digits).ok()?;
    let is_one = text.len() == DIGITS && digits.iter().all(is_digit);
    is_one.then(|| u64::from_str_radix(text, 16).ok())?
}

/// The field of a record.
pub(super) fn field(key: &Key) -> Vec<u8> {
    let pattern = key.pattern.as_str().as_bytes();
    [pattern, &[0], &key.instance.0].concat()
}

/// The value of a record.
pub(super) fn record(sealer: &Sealer, boot: Boot, field: &[u8], record: &Record) -> Vec<u8> {
    let kind = match record.kind {
        Kind::Session => 0,
        Kind::Http => 1,
    };
    let bytes = RecordBytes {
        incarnation: record.incarnation,
        kind,
        payload: &record.payload,
    };
    let mut value = encoded(&bytes);
    sealer.seal(Sealed::Record, boot, field, &mut value, 0);
    value
}

/// A record, if it is one of this cluster.
pub(super) fn read_record(
    sealer: &Sealer,
    boot: Boot,
    field: &[u8],
    value: &[u8],
) -> Option<(Key, Record)> {
    let content = sealer.open(Sealed::Record, boot, field, value)?;
    let (bytes, []) = decoded::<RecordBytes<'_>>(content)? else {
        return None;
    };
    let kind = match bytes.kind {
        0 => Kind::Session,
        1 => Kind::Http,
        _ => return None,
    };
    let record = Record {
        incarnation: bytes.incarnation,
        kind,
        payload: bytes.payload.into(),
    };
    Some((read_field(field)?, record))
}

/// The part of an entry that says how often the boot has beaten.
pub(super) fn counter(sealer: &Sealer, boot: Boot, counter: u64) -> Vec<u8> {
    let mut bytes = digits(counter).into_bytes();
    sealer.seal(Sealed::Counter, boot, &[], &mut bytes, 0);
    bytes
}

/// The part of an entry that tells of the set.
pub(super) fn head(sealer: &Sealer, boot: Boot, head: &Head) -> Vec<u8> {
    let mut bytes = digits(head.version).into_bytes();
    bytes.extend(encoded(&HeadBytes {
        count: head.sum.count,
        digest: head.sum.digest.0,
        node: head.node.0,
        address: head.address.clone(),
    }));
    sealer.seal(Sealed::Head, boot, &[], &mut bytes, 0);
    bytes
}

/// The head in an entry, if it is one of this cluster.
pub(super) fn read_head(sealer: &Sealer, boot: Boot, bytes: &[u8]) -> Option<Head> {
    let content = sealer.open(Sealed::Head, boot, &[], bytes)?;
    let (version, rest) = content.split_at_checked(DIGITS)?;
    let (bytes, []) = decoded::<HeadBytes>(rest)? else {
        return None;
    };
    Some(Head {
        version: number(version)?,
        sum: Sum {
            count: bytes.count,
            digest: Digest(bytes.digest),
        },
        node: InstanceId(bytes.node),
        address: bytes.address,
    })
}

/// An entry, if it is one of this cluster.
pub(super) fn read_entry(sealer: &Sealer, boot: Boot, bytes: &[u8]) -> Option<Entry> {
    let (counter, head) = bytes.split_at_checked(COUNTER)?;
    let counter = sealer.open(Sealed::Counter, boot, &[], counter)?;
    Some(Entry {
        counter: number(counter)?,
        head: read_head(sealer, boot, head)?,
    })
}

/// An entry of the log; `records` are fields with sealed values.
pub(super) fn delta(
    sealer: &Sealer,
    boot: Boot,
    (from, to): (u64, u64),
    records: &[(Vec<u8>, Option<Vec<u8>>)],
) -> Vec<u8> {
    let mut bytes = encoded(&DeltaBytes {
        from,
        to,
        count: u32::try_from(records.len()).unwrap_or(u32::MAX),
    });
    for (field, value) in records {
        let record: FieldAndValue<'_> = (field, value.as_deref());
        append(&record, &mut bytes);
    }
    sealer.seal(Sealed::Delta, boot, &[], &mut bytes, 0);
    bytes
}

/// An entry of the log, if it is one of this cluster.
pub(super) fn read_delta(sealer: &Sealer, boot: Boot, bytes: &[u8]) -> Option<Delta> {
    let content = sealer.open(Sealed::Delta, boot, &[], bytes)?;
    let (DeltaBytes { from, to, count }, mut rest) = decoded(content)?;
    let mut records = Vec::new();
    for _ in 0..count {
        // One by one: a decode may claim no more than a record needs.
        let ((field, value), after): (FieldAndValue<'_>, _) = codec::decode(rest).ok()?;
        rest = after;
        records.push(match value {
            Some(value) => {
                let (key, record) = read_record(sealer, boot, field, value)?;
                (key, Some(record))
            }
            None => (read_field(field)?, None),
        });
    }
    rest.is_empty().then_some(Delta {
        boot,
        from,
        to,
        records,
    })
}

fn read_field(field: &[u8]) -> Option<Key> {
    let (pattern, instance) = field.split_last_chunk::<16>()?;
    let pattern = std::str::from_utf8(pattern.strip_suffix(&[0])?).ok()?;
    Some(Key {
        pattern: Pattern::parse(pattern).ok()?,
        instance: InstanceId(*instance),
    })
}

fn encoded<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    append(value, &mut bytes);
    bytes
}

fn append<T: Encode>(value: &T, bytes: &mut Vec<u8>) {
    let mut encoded = BytesMut::new();
    codec::encode(value, &mut encoded);
    bytes.extend_from_slice(&encoded);
}

fn decoded<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    codec::decode(bytes.strip_prefix(&[FORMAT])?).ok()
}

#[cfg(test)]
mod tests;
