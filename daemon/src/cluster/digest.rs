//! The digest of a set: in go its records in any order, one by one, out comes a number that
//! two sets share only if they are the same.
//!
//! It is the sum, modulo 2^128, of the first 16 bytes (little endian) of the SHA-256 of each
//! record: length of the pattern (8 bytes, little endian), pattern, instance, incarnation
//! (8 bytes, little endian), kind (1 byte: 0 session, 1 HTTP), payload. Nodes of different
//! versions compare digests, so none of this may change.

use aws_lc_rs::digest::{Context, SHA256};
use bincode::{Decode, Encode};

use super::record::{Key, Kind, Record};

/// The digest of a record, or of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Digest(pub u128);

/// How many records a set has, and their digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Sum {
    /// How many records.
    pub count: u64,
    /// Of all of them.
    pub digest: Digest,
}

impl Digest {
    /// The digest of one record.
    #[must_use]
    pub fn of(key: &Key, record: &Record) -> Self {
        let pattern = key.pattern.as_str().as_bytes();
        let kind = match record.kind {
            Kind::Session => 0,
            Kind::Http => 1,
        };
        let mut context = Context::new(&SHA256);
        context.update(&(pattern.len() as u64).to_le_bytes());
        context.update(pattern);
        context.update(&key.instance.0);
        context.update(&record.incarnation.to_le_bytes());
        context.update(&[kind]);
        context.update(&record.payload);
        let hash = context.finish();
        let first = hash.as_ref().first_chunk();
        Self(u128::from_le_bytes(*first.expect("SHA-256 has 32 bytes")))
    }
}

impl Sum {
    /// With one more record.
    pub fn add(&mut self, record: Digest) {
        self.count += 1;
        self.digest.0 = self.digest.0.wrapping_add(record.0);
    }

    /// Without one that it has.
    pub fn subtract(&mut self, record: Digest) {
        self.count -= 1;
        self.digest.0 = self.digest.0.wrapping_sub(record.0);
    }
}
