//! The numbers that name a call on a connection and an instance anywhere.

use std::fmt;

use bincode::{Decode, Encode};

/// Names one call on one connection: the slot it holds and the slot's generation.
///
/// A slot is used again after its call has ended, with the next generation; whatever
/// still travels under an old generation is dropped by whoever receives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId {
    /// Index into the caller's slots of this connection.
    pub slot: u32,
    /// How often the slot had been used before, wrapping.
    pub generation: u32,
}

impl CallId {
    /// As it stands in a frame's prefix: the slot in the low half.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The reverse of [`to_u64`](Self::to_u64).
    #[must_use]
    pub const fn from_u64(raw: u64) -> Self {
        Self {
            slot: raw as u32,
            generation: (raw >> 32) as u32,
        }
    }

    /// Whether this call came after `generation` held the same slot (serial number
    /// arithmetic, RFC 1982: the generation wraps).
    #[must_use]
    pub const fn is_after(self, generation: u32) -> bool {
        (self.generation.wrapping_sub(generation) as i32) > 0
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// Names one running process that serves patterns: 128 random bits, new at each start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct InstanceId(pub [u8; 16]);

impl InstanceId {
    /// A new one. Not a secret: it only has to differ from every other.
    #[must_use]
    pub fn random() -> Self {
        Self(std::array::from_fn(|_| fastrand::u8(..)))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
