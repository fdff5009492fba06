use bytes::Bytes;
use nano_wire::{
    Certainty, Code,
    frame::{INLINE_BODY_LIMIT, Kind},
    lane::{BodyError, OutBody, Reason},
    transport::{LARGEST_DATAGRAM, MAX_BODY_STREAMS, STREAM_WINDOW},
};
use quinn::{ReadError, VarInt};

use super::{
    raw::{self, Raw, link_and_raw},
    side::{
        LONG, Outcome, Pending, Side, eventually, is_pending, pair, pattern, soon,
        subject::{BODY, ECHO, HOLD, IGNORE, RELAY},
    },
};

const LARGE: usize = 5 << 20;
const GIVEN_UP: VarInt = VarInt::from_u32(1);

#[tokio::test]
async fn a_body_over_the_inline_limit_comes_back_as_it_went() {
    let (caller, instance) = pair().await;
    for length in [INLINE_BODY_LIMIT + 1, 64 << 10, LARGE] {
        let outcome = caller.call(ECHO, pattern(length)).outcome().await;
        assert!(outcome.body() == pattern(length), "{length} bytes");
    }
    soon(caller.link.own_calls_ended()).await;
    soon(instance.link.peer_calls_ended()).await;
}

/// Also that the kernel takes as many of them at a time as it is handed.
#[tokio::test]
async fn datagrams_grow_to_the_largest_that_the_path_carries() {
    /// The search ends within so many bytes.
    const CLOSE_ENOUGH: u16 = 20;
    let (caller, _instance) = pair().await;
    let path = || caller.link.connection().stats().path;
    let echo = async || caller.call(ECHO, pattern(LARGE)).outcome().await;
    soon(async {
        while path().current_mtu < LARGEST_DATAGRAM - CLOSE_ENOUGH {
            echo().await;
        }
    })
    .await;
    let before = path();
    echo().await;
    let sent = path().sent_packets - before.sent_packets;
    let lost = path().lost_packets - before.lost_packets;
    assert!(lost < sent / 4, "{lost} of {sent} were lost");
}

/// Frames and streams of a connection are then read by several threads at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_body_is_lost_where_threads_share_a_connection() {
    let (caller, _instance) = pair().await;
    let body = pattern(INLINE_BODY_LIMIT + 1);
    for _ in 0..200 {
        let calls: Vec<_> = (0..16).map(|_| caller.call(ECHO, body.clone())).collect();
        for call in calls {
            assert!(call.outcome().await.body() == body);
        }
    }
}

#[tokio::test]
async fn a_body_can_be_passed_on_as_it_comes() {
    let (caller, _instance) = pair().await;
    for length in [0, INLINE_BODY_LIMIT, INLINE_BODY_LIMIT + 1, LARGE] {
        let outcome = caller.call(RELAY, pattern(length)).outcome().await;
        assert!(outcome.body() == pattern(length), "{length} bytes");
    }
}

#[tokio::test]
async fn small_calls_pass_a_large_body_that_nobody_reads() {
    let (caller, mut instance) = pair().await;
    let large = caller.call(BODY, pattern(LARGE));
    let (id, body) = soon(instance.bodies.recv()).await.unwrap();
    assert_eq!(body.len(), LARGE as u64);
    for _ in 0..100 {
        assert_eq!(caller.call(ECHO, "small").outcome().await.body(), "small");
    }
    let body = soon(body.collect()).await.unwrap();
    instance.reply(id, body);
    assert!(large.outcome().await.body() == pattern(LARGE));
}

#[tokio::test]
async fn a_calls_body_may_come_before_its_call() {
    let (mut link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    let body = pattern(100_000);
    send_whole(&raw, false, raw::id(0, 0), &body).await;
    has_come(&mut lane).await;
    lane.send(raw::call_with(raw::id(0, 0), HOLD, Some(100_000), b""))
        .await;
    assert!(link.holds().await.body.unwrap() == body);
}

#[tokio::test]
async fn a_calls_body_may_come_after_its_call() {
    let (mut link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    let body = pattern(100_000);
    lane.send(raw::call_with(raw::id(0, 0), HOLD, Some(100_000), b""))
        .await;
    eventually(|| link.link.peer_calls_in_flight() == 1).await;
    send_whole(&raw, false, raw::id(0, 0), &body).await;
    assert!(link.holds().await.body.unwrap() == body);
}

#[tokio::test]
async fn an_answers_body_may_come_before_its_answer() {
    let (link, raw) = link_and_raw().await;
    let (call, mut lane) = call_from(&link, &raw).await;
    let body = pattern(100_000);
    send_whole(&raw, true, call.id, &body).await;
    let mut calls = raw.open_lane(0).await;
    has_come(&mut calls).await;
    lane.send(raw::reply_with(call.id, Some(100_000), b""))
        .await;
    assert!(call.outcome().await.body() == body);
}

#[tokio::test]
async fn an_answers_body_may_come_after_its_answer() {
    let (link, raw) = link_and_raw().await;
    let (call, mut lane) = call_from(&link, &raw).await;
    let body = pattern(100_000);
    lane.send(raw::reply_with(call.id, Some(100_000), b""))
        .await;
    eventually(|| link.link.calls_in_flight() == 0).await;
    send_whole(&raw, true, call.id, &body).await;
    assert!(call.outcome().await.body() == body);
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_is_an_error() {
    let (mut link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    // Length in the call, length in the head, bytes.
    for (slot, announced, head, sent) in [
        (0, 1000, 1001, 1001),
        (1, 1000, 1000, 999),
        (2, 1000, 1000, 1001),
        (3, 1000, 1000, 0),
    ] {
        let id = raw::id(slot, 0);
        lane.send(raw::call_with(id, HOLD, Some(announced), b""))
            .await;
        let mut stream = raw.open_body(false, id, head).await;
        // The link stops it when its head is wrong.
        let _ = stream.write_all(&pattern(sent)).await;
        let _ = stream.finish();
        let held = link.holds().await;
        assert_eq!(
            (held.id, held.body),
            (id, Err(BodyError::Length(announced)))
        );
    }
}

#[tokio::test]
async fn a_calls_body_that_its_sender_gives_up_reaches_the_handler_as_an_error() {
    let (_link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    let id = raw::id(0, 0);
    lane.send(raw::call_with(id, ECHO, Some(LARGE as u64), b""))
        .await;
    let mut stream = raw.open_body(false, id, LARGE as u64).await;
    has_come(&mut lane).await;
    stream.reset(GIVEN_UP).unwrap();
    let failure = lane.next().await.failure();
    assert!(failure.message.contains("the body broke off"), "{failure}");
}

#[tokio::test]
async fn an_answers_body_that_its_sender_gives_up_fails_the_answer() {
    let (link, raw) = link_and_raw().await;
    let (call, mut lane) = call_from(&link, &raw).await;
    lane.send(raw::reply_with(call.id, Some(LARGE as u64), b""))
        .await;
    let mut stream = raw.open_body(true, call.id, LARGE as u64).await;
    let mut calls = raw.open_lane(0).await;
    has_come(&mut calls).await;
    stream.reset(GIVEN_UP).unwrap();
    let outcome = call.outcome().await;
    assert!(
        matches!(outcome, Outcome::Broken(BodyError::BrokenOff(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_call_whose_body_breaks_off_while_it_is_passed_on_fails() {
    let (mut link, raw) = link_and_raw().await;
    let (onward, mut instance) = pair().await;
    let mut lane = raw.open_lane(0).await;
    let id = raw::id(0, 0);
    lane.send(raw::call_with(id, BODY, Some(LARGE as u64), b""))
        .await;
    let mut stream = raw.open_body(false, id, LARGE as u64).await;
    soon(stream.write_all(&pattern(1000))).await.unwrap();
    let (_, body) = soon(link.bodies.recv()).await.unwrap();
    let call = onward.try_call(BODY, OutBody::Relay(body), LONG).unwrap();
    let (_, received) = soon(instance.bodies.recv()).await.unwrap();
    stream.reset(GIVEN_UP).unwrap();
    let failure = call.outcome().await.failure();
    assert_eq!(
        (failure.code, failure.certainty),
        (Code::ConnectionLost, Certainty::MaybeExecuted)
    );
    assert!(
        failure.message.contains("the call's body was not sent"),
        "{failure}"
    );
    let received = soon(received.collect()).await;
    assert!(
        matches!(received, Err(BodyError::BrokenOff(_))),
        "{received:?}"
    );
    instance.cancelled().await;
}

/// Whoever does not want the body may still answer, and only the answer tells why.
#[tokio::test]
async fn a_handler_may_answer_without_its_body() {
    let (caller, _instance) = pair().await;
    for _ in 0..20 {
        let outcome = caller.call(IGNORE, pattern(LARGE)).outcome().await;
        assert_eq!(outcome.body(), "ignored");
    }
    soon(caller.link.own_calls_ended()).await;
    assert_eq!(caller.link.dropped_frames(), 0);
}

#[tokio::test]
async fn giving_a_call_up_gives_up_its_body() {
    let (link, raw) = link_and_raw().await;
    let call = link.call(HOLD, pattern(LARGE));
    let mut stream = soon(raw.connection.accept_uni()).await.unwrap();
    soon(stream.read_chunk(1000, true)).await.unwrap();
    link.link.cancel(call.id).unwrap();
    let end = soon(async {
        loop {
            match stream.read_chunk(usize::MAX, true).await {
                Ok(Some(_)) => {}
                end => break end.map(|_| ()),
            }
        }
    });
    assert_eq!(end.await, Err(ReadError::Reset(GIVEN_UP)));
    soon(link.link.own_calls_ended()).await;
}

#[tokio::test]
async fn a_body_that_nobody_waits_for_is_stopped() {
    let (link, raw) = link_and_raw().await;
    let (call, mut lane) = call_from(&link, &raw).await;
    lane.send(raw::reply(call.id, b"")).await;
    call.outcome().await;
    let unknown = raw.open_body(true, raw::id(9, 9), LARGE as u64).await;
    let late = raw.open_body(true, raw::id(0, 0), LARGE as u64).await;
    for stream in [unknown, late] {
        assert_eq!(soon(stream.stopped()).await, Ok(Some(GIVEN_UP)));
    }
}

#[tokio::test]
async fn calls_have_not_ended_while_a_body_is_on_its_way() {
    let (mut link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    lane.send(raw::call(raw::id(0, 0), HOLD, b"")).await;
    let held = link.holds().await;
    link.reply(held.id, pattern(LARGE));
    assert_eq!(lane.next().await.kind, Some(Kind::Reply));
    assert_eq!(link.link.peer_calls_in_flight(), 0);
    assert!(
        is_pending(link.link.peer_calls_ended()),
        "the body has not left"
    );
    let mut stream = soon(raw.connection.accept_uni()).await.unwrap();
    let (ended, read) = tokio::join!(
        soon(link.link.peer_calls_ended()),
        soon(stream.read_to_end(2 * LARGE))
    );
    let ((), read) = (ended, read.unwrap());
    assert!(read.ends_with(&pattern(LARGE)));
}

#[tokio::test]
async fn bodies_over_the_streams_of_a_connection_are_refused() {
    let (caller, mut instance) = pair().await;
    let call = || caller.try_call(BODY, OutBody::Bytes(pattern(2 * WINDOW)), LONG);
    let calls: Vec<Pending> = (0..MAX_BODY_STREAMS).map(|_| call().unwrap()).collect();
    assert_eq!(call().err(), Some(Reason::Full));
    assert_eq!(caller.call(ECHO, "inline").outcome().await.body(), "inline");
    let until = caller.link.until(|| call().ok());
    let answered = async {
        for _ in 0..MAX_BODY_STREAMS {
            let (id, body) = soon(instance.bodies.recv()).await.unwrap();
            let body = soon(body.collect()).await.unwrap();
            assert!(body == pattern(2 * WINDOW));
            instance.reply(id, "");
        }
        let (id, _) = soon(instance.bodies.recv()).await.unwrap();
        instance.reply(id, "last");
    };
    let (last, ()) = soon(async { tokio::join!(until, answered) }).await;
    assert_eq!(last.outcome().await.body(), "last");
    for call in calls {
        assert_eq!(call.outcome().await.body(), "");
    }
}

/// The handlers are slow, but they have read their bodies.
#[tokio::test]
async fn who_waits_for_a_bodys_stream_gets_it_before_any_call_has_ended() {
    let (caller, mut instance) = pair().await;
    let call = || caller.try_call(HOLD, OutBody::Bytes(pattern(INLINE_BODY_LIMIT + 1)), LONG);
    let mut calls: Vec<Pending> = (0..MAX_BODY_STREAMS).map(|_| call().unwrap()).collect();
    calls.push(soon(caller.link.until(|| call().ok())).await);
    for _ in 0..=MAX_BODY_STREAMS {
        let held = instance.holds().await;
        assert!(held.body.unwrap() == pattern(INLINE_BODY_LIMIT + 1));
    }
}

const WINDOW: usize = STREAM_WINDOW as usize;

async fn send_whole(raw: &Raw, is_reply: bool, id: nano_wire::CallId, body: &Bytes) {
    let mut stream = raw.open_body(is_reply, id, body.len() as u64).await;
    soon(stream.write_all(body)).await.unwrap();
    stream.finish().unwrap();
}

/// What was sent before has been read when this is answered.
async fn has_come(lane: &mut raw::Lane) {
    lane.send(raw::call(raw::id(1, 0), ECHO, b"")).await;
    assert_eq!(lane.next().await.reply(), "");
}

/// A call of the link to the peer, which has read it.
async fn call_from(link: &Side, raw: &Raw) -> (Pending, raw::Lane) {
    let call = link.call(HOLD, "");
    let (_, mut lane) = raw.accept_lane().await;
    assert_eq!(lane.next().await.call_id(), call.id);
    (call, lane)
}
