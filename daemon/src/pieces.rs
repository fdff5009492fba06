//! Bodies that the node holds: pieces come in, one body goes out that takes its room among all
//! bodies for as long as somebody keeps it.

use bytes::{Bytes, BytesMut};

use crate::quota::Room;

/// A body in the making: one piece is kept as it came, more are put together.
#[derive(Default)]
pub enum Pieces {
    /// Nothing has come.
    #[default]
    None,
    /// One piece.
    One(Bytes),
    /// Several.
    Many(BytesMut),
}

impl Pieces {
    /// Bytes that have come.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(piece) => piece.len(),
            Self::Many(pieces) => pieces.len(),
        }
    }

    /// Whether none have.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(piece),
            Self::One(first) => {
                let mut pieces = BytesMut::from(first);
                pieces.extend_from_slice(&piece);
                Self::Many(pieces)
            }
            Self::Many(mut pieces) => {
                pieces.extend_from_slice(&piece);
                Self::Many(pieces)
            }
        };
    }

    /// All of it.
    #[must_use]
    pub fn into_whole(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(piece) => piece,
            Self::Many(pieces) => pieces.freeze(),
        }
    }
}

/// The bytes, which take their room until nobody keeps them: of an answer, until the
/// client's socket has taken it.
#[must_use]
pub fn counted(bytes: Bytes, room: Room) -> Bytes {
    Bytes::from_owner(Counted { bytes, _room: room })
}

struct Counted {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
