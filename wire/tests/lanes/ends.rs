use std::time::Duration;

use nano_wire::{
    Certainty, Code,
    frame::INLINE_BODY_LIMIT,
    lane::{MAX_LANES, OutBody, Reason, STALL},
    message::Limits,
    transport::Close,
};

use super::{
    raw::{self, link_and_raw},
    side::{
        LIMITS, LONG, Pending, eventually, pair, pair_with, pattern, soon,
        subject::{BODY, ECHO, HOLD},
    },
};

#[tokio::test]
async fn a_lost_connection_fails_every_call_and_stops_every_job() {
    let (caller, mut instance) = pair().await;
    let calls: Vec<Pending> = (0..10).map(|_| caller.call(HOLD, "")).collect();
    let mut jobs = Vec::new();
    for _ in &calls {
        jobs.push(instance.holds().await.id);
    }
    instance.link.close(Close::Stopped, "a test");
    for call in calls {
        let failure = call.outcome().await.failure();
        assert_eq!(failure.code, Code::ConnectionLost);
        assert_eq!(failure.certainty, Certainty::MaybeExecuted);
        assert!(failure.message.contains("a test"), "{failure}");
    }
    let mut stopped = Vec::new();
    for _ in &jobs {
        stopped.push(instance.cancelled().await);
    }
    stopped.sort_unstable_by_key(|id| id.slot);
    jobs.sort_unstable_by_key(|id| id.slot);
    assert_eq!(stopped, jobs);
    soon(caller.link.own_calls_ended()).await;
    soon(instance.link.peer_calls_ended()).await;
    assert!(caller.link.is_closed() && instance.link.is_closed());
}

#[tokio::test]
async fn a_call_that_had_not_left_when_the_connection_ended_was_not_sent() {
    let (caller, mut instance) = pair().await;
    let calls = [caller.call(HOLD, ""), caller.call(HOLD, pattern(1 << 20))];
    caller.link.close(Close::Done, "at once");
    for call in calls {
        let failure = call.outcome().await.failure();
        assert_eq!(failure.code, Code::ConnectionLost);
        assert_eq!(failure.certainty, Certainty::NotSent);
    }
    soon(instance.link.connection().closed()).await;
    assert!(instance.held.try_recv().is_err());
}

/// The peer's own account of what it was handed, against what its caller is told.
#[tokio::test]
async fn what_a_lost_connection_left_unsent_was_not_sent() {
    let (link, raw) = link_and_raw().await;
    let body = pattern(INLINE_BODY_LIMIT);
    let mut calls = Vec::new();
    while calls.len() < 280 {
        let attempt = || link.try_call(HOLD, OutBody::Slice(&body), LONG).ok();
        calls.push(soon(link.link.until(attempt)).await);
    }
    let (_, mut lane) = raw.accept_lane().await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(lane.next().await.call_id());
    }
    raw.connection.close(0_u32.into(), b"");
    let (mut not_sent, mut maybe) = (0, 0);
    for call in calls {
        let id = call.id;
        let failure = call.outcome().await.failure();
        assert_eq!(failure.code, Code::ConnectionLost);
        if failure.certainty == Certainty::NotSent {
            assert!(!seen.contains(&id), "{id:?} was read");
            not_sent += 1;
        } else {
            maybe += 1;
        }
    }
    assert!(not_sent > 0 && maybe >= MAX_LANES, "{not_sent} and {maybe}");
}

#[tokio::test]
async fn an_ended_link_refuses_calls_and_wakes_who_waits_for_room() {
    let one = Limits {
        max_in_flight: 1,
        ..LIMITS
    };
    let (caller, _instance) = pair_with(LIMITS, one).await;
    let held = caller.call(HOLD, "");
    let attempt = || caller.try_call(ECHO, OutBody::Slice(b""), LONG).err();
    assert_eq!(attempt(), Some(Reason::Full));
    let until = caller
        .link
        .until(|| attempt().filter(|reason| *reason != Reason::Full));
    let close = async { caller.link.close(Close::Done, "") };
    let (reason, ()) = soon(async { tokio::join!(until, close) }).await;
    assert_eq!(reason, Reason::Closed);
    assert_eq!(attempt(), Some(Reason::Closed));
    assert_eq!(held.outcome().await.failure().code, Code::ConnectionLost);
}

#[tokio::test]
async fn bodies_end_with_their_connection() {
    let (caller, mut instance) = pair().await;
    let large = pattern(5 << 20);
    let call = caller.call(BODY, large.clone());
    let (_, body) = soon(instance.bodies.recv()).await.unwrap();
    caller.link.close(Close::Done, "");
    assert!(soon(body.collect()).await.is_err());
    assert_eq!(call.outcome().await.failure().code, Code::ConnectionLost);
    soon(caller.link.own_calls_ended()).await;
    soon(instance.link.peer_calls_ended()).await;
}

#[tokio::test]
async fn a_link_is_let_go_when_its_connection_has_ended() {
    let (caller, instance) = pair().await;
    assert_eq!(caller.call(ECHO, "").outcome().await.body(), "");
    let (caller_link, instance_link) = (caller.link.clone(), instance.link.clone());
    caller_link.close(Close::Done, "");
    drop((caller, instance));
    let last = |link| std::sync::Arc::strong_count(link) == 1;
    eventually(|| last(&caller_link)).await;
    eventually(|| last(&instance_link)).await;
}

/// Takes [`STALL`], which is the rule.
#[tokio::test]
async fn a_peer_that_takes_no_answers_is_refused_and_then_cut_off() {
    let (link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    let body = pattern(INLINE_BODY_LIMIT);
    // A window of answers travels, a backlog of them waits, and then some.
    for slot in 0..600 {
        lane.send(raw::call(raw::id(slot, 0), ECHO, &body)).await;
    }
    let since = std::time::Instant::now();
    let (code, reason) = raw.closed().await;
    assert_eq!(code, u64::from(Close::Stuck as u32), "{reason}");
    assert!(reason.contains("answers were not taken"), "{reason}");
    assert!(since.elapsed() > STALL - Duration::from_secs(1));
    assert_eq!(link.link.peer_calls_in_flight(), 0);
}
