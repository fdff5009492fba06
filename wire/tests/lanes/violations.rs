//! A peer that breaks the protocol loses its connection, and is told why.

use bytes::BytesMut;
use nano_wire::{
    Extensions, codec,
    frame::Kind,
    message::{EXTENSIONS_LIMIT, Limits},
    transport::Close,
};

use super::{
    raw::{self, Raw, frame, link_and_raw, link_and_raw_with},
    side::{
        LIMITS, LONG, Side, header, soon,
        subject::{ECHO, HOLD},
    },
};

const VIOLATION: u64 = Close::Violation as u64;

/// The first bytes of a frame that claims to be of so many.
fn claims(length: u32) -> Vec<u8> {
    [&length.to_le_bytes()[..], &[Kind::Call as u8]].concat()
}

async fn closes_because((_link, raw): (Side, Raw), rule: &str) {
    let (code, reason) = raw.closed().await;
    assert_eq!(code, VIOLATION, "{reason}");
    assert!(reason.contains(rule), "{reason:?} does not say {rule:?}");
}

/// What a peer sends on a lane of its own calls.
async fn on_a_lane(bytes: impl AsRef<[u8]>, rule: &str) {
    let (link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    lane.send(bytes).await;
    closes_because((link, raw), rule).await;
}

/// What a peer sends on a stream of its own that is no lane yet.
async fn as_first_frame(bytes: impl AsRef<[u8]>, rule: &str) {
    let (link, raw) = link_and_raw().await;
    let mut stream = raw.open_stream().await;
    stream.send(bytes).await;
    closes_because((link, raw), rule).await;
}

/// What a peer answers on a lane of the link's calls.
async fn as_answer(bytes: impl AsRef<[u8]>, rule: &str) {
    let (link, raw) = link_and_raw().await;
    let _call = link.call(HOLD, "");
    let (_, mut lane) = raw.accept_lane().await;
    lane.send(bytes).await;
    closes_because((link, raw), rule).await;
}

/// What a peer sends on a stream of a body.
async fn as_body(bytes: impl AsRef<[u8]>, rule: &str) {
    let (link, raw) = link_and_raw().await;
    let mut stream = soon(raw.connection.open_uni()).await.unwrap();
    soon(stream.write_all(bytes.as_ref())).await.unwrap();
    closes_because((link, raw), rule).await;
}

#[tokio::test]
async fn a_call_that_cannot_be_read() {
    let garbage = frame(Kind::Call, 0, b"\xff\xff\xff\xff");
    on_a_lane(garbage, "a frame of kind Call holds no such message").await;
}

#[tokio::test]
async fn a_call_whose_extensions_are_over_the_limit() {
    let value = [0; EXTENSIONS_LIMIT];
    let mut header = header(ECHO, LONG);
    header.extensions = Extensions(vec![(1, &value)]);
    let mut payload = BytesMut::new();
    codec::encode(&header, &mut payload);
    let call = frame(Kind::Call, 0, &payload);
    on_a_lane(call, "extensions are over the limit of 4096 bytes").await;
}

#[tokio::test]
async fn a_frame_of_giant_length() {
    let rule = "a frame of 4294967295 bytes is over the limit of 65536";
    on_a_lane(claims(u32::MAX), rule).await;
    as_first_frame(claims(u32::MAX), rule).await;
    as_answer(claims(u32::MAX), rule).await;
    as_body(claims(u32::MAX), "is over the limit").await;
}

#[tokio::test]
async fn a_frame_shorter_than_its_prefix() {
    let rule = "a frame of 8 bytes is too short to be one";
    on_a_lane(claims(8), rule).await;
    let whole = [claims(8), vec![0; 8]].concat();
    as_body(whole, rule).await;
}

#[tokio::test]
async fn a_lane_that_is_open_already() {
    let (link, raw) = link_and_raw().await;
    let _first = raw.open_lane(2).await;
    let _second = raw.open_lane(2).await;
    closes_because((link, raw), "lane 2 cannot be opened").await;
}

#[tokio::test]
async fn a_lane_over_the_limit() {
    as_first_frame(frame(Kind::Lane, 4, &[]), "lane 4 cannot be opened").await;
    let last = frame(Kind::Lane, u64::MAX, &[]);
    as_first_frame(last, "cannot be opened").await;
}

#[tokio::test]
async fn a_slot_over_the_limit() {
    let ten = Limits {
        max_in_flight: 10,
        ..LIMITS
    };
    let (link, raw) = link_and_raw_with(ten, LIMITS).await;
    let mut lane = raw.open_lane(0).await;
    lane.send(raw::call(raw::id(9, 0), ECHO, b"")).await;
    assert_eq!(lane.next().await.reply(), "");
    lane.send(raw::call(raw::id(10, 0), ECHO, b"")).await;
    let rule = "call in slot 10, but only 10 calls may be in flight";
    closes_because((link, raw), rule).await;
}

#[tokio::test]
async fn a_frame_on_a_lane_that_has_no_place_there() {
    for kind in Kind::ALL {
        if !matches!(kind, Kind::Void | Kind::Call | Kind::Cancel) {
            let rule = format!("a {kind:?} frame has no place here");
            on_a_lane(frame(kind, 0, &[]), &rule).await;
        }
    }
}

#[tokio::test]
async fn a_frame_among_answers_that_has_no_place_there() {
    for kind in Kind::ALL {
        if !matches!(kind, Kind::Void | Kind::Reply | Kind::Fail) {
            let rule = format!("a {kind:?} frame has no place here");
            as_answer(frame(kind, 0, &[]), &rule).await;
        }
    }
}

#[tokio::test]
async fn a_stream_that_begins_with_another_frame_than_a_lanes() {
    for kind in Kind::ALL {
        if kind != Kind::Lane {
            let rule = format!("a {kind:?} frame has no place here");
            as_first_frame(frame(kind, 0, &[]), &rule).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_begins_with_another_frame_than_a_bodys() {
    for kind in Kind::ALL {
        if kind != Kind::Body {
            let rule = format!("a {kind:?} frame has no place here");
            as_body(frame(kind, 0, &[0, 0]), &rule).await;
        }
    }
}

#[tokio::test]
async fn a_head_of_a_body_that_cannot_be_read() {
    let rule = "a frame of kind Body holds no such message";
    as_body(frame(Kind::Body, 0, &[9, 9]), rule).await;
    as_body(frame(Kind::Body, 0, &[0, 9, 9]), "1 bytes too many").await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read() {
    let reply = frame(Kind::Reply, 0, &[9]);
    as_answer(reply, "a frame of kind Reply holds no such message").await;
    let fail = frame(Kind::Fail, 0, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    as_answer(fail, "1 bytes too many").await;
}

#[tokio::test]
async fn a_lane_that_ends_before_its_connection() {
    let rule = "a lane ended before its connection";
    let (link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    lane.send.finish().unwrap();
    closes_because((link, raw), rule).await;
    let (link, raw) = link_and_raw().await;
    let _call = link.call(HOLD, "");
    let (_, mut lane) = raw.accept_lane().await;
    lane.send.finish().unwrap();
    closes_because((link, raw), rule).await;
}
