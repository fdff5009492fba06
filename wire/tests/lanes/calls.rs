use std::time::Duration;

use bytes::Bytes;
use nano_wire::{
    Certainty, Code,
    frame::{INLINE_BODY_LIMIT, Kind},
    lane::{MAX_LANES, OutBody, Reason},
    message::Limits,
};

use super::{
    raw::{self, call, frame, link_and_raw, link_and_raw_with},
    side::{
        LIMITS, LONG, Outcome, Pending, eventually, is_pending, pair, pair_with, pattern, soon,
        subject::{ECHO, HOLD},
    },
};

const ONE_AT_A_TIME: Limits = Limits {
    max_in_flight: 1,
    ..LIMITS
};

#[tokio::test]
async fn an_inline_body_comes_back_as_it_went() {
    let (caller, _instance) = pair().await;
    for length in [0, 1, 1000, INLINE_BODY_LIMIT] {
        let outcome = caller.call(ECHO, pattern(length)).outcome().await;
        assert_eq!(outcome, Outcome::Reply(pattern(length)));
    }
}

#[tokio::test]
async fn either_side_may_call() {
    let (caller, instance) = pair().await;
    let (there, back) = (caller.call(ECHO, "there"), instance.call(ECHO, "back"));
    assert_eq!(there.outcome().await.body(), "there");
    assert_eq!(back.outcome().await.body(), "back");
}

#[tokio::test]
async fn each_of_a_thousand_calls_at_once_gets_its_own_answer() {
    let (caller, instance) = pair().await;
    let body = |number: usize| Bytes::from(format!("{number} {}", "x".repeat(number)));
    let calls: Vec<Pending> = (0..1000)
        .map(|number| caller.call(ECHO, body(number)))
        .collect();
    assert_eq!(caller.link.calls_in_flight(), 1000);
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.outcome().await.body(), body(number));
    }
    assert_eq!(caller.link.calls_in_flight(), 0);
    assert_eq!(
        caller.link.dropped_frames() + instance.link.dropped_frames(),
        0
    );
}

#[tokio::test]
async fn many_calls_at_once_spread_over_all_lanes_and_few_keep_to_one() {
    let (link, raw) = link_and_raw().await;
    let _few: Vec<Pending> = (0..10).map(|_| link.call(HOLD, "")).collect();
    let (first, _lane) = raw.accept_lane().await;
    let _many: Vec<Pending> = (0..1000).map(|_| link.call(HOLD, vec![0; 1000])).collect();
    let mut lanes = vec![first];
    let mut streams = Vec::new();
    while lanes.len() < MAX_LANES {
        let (number, lane) = raw.accept_lane().await;
        lanes.push(number);
        streams.push(lane);
    }
    lanes.sort_unstable();
    assert_eq!(lanes, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_call_over_the_peers_limit_is_refused_and_waits_for_room() {
    let (caller, mut instance) = pair_with(LIMITS, ONE_AT_A_TIME).await;
    let first = caller.call(HOLD, "");
    let attempt = || caller.try_call(ECHO, OutBody::Slice(b"second"), LONG);
    assert_eq!(attempt().err(), Some(Reason::Full));
    let until = caller.link.until(|| attempt().ok());
    let answer_first = async {
        let held = instance.holds().await;
        instance.reply(held.id, "first");
        first.outcome().await
    };
    let (second, first) = soon(async { tokio::join!(until, answer_first) }).await;
    assert_eq!(first.body(), "first");
    assert_eq!(second.outcome().await.body(), "second");
}

#[tokio::test]
async fn a_call_that_is_not_admitted_is_given_back_whole() {
    let (caller, _instance) = pair_with(LIMITS, ONE_AT_A_TIME).await;
    let _held = caller.call(HOLD, "");
    let (waiter, mut answer) = tokio::sync::oneshot::channel();
    let header = super::side::header(ECHO, LONG);
    let now = tokio::time::Instant::now();
    let refused = caller
        .link
        .call(header, OutBody::Slice(b"mine"), now, waiter);
    let refused = refused.err().unwrap();
    assert_eq!(refused.body.len(), 4);
    refused.waiter.send(Outcome::Reply(Bytes::new())).unwrap();
    assert!(
        answer.try_recv().is_ok(),
        "the waiter is the one that was given"
    );
}

#[tokio::test]
async fn a_body_over_the_peers_limit_is_refused() {
    let small = Limits {
        max_body: 1000,
        ..LIMITS
    };
    let (caller, _instance) = pair_with(LIMITS, small).await;
    let call = |length| caller.try_call(ECHO, OutBody::Bytes(pattern(length)), LONG);
    assert_eq!(call(1001).err(), Some(Reason::TooLarge(1000)));
    assert_eq!(call(1000).unwrap().outcome().await.body(), pattern(1000));
}

#[tokio::test]
async fn an_answer_over_the_callers_limit_is_a_failure_of_a_call_that_ran() {
    let small = Limits {
        max_body: 1000,
        ..LIMITS
    };
    let (caller, mut instance) = pair_with(small, LIMITS).await;
    let call = caller.call(HOLD, "");
    let held = instance.holds().await;
    instance.reply(held.id, pattern(1001));
    let failure = call.outcome().await.failure();
    assert_eq!(
        (failure.code, failure.certainty),
        (Code::TooLarge, Certainty::Executed)
    );
}

#[tokio::test]
async fn a_call_over_the_own_limit_is_refused_however_its_body_comes() {
    let small = Limits {
        max_body: 1000,
        ..LIMITS
    };
    let (link, raw) = link_and_raw_with(small, LIMITS).await;
    let mut lane = raw.open_lane(0).await;
    let streamed = raw::call_with(raw::id(0, 0), ECHO, Some(1001), b"");
    let inline = raw::call(raw::id(0, 1), ECHO, &pattern(1001));
    for call in [streamed, inline] {
        lane.send(call).await;
        let failure = lane.next().await.failure();
        assert_eq!(
            (failure.code, failure.certainty),
            (Code::TooLarge, Certainty::Refused)
        );
    }
    assert_eq!(link.link.peer_calls_in_flight(), 0);
}

#[tokio::test]
async fn a_reply_over_the_own_limit_is_a_failure_however_its_body_comes() {
    let small = Limits {
        max_body: 1000,
        ..LIMITS
    };
    let (link, raw) = link_and_raw_with(small, LIMITS).await;
    let calls = [link.call(HOLD, ""), link.call(HOLD, "")];
    let (_, mut lane) = raw.accept_lane().await;
    lane.send(raw::reply_with(calls[0].id, Some(1001), b""))
        .await;
    lane.send(raw::reply(calls[1].id, &pattern(1001))).await;
    for call in calls {
        let failure = call.outcome().await.failure();
        assert_eq!(
            (failure.code, failure.certainty),
            (Code::TooLarge, Certainty::Executed)
        );
    }
}

#[tokio::test]
async fn a_draining_link_refuses_new_calls_and_ends_those_in_flight() {
    let (caller, mut instance) = pair().await;
    let call = caller.call(HOLD, "");
    assert!(!caller.link.is_draining());
    caller.link.drain();
    assert!(caller.link.is_draining());
    let refused = caller.try_call(ECHO, OutBody::Slice(b""), LONG);
    assert_eq!(refused.err(), Some(Reason::Draining));
    let held = instance.holds().await;
    instance.reply(held.id, "still");
    assert_eq!(call.outcome().await.body(), "still");
}

#[tokio::test]
async fn draining_wakes_who_waits_for_room() {
    let (caller, _instance) = pair_with(LIMITS, ONE_AT_A_TIME).await;
    let _held = caller.call(HOLD, "");
    let reason = caller.link.until(|| {
        let attempt = caller.try_call(ECHO, OutBody::Slice(b""), LONG);
        attempt.err().filter(|reason| *reason != Reason::Full)
    });
    let (reason, ()) = soon(async { tokio::join!(reason, async { caller.link.drain() }) }).await;
    assert_eq!(reason, Reason::Draining);
}

#[tokio::test]
async fn the_end_of_all_calls_can_be_awaited_on_both_sides() {
    let (caller, mut instance) = pair().await;
    soon(caller.link.own_calls_ended()).await;
    soon(instance.link.peer_calls_ended()).await;
    let call = caller.call(HOLD, "");
    let held = instance.holds().await;
    assert!(is_pending(caller.link.own_calls_ended()));
    assert!(is_pending(instance.link.peer_calls_ended()));
    assert_eq!(instance.link.peer_calls_in_flight(), 1);
    let ended = async {
        tokio::join!(
            caller.link.own_calls_ended(),
            instance.link.peer_calls_ended()
        );
    };
    let answered = async { instance.reply(held.id, "") };
    soon(async { tokio::join!(ended, answered) }).await;
    assert_eq!(call.outcome().await.body(), "");
    assert_eq!(instance.link.peer_calls_in_flight(), 0);
}

#[tokio::test]
async fn giving_a_call_up_reaches_the_peers_job() {
    let (caller, mut instance) = pair().await;
    let call = caller.call(HOLD, "");
    let held = instance.holds().await;
    let (waiter, certainty) = caller.link.cancel(call.id).unwrap();
    assert_eq!(certainty, Certainty::MaybeExecuted);
    drop(waiter);
    assert!(
        soon(call.answer).await.is_err(),
        "the waiter was given back, not answered"
    );
    assert_eq!(instance.cancelled().await, held.id);
    assert_eq!(instance.link.peer_calls_in_flight(), 0);
    assert!(caller.link.cancel(call.id).is_none(), "it has ended");
}

#[tokio::test]
async fn a_call_given_up_before_it_left_is_never_seen() {
    let (caller, mut instance) = pair().await;
    let call = caller.call(HOLD, "");
    let (_, certainty) = caller.link.cancel(call.id).unwrap();
    assert_eq!(certainty, Certainty::NotSent);
    let later = caller.call(ECHO, "later");
    assert_eq!(later.outcome().await.body(), "later");
    assert!(instance.held.try_recv().is_err() && instance.cancelled.try_recv().is_err());
}

#[tokio::test]
async fn a_job_attached_to_a_call_that_was_given_up_is_stopped_at_once() {
    let (caller, mut instance) = pair().await;
    let call = caller.call(HOLD, "");
    let held = instance.holds().await;
    caller.link.cancel(call.id).unwrap();
    assert_eq!(instance.cancelled().await, held.id);
    let other = raw::id(77, 77);
    instance.link.attach(held.id, other);
    assert_eq!(instance.cancelled().await, other);
}

#[tokio::test]
async fn an_answer_to_a_call_that_was_given_up_does_nothing() {
    let (caller, mut instance) = pair().await;
    let call = caller.call(HOLD, "");
    let held = instance.holds().await;
    caller.link.cancel(call.id).unwrap();
    instance.cancelled().await;
    instance.reply(held.id, "late");
    instance.reply(held.id, pattern(1 << 20));
    let next = caller.call(ECHO, "next");
    assert_eq!(next.outcome().await.body(), "next");
    assert_eq!(caller.link.dropped_frames(), 0, "no late answer was sent");
}

#[tokio::test]
async fn a_deadline_fails_the_call_and_cancels_it_at_the_peer() {
    let (caller, mut instance) = pair().await;
    let remaining = Duration::from_millis(50);
    let call = caller
        .try_call(HOLD, OutBody::Slice(b""), remaining)
        .unwrap();
    let held = instance.holds().await;
    let failure = call.outcome().await.failure();
    assert_eq!(
        (failure.code, failure.certainty),
        (Code::Deadline, Certainty::MaybeExecuted)
    );
    assert_eq!(instance.cancelled().await, held.id);
}

#[tokio::test]
async fn a_late_answer_is_dropped_and_counted_though_its_slot_is_in_use_again() {
    let (link, raw) = link_and_raw_with(LIMITS, ONE_AT_A_TIME).await;
    let remaining = Duration::from_millis(50);
    let first = link.try_call(HOLD, OutBody::Slice(b""), remaining).unwrap();
    let (_, mut lane) = raw.accept_lane().await;
    let old = lane.next().await;
    assert_eq!((old.kind, old.call_id()), (Some(Kind::Call), first.id));
    assert_eq!(first.outcome().await.failure().code, Code::Deadline);
    let second = link.call(HOLD, "");
    assert_eq!(second.id, raw::id(0, 1), "the slot is in use again");
    assert_eq!(lane.next().await, frame_of(Kind::Cancel, old.id));
    lane.send(raw::reply(old.call_id(), b"late")).await;
    lane.send(raw::reply(second.id, b"new")).await;
    assert_eq!(second.outcome().await.body(), "new");
    assert_eq!(link.link.dropped_frames(), 1);
}

/// What was not sent when its deadline passed is not sent later either.
#[tokio::test]
async fn a_call_that_is_said_not_to_have_left_is_never_seen_by_the_peer() {
    let (link, raw) = link_and_raw().await;
    let body = pattern(INLINE_BODY_LIMIT);
    let remaining = Duration::from_millis(300);
    let mut calls = Vec::new();
    // The peer does not read: most of this has to wait.
    while calls.len() < 280 {
        let attempt = || link.try_call(HOLD, OutBody::Slice(&body), remaining).ok();
        calls.push(soon(link.link.until(attempt)).await);
    }
    let (mut not_sent, mut maybe) = (Vec::new(), Vec::new());
    for call in calls {
        let id = call.id;
        let failure = call.outcome().await.failure();
        assert_eq!(failure.code, Code::Deadline);
        match failure.certainty {
            Certainty::NotSent => not_sent.push(id),
            Certainty::MaybeExecuted => maybe.push(id),
            other => panic!("{other}"),
        }
    }
    assert!(!not_sent.is_empty() && !maybe.is_empty());
    let (sender, mut frames) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..MAX_LANES {
        let (_, mut lane) = raw.accept_lane().await;
        let sender = sender.clone();
        tokio::spawn(async move {
            loop {
                let frame = lane.next().await;
                if sender.send((frame.kind.unwrap(), frame.call_id())).is_err() {
                    return;
                }
            }
        });
    }
    let (mut calls, mut voids, mut cancels) = (Vec::new(), Vec::new(), Vec::new());
    while voids.len() + cancels.len() < 280 {
        let (kind, id) = soon(frames.recv()).await.unwrap();
        match kind {
            Kind::Call => calls.push(id),
            Kind::Void => voids.push(id),
            Kind::Cancel => cancels.push(id),
            other => panic!("{other:?}"),
        }
    }
    for ids in [
        &mut calls,
        &mut voids,
        &mut cancels,
        &mut not_sent,
        &mut maybe,
    ] {
        ids.sort_unstable_by_key(|id| id.to_u64());
    }
    assert_eq!(voids, not_sent);
    assert_eq!((&calls, &cancels), (&maybe, &maybe));
}

#[tokio::test]
async fn a_call_of_an_older_generation_is_dropped_and_counted() {
    let (mut link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    lane.send(call(raw::id(0, 5), HOLD, b"new")).await;
    lane.send(call(raw::id(0, 4), HOLD, b"old")).await;
    lane.send(call(raw::id(0, 5), HOLD, b"again")).await;
    lane.send(call(raw::id(1, 0), HOLD, b"other")).await;
    assert_eq!(link.holds().await.body.unwrap(), "new");
    assert_eq!(link.holds().await.body.unwrap(), "other");
    assert_eq!(link.link.dropped_frames(), 2);
    assert_eq!(link.link.peer_calls_in_flight(), 2);
}

#[tokio::test]
async fn a_newer_call_in_a_slot_stops_the_job_of_the_older() {
    let (mut link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    lane.send(call(raw::id(0, u32::MAX), HOLD, b"")).await;
    let older = link.holds().await;
    lane.send(call(raw::id(0, 0), HOLD, b"")).await;
    let newer = link.holds().await;
    assert_eq!(link.cancelled().await, older.id);
    link.reply(older.id, "older");
    link.reply(newer.id, "newer");
    let answer = lane.next().await;
    assert_eq!(
        (answer.call_id(), answer.reply()),
        (newer.id, "newer".into())
    );
}

#[tokio::test]
async fn frames_that_mean_nothing_here_are_skipped() {
    let (link, raw) = link_and_raw().await;
    let mut lane = raw.open_lane(0).await;
    let mut unknown = frame(Kind::Call, 0, b"whatever").to_vec();
    unknown[4] = 0x7f;
    lane.send(&unknown).await;
    lane.send(frame(Kind::Void, 0, b"withdrawn")).await;
    lane.send(frame(Kind::Cancel, raw::id(9, 9).to_u64(), b""))
        .await;
    lane.send(call(raw::id(0, 0), ECHO, b"here")).await;
    assert_eq!(lane.next().await.reply(), "here");
    let own = link.call(HOLD, "");
    let (_, mut lane) = raw.accept_lane().await;
    let id = lane.next().await.call_id();
    lane.send(&unknown).await;
    lane.send(frame(Kind::Void, 0, b"withdrawn")).await;
    lane.send(raw::reply(id, b"there")).await;
    assert_eq!(own.outcome().await.body(), "there");
    eventually(|| link.link.calls_in_flight() == 0).await;
    assert!(!link.link.is_closed());
}

fn frame_of(kind: Kind, id: u64) -> raw::Frame {
    raw::Frame {
        kind: Some(kind),
        id,
        payload: Bytes::new(),
    }
}
