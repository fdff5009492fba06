use bytes::{BufMut, BytesMut};
use proptest::{collection::vec, prelude::*};

use super::super::body::BodyHead;
use crate::{
    CallId,
    frame::{FrameError, PREFIX, Splitter},
    message::Direction,
};

/// The bytes of `BODY_OF_CALL` and `BODY_OF_REPLY` in `tests/golden.rs`.
#[test]
fn golden_bytes() {
    let id = CallId {
        slot: 2,
        generation: 1,
    };
    let call = BodyHead {
        direction: Direction::Call,
        id,
        length: 70_000,
    };
    let reply = BodyHead {
        direction: Direction::Reply,
        id,
        length: 5 << 30,
    };
    let call_bytes = b"\x0f\0\0\0\x20\x02\0\0\0\x01\0\0\0\x00\xfc\x70\x11\x01\x00";
    let reply_bytes = b"\x13\0\0\0\x20\x02\0\0\0\x01\0\0\0\x01\xfd\0\0\0\x40\x01\0\0\0";
    for (head, golden) in [(call, &call_bytes[..]), (reply, &reply_bytes[..])] {
        assert_eq!(head.to_frame(), golden);
        let read = BodyHead::parse(id.to_u64(), &golden[PREFIX..]);
        assert_eq!(read, Ok(head));
    }
}

proptest! {
    #[test]
    fn a_head_is_read_as_it_was_written(is_reply: bool, id: u64, length: u64) {
        let direction = if is_reply { Direction::Reply } else { Direction::Call };
        let head = BodyHead { direction, id: CallId::from_u64(id), length };
        let frame = head.to_frame();
        prop_assert!(frame.len() <= BodyHead::FRAME_LIMIT);
        let mut read = None;
        Splitter::default()
            .push(frame, |frame| {
                read = Some(BodyHead::parse(frame.id, frame.payload));
                Ok::<_, FrameError>(())
            })
            .unwrap();
        prop_assert_eq!(read, Some(Ok(head)));
    }

    #[test]
    fn garbage_is_an_error_or_a_head_and_nothing_else(payload in vec(any::<u8>(), 0..24)) {
        let head = BodyHead::parse(0, &payload);
        let may_be_one = payload.first().is_some_and(|is_reply| *is_reply < 2)
            && (2..=10).contains(&payload.len());
        prop_assert!(head.is_err() || may_be_one);
    }

    #[test]
    fn a_head_and_more_is_none(length: u64, more in vec(any::<u8>(), 1..9)) {
        let head = BodyHead { direction: Direction::Call, id: CallId::from_u64(0), length };
        let mut payload = BytesMut::from(&head.to_frame()[PREFIX..]);
        payload.put_slice(&more);
        prop_assert!(BodyHead::parse(0, &payload).is_err());
    }
}
