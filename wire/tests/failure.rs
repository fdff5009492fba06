//! The protocol's table of failures, row by row.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{collections::HashSet, time::Duration};

use bytes::BytesMut;
use nano_wire::{
    Certainty::{self, Executed, MaybeExecuted, NotSent, Refused},
    Code, Encoding, Failure, Hop, InstanceId, codec,
    failure::{FailureData, MESSAGE_LIMIT, Retry},
    frame::{FRAME_LIMIT, INLINE_BODY_LIMIT, PREFIX},
};

const CERTAINTIES: [Certainty; 4] = [NotSent, Refused, MaybeExecuted, Executed];

struct Row {
    code: Code,
    name: &'static str,
    http: u16,
    /// Each certainty that the table allows, and whether another instance may be tried.
    retry: &'static [(Certainty, Retry)],
}

const fn row(
    code: Code,
    name: &'static str,
    http: u16,
    retry: &'static [(Certainty, Retry)],
) -> Row {
    Row {
        code,
        name,
        http,
        retry,
    }
}

const NEVER: &[(Certainty, Retry)] = &[(NotSent, Retry::No), (Refused, Retry::No)];

const TABLE: [Row; 16] = [
    row(Code::NoRoute, "no_route", 404, &[(NotSent, Retry::No)]),
    row(
        Code::NoInstance,
        "no_instance",
        503,
        &[(NotSent, Retry::AfterWait)],
    ),
    row(
        Code::Overloaded,
        "overloaded",
        503,
        &[(NotSent, Retry::Yes), (Refused, Retry::Yes)],
    ),
    row(Code::Draining, "draining", 503, &[(Refused, Retry::Free)]),
    row(
        Code::NotOwner,
        "not_owner",
        502,
        &[(Refused, Retry::FreeAfterResolve)],
    ),
    row(
        Code::ConnectionLost,
        "connection_lost",
        502,
        &[(NotSent, Retry::Yes), (MaybeExecuted, Retry::IfIdempotent)],
    ),
    row(
        Code::Deadline,
        "deadline",
        504,
        &[
            (NotSent, Retry::No),
            (Refused, Retry::No),
            (MaybeExecuted, Retry::No),
        ],
    ),
    row(
        Code::Cancelled,
        "cancelled",
        499,
        &[
            (NotSent, Retry::No),
            (Refused, Retry::No),
            (MaybeExecuted, Retry::No),
            (Executed, Retry::No),
        ],
    ),
    row(Code::BadRequest, "bad_request", 400, NEVER),
    row(Code::TooLarge, "too_large", 413, NEVER),
    row(Code::Unauthenticated, "unauthenticated", 401, NEVER),
    row(Code::Forbidden, "forbidden", 403, NEVER),
    row(Code::Loop, "loop", 508, NEVER),
    row(
        Code::HandlerFailed,
        "handler_failed",
        500,
        &[(Executed, Retry::No)],
    ),
    row(
        Code::HandlerPanicked,
        "handler_panicked",
        500,
        &[(Executed, Retry::No)],
    ),
    // A code of a newer version, of which nothing is known.
    row(
        Code::Unrecognised,
        "unrecognised",
        502,
        &[
            (NotSent, Retry::No),
            (Refused, Retry::No),
            (MaybeExecuted, Retry::No),
            (Executed, Retry::No),
        ],
    ),
];

#[test]
fn every_row_of_the_table() {
    for row in &TABLE {
        assert_eq!(row.code.name(), row.name);
        assert_eq!(row.code.to_string(), row.name);
        assert_eq!(row.code.http_status(), row.http, "{}", row.name);
        for &(certainty, retry) in row.retry {
            let failure = failure(row.code, certainty);
            assert_eq!(failure.retry(), retry, "{failure}");
        }
    }
}

#[test]
fn every_code_has_a_row() {
    let rows: HashSet<Code> = TABLE.iter().map(|row| row.code).collect();
    for code in Code::all() {
        assert!(rows.contains(&code), "{code} has none");
    }
    assert_eq!(Code::all().count(), TABLE.len());
}

/// Holds for combinations that are in no row too: a peer may claim anything.
#[test]
fn what_may_have_run_is_given_again_only_if_idempotent() {
    for code in Code::all() {
        let retry = failure(code, MaybeExecuted).retry();
        assert!(
            matches!(retry, Retry::No | Retry::IfIdempotent),
            "{code}: {retry:?}"
        );
        assert_eq!(failure(code, Executed).retry(), Retry::No, "{code}");
    }
}

#[test]
fn names_of_certainties() {
    let names = CERTAINTIES.map(|certainty| certainty.to_string());
    assert_eq!(names, ["not_sent", "refused", "maybe_executed", "executed"]);
}

#[test]
fn only_an_instance_can_say_that_it_refused() {
    assert_eq!(Hop::Caller.refusal(), NotSent);
    assert_eq!(Hop::Node.refusal(), NotSent);
    assert_eq!(Hop::Instance.refusal(), Refused);
}

#[test]
fn a_failure_reads_as_code_certainty_and_message() {
    let failure = Failure::new(Code::NoRoute, NotSent, Hop::Node, "nothing serves a:1");
    assert_eq!(
        failure.to_string(),
        "no_route (not_sent): nothing serves a:1"
    );
}

#[test]
fn a_message_is_kept_up_to_the_limit() {
    let message = "x".repeat(MESSAGE_LIMIT);
    assert_eq!(with_message(message.clone()).message, message);
    assert_eq!(with_message(format!("{message}y")).message, message);
}

#[test]
fn a_message_is_cut_before_a_character_that_does_not_fit() {
    for over in 1..4 {
        let ascii = "x".repeat(MESSAGE_LIMIT - over);
        let cut = with_message(format!("{ascii}\u{1f980}")).message;
        assert_eq!(cut, ascii, "{over} of 4 bytes would fit");
    }
    let fits = format!("{}\u{1f980}", "x".repeat(MESSAGE_LIMIT - 4));
    assert_eq!(with_message(format!("{fits}x")).message, fits);
}

#[test]
fn a_message_that_a_peer_sent_is_cut_too() {
    let mut failure = failure(Code::Loop, NotSent);
    failure.message = "x".repeat(MESSAGE_LIMIT + 1).into();
    assert_eq!(reread(&failure).message.len(), MESSAGE_LIMIT);
}

#[test]
fn data_is_attached_up_to_the_limit_of_an_inline_body() {
    let bytes = vec![7; INLINE_BODY_LIMIT];
    let failure = failure(Code::HandlerFailed, Executed).with_data(Encoding::Json, bytes.clone());
    let encoding = Encoding::Json;
    assert_eq!(failure.data, Some(FailureData { encoding, bytes }));
}

#[test]
fn data_over_the_limit_is_left_out_and_the_message_says_so() {
    let bytes = vec![7; INLINE_BODY_LIMIT + 1];
    let failure = with_message("broken".to_owned()).with_data(Encoding::Json, bytes);
    assert_eq!(failure.data, None);
    assert_eq!(failure.message, "broken (data of 16385 bytes left out)");
}

#[test]
fn a_pause_too_long_to_be_said_is_the_longest_that_can_be() {
    let failure = failure(Code::Overloaded, NotSent);
    let short = failure.clone().retry_after(Duration::from_millis(1500));
    let long = failure.retry_after(Duration::from_secs(u64::MAX));
    assert_eq!(short.retry_after_ms, Some(1500));
    assert_eq!(long.retry_after_ms, Some(u32::MAX));
}

#[test]
fn codes_of_a_newer_version_are_unrecognised() {
    let known: HashSet<u8> = Code::all()
        .map(|code| encoded(&failure(code, NotSent))[0])
        .collect();
    for number in 0..=u8::MAX {
        let mut bytes = encoded(&failure(Code::NoRoute, NotSent));
        bytes[0] = number;
        let (read, _) = codec::decode::<Failure>(&bytes).unwrap();
        assert_eq!(
            read.code == Code::Unrecognised,
            number == u8::MAX || !known.contains(&number),
            "{number}"
        );
    }
}

#[test]
fn what_a_newer_version_adds_is_skipped() {
    let mut bytes = encoded(&failure(Code::NoRoute, NotSent));
    assert_eq!(bytes.split_off(bytes.len() - 1), [0], "no extensions");
    bytes.extend([1, 200, 3, 1, 2, 3]);
    let (read, rest) = codec::decode::<Failure>(&bytes).unwrap();
    assert_eq!(read, failure(Code::NoRoute, NotSent));
    assert!(rest.is_empty());
}

/// Whoever passes a failure on may say more of it; that must fit into a frame, whatever
/// the peer had sent.
#[test]
fn a_failure_of_a_peer_can_be_added_to_and_passed_on() {
    let room = FRAME_LIMIT - PREFIX - 64;
    let mut long_pattern = failure(Code::NoRoute, NotSent);
    long_pattern.pattern = Some("x".repeat(room));
    let mut long_data = failure(Code::HandlerFailed, Executed);
    long_data.data = Some(FailureData {
        encoding: Encoding::Json,
        bytes: vec![b'x'; room],
    });
    for failure in [long_pattern, long_data] {
        assert!(encoded(&failure).len() <= FRAME_LIMIT, "a peer can send it");
        let more = reread(&failure)
            .retry_after(Duration::from_secs(1))
            .at_instance(InstanceId([7; 16]));
        let passed_on = encoded(&more).len();
        assert!(passed_on <= FRAME_LIMIT / 2, "{passed_on} bytes");
    }
}

fn failure(code: Code, certainty: Certainty) -> Failure {
    Failure::new(code, certainty, Hop::Node, "")
}

fn with_message(message: String) -> Failure {
    Failure::new(Code::HandlerFailed, Executed, Hop::Instance, message)
}

fn encoded(failure: &Failure) -> Vec<u8> {
    let mut out = BytesMut::new();
    codec::encode(failure, &mut out);
    out.to_vec()
}

fn reread(failure: &Failure) -> Failure {
    codec::decode(&encoded(failure)).unwrap().0
}
