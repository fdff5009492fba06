//! Bodies that the node holds: one comes in, and takes its room among all bodies for as long as
//! somebody keeps it.

use bytes::Bytes;

use crate::quota::Room;

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
