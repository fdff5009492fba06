//! The one place that touches bincode: values in, bytes out, and back under a limit.
//!
//! Configuration: little endian, variable-length integers, at most
//! [`FRAME_LIMIT`] bytes of memory claimed by one decode.

use bincode::{
    BorrowDecode, Encode,
    config::{self, Configuration, LittleEndian, Varint},
    enc::write::Writer,
    error::{DecodeError, EncodeError},
};
use bytes::{BufMut, BytesMut};

use crate::frame::FRAME_LIMIT;

const CONFIG: Configuration<LittleEndian, Varint, bincode::config::Limit<FRAME_LIMIT>> =
    config::standard().with_limit::<FRAME_LIMIT>();

/// Appends the bytes of `value` to `out`.
pub fn encode<T: Encode>(value: &T, out: &mut BytesMut) {
    bincode::encode_into_writer(value, Appender(out), CONFIG)
        .expect("messages hold only integers, strings and lists, which always encode");
}

/// Reads a value from the front of `bytes`; what follows it is returned.
///
/// # Errors
///
/// If the bytes are no such value, or it would claim more than [`FRAME_LIMIT`] bytes.
pub fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    let (value, consumed) = bincode::borrow_decode_from_slice(bytes, CONFIG)?;
    Ok((value, &bytes[consumed..]))
}

struct Appender<'a>(&'a mut BytesMut);

impl Writer for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.put_slice(bytes);
        Ok(())
    }
}
