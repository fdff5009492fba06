//! The protocol's bytes, written down: they may never change.
//!
//! Every frame below was computed by hand from the tables of `frame` and `message`, and is
//! compared with what the crate writes and with what it reads.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use nano_wire::{
    CallHeader, CallId, Certainty, Code, Encoding, Extensions, Failure, Hop, InstanceId,
    ReplyHeader, Trace,
    activity::{Activity, AskActivity, Figures, Of, PatternActivity, State},
    codec,
    explain::{Explain, Explained, NearMiss, Pick, RunnerUp, Source, Standing, Winner},
    failure::FailureData,
    frame::{self, Frame, FrameError, Kind, Splitter},
    history::{
        AskHistory, AskPast, Held, History, LastChange, Past, PastWinner, RouteChange, What,
    },
    inspect::{
        Added, Later, ListRoutes, OtherNode, Place, RedisState, Route, RouteState, Routes, Status,
    },
    message::{
        self, AskSet, Control, Dial, Hello, Limits, ListenHttp, Policy, Register, Resolved,
        RouteInstance, SetPage, SetRecord, Welcome,
    },
    rules::{CallRule, CallRules, CheckPattern, Checked, Registered},
};

/// Hexadecimal bytes of each field, and what it is.
type Golden = &'static [(&'static str, &'static str)];

const ALL: [Golden; 48] = [
    VOID,
    HELLO,
    WELCOME,
    REGISTER,
    REGISTER_PLAIN,
    DEREGISTER,
    DONE,
    REFUSED,
    DRAIN,
    DRAINED,
    LEAVING,
    ASK_SET,
    SET_PAGE,
    LIST_ROUTES,
    LIST_ROUTES_PLAIN,
    ROUTES,
    ROUTES_UNCHANGED,
    GET_STATUS,
    STATUS,
    RESOLVE,
    RESOLVED,
    CHANGED,
    FORGET,
    LISTEN,
    DIAL,
    LISTEN_HTTP,
    EXPLAIN,
    EXPLAINED,
    EXPLAINED_NOTHING,
    LANE,
    CALL,
    CALL_FULL,
    CANCEL,
    REPLY,
    REPLY_FULL,
    FAIL,
    BODY_OF_CALL,
    BODY_OF_REPLY,
    UNKNOWN,
    CALL_RULES,
    CHECK_PATTERN,
    CHECKED,
    ASK_HISTORY,
    HISTORY,
    ASK_PAST,
    PAST,
    ASK_ACTIVITY,
    ACTIVITY,
];

/// A kind of a later version.
const UNKNOWN: Golden = &[
    ("0a000000", "length: 10"),
    ("7f", "kind: not given yet"),
    ("0000000000000000", "id: 0"),
    ("ff", "whatever it holds"),
];

/// `ask_history()`.
const ASK_HISTORY: Golden = &[
    ("11000000", "length: 17"),
    ("43", "kind: AskHistory"),
    ("0300000000000000", "id: request 3"),
    ("01 01 61", "prefix"),
    ("01 05", "since_ms"),
    ("01 07", "before"),
    ("00", "later"),
];

/// `history()`.
const HISTORY: Golden = &[
    ("26000000", "length: 38"),
    ("44", "kind: History"),
    ("0300000000000000", "id: request 3"),
    ("01", "changes: one"),
    ("07 05 01 61", "number, at_ms, pattern"),
    ("02020202020202020202020202020202", "instance"),
    ("01 73 00 03", "identity, place: Here, what: Returned"),
    ("01", "more"),
    ("01 04", "oldest_ms"),
    ("00", "later"),
];

/// `ask_activity()`.
const ASK_ACTIVITY: Golden = &[
    ("11000000", "length: 17"),
    ("47", "kind: AskActivity"),
    ("0300000000000000", "id: request 3"),
    ("01 01 61", "prefix"),
    ("01 02 01 61", "after: the pattern"),
    ("00", "later"),
];

/// `activity()`.
const ACTIVITY: Golden = &[
    ("25000000", "length: 37"),
    ("48", "kind: Activity"),
    ("0300000000000000", "id: request 3"),
    ("05 06", "at_ms, at_us"),
    ("02", "patterns: two"),
    ("00 00 00 00 00 00 00", "of: Other, no figures"),
    ("02 01 61 04", "of: the pattern, refused"),
    ("01 0e 03 02", "failures: one; code, certainty, count"),
    ("02 01 00", "buckets: two"),
    ("07 08", "micros, in_flight"),
    ("01 01 02", "instances: one; state: Ejected, count"),
    ("01", "more"),
    ("00", "later"),
];

/// `ask_past()`.
const ASK_PAST: Golden = &[
    ("0d000000", "length: 13"),
    ("45", "kind: AskPast"),
    ("0300000000000000", "id: request 3"),
    ("01 61", "subject"),
    ("05", "at_ms"),
    ("00", "later"),
];

/// `past()`.
const PAST: Golden = &[
    ("28000000", "length: 40"),
    ("46", "kind: Past"),
    ("0300000000000000", "id: request 3"),
    ("01 61 05", "subject, at_ms"),
    ("01 01 61 01", "winner: pattern, instances"),
    ("01", "listed: one"),
    ("02020202020202020202020202020202", "instance"),
    ("01 73", "identity"),
    (
        "01 04 01 02",
        "last: at_ms, what: Registered, place: Nowhere",
    ),
    ("00", "later"),
];

/// A frame that was withdrawn.
const VOID: Golden = &[
    ("09000000", "length: 9"),
    ("00", "kind: Void"),
    ("0000000000000000", "id: 0"),
];

/// `hello()`.
const HELLO: Golden = &[
    ("2f000000", "length: 47"),
    ("01", "kind: Hello"),
    ("0000000000000000", "id: 0"),
    ("01", "version"),
    ("01", "oldest"),
    ("000102030405060708090a0b0c0d0e0f", "instance"),
    ("fbe803", "limits.max_in_flight: 1000"),
    ("fc00000001", "limits.max_body: 16 MiB"),
    ("0b 6e616e6f6420302e312e30", "agent"),
];

/// `welcome()`: 250 is the last number of one byte, 251 the first of three.
const WELCOME: Golden = &[
    ("1f000000", "length: 31"),
    ("02", "kind: Welcome"),
    ("0000000000000000", "id: 0"),
    ("01", "version"),
    ("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "instance"),
    ("fa", "limits.max_in_flight: 250"),
    ("fbfb00", "limits.max_body: 251"),
    ("00", "agent: empty"),
];

/// `register()`.
const REGISTER: Golden = &[
    ("2d000000", "length: 45"),
    ("03", "kind: Register"),
    ("0700000000000000", "id: request 7"),
    ("11 726f6c653a6d6174682c636d643a73756d", "pattern"),
    ("fb2c01", "incarnation: 300"),
    ("01", "policy.idempotent"),
    ("01 fb8813", "policy.deadline_ms: 5000"),
    ("01 40", "policy.max_concurrent: 64"),
    ("01 fc00001000", "policy.max_body: 1 MiB"),
    ("01 03", "policy.weight: 3"),
];

/// A registration that declares nothing.
const REGISTER_PLAIN: Golden = &[
    ("13000000", "length: 19"),
    ("03", "kind: Register"),
    ("0800000000000000", "id: request 8"),
    ("03 613a31", "pattern"),
    ("01", "incarnation"),
    ("00", "policy.idempotent"),
    ("00", "policy.deadline_ms"),
    ("00", "policy.max_concurrent"),
    ("00", "policy.max_body"),
    ("00", "policy.weight"),
];

const DEREGISTER: Golden = &[
    ("0d000000", "length: 13"),
    ("04", "kind: Deregister"),
    ("0900000000000000", "id: request 9"),
    ("03 613a31", "pattern"),
];

const DONE: Golden = &[
    ("09000000", "length: 9"),
    ("05", "kind: Done"),
    ("0700000000000000", "id: request 7"),
];

/// `full_failure()`.
const REFUSED: Golden = &[
    ("30000000", "length: 48"),
    ("06", "kind: Refused"),
    ("0800000000000000", "id: request 8"),
    ("0e", "code: handler_failed"),
    ("03", "certainty: executed"),
    ("02", "hop: instance"),
    ("03 6ec3b6", "message"),
    ("01 000102030405060708090a0b0c0d0e0f", "instance"),
    ("01 03 613a31", "pattern"),
    ("01 fbdc05", "retry_after_ms: 1500"),
    ("01 00 02 7b7d", "data: JSON"),
    ("00", "extensions"),
];

const DRAIN: Golden = &[
    ("09000000", "length: 9"),
    ("07", "kind: Drain"),
    ("0000000000000000", "id: 0"),
];

const DRAINED: Golden = &[
    ("09000000", "length: 9"),
    ("08", "kind: Drained"),
    ("0000000000000000", "id: 0"),
];

const LEAVING: Golden = &[
    ("09000000", "length: 9"),
    ("09", "kind: Leaving"),
    ("0500000000000000", "id: 5"),
];

const ASK_SET: Golden = &[
    ("0b000000", "length: 11"),
    ("0e", "kind: AskSet"),
    ("0600000000000000", "id: 6"),
    ("01", "held: some"),
    ("04", "version 4"),
];

const SET_PAGE: Golden = &[
    ("25000000", "length: 37"),
    ("0f", "kind: SetPage"),
    ("0600000000000000", "id: 6"),
    ("05", "version 5"),
    ("01", "one record"),
    ("03613a31", "pattern: a:1"),
    ("000102030405060708090a0b0c0d0e0f", "instance"),
    ("02", "incarnation 2"),
    ("00", "registered on a session"),
    ("02beef", "payload"),
    ("01", "the last page"),
];

/// `list_routes()`.
const LIST_ROUTES: Golden = &[
    ("2e000000", "length: 46"),
    ("0a", "kind: ListRoutes"),
    ("0900000000000000", "id: request 9"),
    ("01 09 726f6c653a6d617468", "prefix"),
    (
        "01 03 613a31 000102030405060708090a0b0c0d0e0f",
        "after: pattern, instance",
    ),
    ("01 fb2c01", "unless: 300"),
    ("00", "later"),
];

/// All of them, from the first on.
const LIST_ROUTES_PLAIN: Golden = &[
    ("0d000000", "length: 13"),
    ("0a", "kind: ListRoutes"),
    ("0100000000000000", "id: request 1"),
    ("00", "prefix"),
    ("00", "after"),
    ("00", "unless"),
    ("00", "later"),
];

/// `routes()`.
const ROUTES: Golden = &[
    ("6f000000", "length: 111"),
    ("0b", "kind: Routes"),
    ("0900000000000000", "id: request 9"),
    ("fb2c01", "revision: 300"),
    ("02", "routes: two"),
    ("03 613a31", "pattern"),
    ("000102030405060708090a0b0c0d0e0f", "instance"),
    ("01 73", "identity"),
    ("00", "place: here"),
    ("00", "state: ready"),
    ("05", "in_flight"),
    ("00 00 00 00 00", "policy"),
    ("01", "incarnation"),
    ("00", "later"),
    ("03 613a32", "pattern"),
    ("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "instance"),
    ("01 73", "identity"),
    (
        "01 000102030405060708090a0b0c0d0e0f 03 783a31",
        "place: a node, its address",
    ),
    ("03", "state: suspect"),
    ("00", "in_flight"),
    (
        "01 01fb8813 0140 01fc00001000 0103",
        "policy: as in a registration",
    ),
    ("fb2c01", "incarnation: 300"),
    ("00", "later"),
    ("01", "more"),
    ("00", "later"),
];

/// Nothing has changed.
const ROUTES_UNCHANGED: Golden = &[
    ("0d000000", "length: 13"),
    ("0b", "kind: Routes"),
    ("0100000000000000", "id: request 1"),
    ("fa", "revision: 250"),
    ("00", "routes: none"),
    ("00", "more"),
    ("00", "later"),
];

const GET_STATUS: Golden = &[
    ("09000000", "length: 9"),
    ("0c", "kind: GetStatus"),
    ("0200000000000000", "id: request 2"),
];

/// `status()`.
const STATUS: Golden = &[
    ("64000000", "length: 100"),
    ("0d", "kind: Status"),
    ("0200000000000000", "id: request 2"),
    ("01 6e", "identity"),
    ("000102030405060708090a0b0c0d0e0f", "instance"),
    ("01 61", "agent"),
    ("fbe803", "uptime_ms: 1000"),
    ("03 783a31", "quic"),
    ("03 783a32", "http"),
    ("02", "sessions"),
    ("03", "in_flight"),
    ("fb2c01", "patterns: 300"),
    ("04", "instances"),
    ("01", "suspect"),
    (
        "01 01fbdc05 02 03 00",
        "redis: away_ms, behind, unreplicated, is_foreign",
    ),
    ("01", "nodes"),
    ("01", "suspect_nodes"),
    (
        "01 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff 03 783a33 01",
        "listed: one, its instance, address, is_suspect",
    ),
    (
        "02 01 08 00d2496b00000000 03 08 0700000000000000",
        "added: the certificate's end; withheld, 7",
    ),
];

/// `explain()`.
const EXPLAIN: Golden = &[
    ("0e000000", "length: 14"),
    ("38", "kind: Explain"),
    ("0300000000000000", "id: request 3"),
    ("03 613a31", "subject"),
    ("00", "later"),
];

/// `call_rules()`.
const CALL_RULES: Golden = &[
    ("1f000000", "length: 31"),
    ("40", "kind: CallRules"),
    ("0000000000000000", "id: none"),
    ("01", "is_new"),
    ("01", "is_whole"),
    ("00", "is_closed"),
    ("01 72", "source"),
    ("01 01 6f", "contact"),
    ("02", "rules: two"),
    ("01 2a 01 03 613a31 02", "whom, prefix, line"),
    ("01 2a 00 03", "whom, no prefix, line"),
    ("00", "later"),
];

/// `check_pattern()`.
const CHECK_PATTERN: Golden = &[
    ("0e000000", "length: 14"),
    ("41", "kind: CheckPattern"),
    ("0300000000000000", "id: request 3"),
    ("03 613a31", "pattern"),
    ("00", "later"),
];

/// `checked()`.
const CHECKED: Golden = &[
    ("1a000000", "length: 26"),
    ("42", "kind: Checked"),
    ("0300000000000000", "id: request 3"),
    ("03 613a31", "pattern"),
    ("01 73", "identity"),
    ("01", "is_allowed"),
    ("01 72", "reason"),
    (
        "01 01 61 01 74 02",
        "others: one, its pattern, identity, instances",
    ),
    ("00", "more"),
    ("00", "later"),
];

/// `explained()`.
const EXPLAINED: Golden = &[
    ("55000000", "length: 85"),
    ("39", "kind: Explained"),
    ("0300000000000000", "id: request 3"),
    ("07 613a312c623a32", "subject"),
    ("01 03 613a31", "winner: its pattern"),
    ("fb2c01", "winner: instances: 300"),
    ("01", "winner: listed: one"),
    ("000102030405060708090a0b0c0d0e0f", "instance"),
    ("01 73", "identity"),
    ("00", "place: here"),
    ("00", "state: ready"),
    ("05", "pick: ejected"),
    ("01 fbe803", "ejected_ms: 1000"),
    ("02", "in_flight"),
    ("01 fbdc05", "latency_us: 1500"),
    ("00 00 00 00 00", "policy"),
    ("01 03 783a31", "address"),
    ("00", "source: session"),
    ("00", "age_ms"),
    ("00", "later"),
    ("01 01 61 02", "runners_up: one, its pattern, instances"),
    (
        "01 07 613a312c623a33 01 04",
        "near: one, its pattern, field, instances",
    ),
    ("00", "later"),
];

/// No pattern matches.
const EXPLAINED_NOTHING: Golden = &[
    ("11000000", "length: 17"),
    ("39", "kind: Explained"),
    ("0300000000000000", "id: request 3"),
    ("03 613a31", "subject"),
    ("00", "winner"),
    ("00", "runners_up: none"),
    ("00", "near: none"),
    ("00", "later"),
];

const RESOLVE: Golden = &[
    ("0d000000", "length: 13"),
    ("30", "kind: Resolve"),
    ("0800000000000000", "id: 8"),
    ("03 613a31", "subject"),
];

const RESOLVED: Golden = &[
    ("13000000", "length: 19"),
    ("31", "kind: Resolved"),
    ("0800000000000000", "id: 8"),
    ("03 613a31", "subject"),
    ("01", "it is whole"),
    ("01", "one route"),
    ("02 6121", "pattern"),
    ("00", "no instance"),
];

const CHANGED: Golden = &[
    ("2b000000", "length: 43"),
    ("32", "kind: Changed"),
    ("0000000000000000", "id: 0"),
    ("03 613a31", "pattern"),
    ("01", "one instance"),
    ("000102030405060708090a0b0c0d0e0f", "instance"),
    ("01 69", "identity"),
    ("01 03 683a31", "address"),
    ("00", "it is not suspect"),
    ("00 00 00 00 00", "policy"),
];

const FORGET: Golden = &[
    ("0d000000", "length: 13"),
    ("33", "kind: Forget"),
    ("0000000000000000", "id: 0"),
    ("03 613a31", "subject"),
];

const LISTEN: Golden = &[
    ("0e000000", "length: 14"),
    ("34", "kind: Listen"),
    ("0000000000000000", "id: 0"),
    ("01 03 683a31", "address"),
];

const LISTEN_HTTP: Golden = &[
    ("0f000000", "length: 15"),
    ("36", "kind: ListenHttp"),
    ("0000000000000000", "id: 0"),
    ("01 01 68", "host"),
    ("fb5c11", "port: 4444"),
];

const DIAL: Golden = &[
    ("3f000000", "length: 63"),
    ("35", "kind: Dial"),
    ("0000000000000000", "id: 0"),
    (
        "000102030405060708090a0b0c0d0e0f",
        "the instance that is meant",
    ),
    ("01", "version"),
    ("01", "oldest"),
    ("000102030405060708090a0b0c0d0e0f", "instance"),
    ("fbe803", "limits.max_in_flight: 1000"),
    ("fc00000001", "limits.max_body: 16 MiB"),
    ("0b 6e616e6f6420302e312e30", "agent"),
];

const LANE: Golden = &[
    ("09000000", "length: 9"),
    ("10", "kind: Lane"),
    ("0300000000000000", "id: lane 3"),
];

/// `plain_call()` and its body.
const CALL: Golden = &[
    ("1a000000", "length: 26"),
    ("11", "kind: Call"),
    ("0200000001000000", "id: slot 2, generation 1"),
    ("03 613a31", "subject"),
    ("fc40420f00", "remaining_us: 1 s"),
    ("00", "trace"),
    ("08", "hops"),
    ("00", "encoding: JSON"),
    ("00", "flags"),
    ("00", "streamed"),
    ("00", "extensions"),
    ("7b7d", "body"),
];

/// `full_call()`, whose body has a stream of its own.
const CALL_FULL: Golden = &[
    ("55000000", "length: 85"),
    ("11", "kind: Call"),
    ("feffffffffffffff", "id: slot 2^32 - 2, generation 2^32 - 1"),
    ("11 726f6c653a6d6174682c636d643a73756d", "subject"),
    ("fd00f2052a01000000", "remaining_us: 5,000 s"),
    (
        "01 000102030405060708090a0b0c0d0e0f 2021222324252627 01",
        "trace: trace_id, parent_id, flags",
    ),
    ("07", "hops"),
    ("01", "encoding: bincode"),
    ("00", "flags"),
    ("01 fc00005000", "streamed: 5 MiB"),
    (
        "03 01 03 6b3d76 02 02 7231 fb2c01 00",
        "extensions: trace state, request id, an unknown one",
    ),
];

const CANCEL: Golden = &[
    ("09000000", "length: 9"),
    ("12", "kind: Cancel"),
    ("0200000001000000", "id: slot 2, generation 1"),
];

/// A plain reply and its body.
const REPLY: Golden = &[
    ("0d000000", "length: 13"),
    ("13", "kind: Reply"),
    ("0200000001000000", "id: slot 2, generation 1"),
    ("00", "encoding: JSON"),
    ("00", "streamed"),
    ("00", "extensions"),
    ("33", "body"),
];

/// `full_reply()`, whose body has a stream of its own.
const REPLY_FULL: Golden = &[
    ("15000000", "length: 21"),
    ("13", "kind: Reply"),
    ("0200000001000000", "id: slot 2, generation 1"),
    ("01", "encoding: bincode"),
    ("01 fc70110100", "streamed: 70,000"),
    ("01 09 02 00ff", "extensions"),
];

/// `plain_failure()`.
const FAIL: Golden = &[
    ("24000000", "length: 36"),
    ("14", "kind: Fail"),
    ("0200000001000000", "id: slot 2, generation 1"),
    ("01", "code: no_route"),
    ("00", "certainty: not_sent"),
    ("01", "hop: node"),
    ("12 6e6f207061747465726e206d617463686573", "message"),
    ("00", "instance"),
    ("00", "pattern"),
    ("00", "retry_after_ms"),
    ("00", "data"),
    ("00", "extensions"),
];

/// What stands first on a body's stream; the body follows it.
const BODY_OF_CALL: Golden = &[
    ("0f000000", "length: 15"),
    ("20", "kind: Body"),
    ("0200000001000000", "id: slot 2, generation 1"),
    ("00", "is_reply"),
    ("fc70110100", "length: 70,000"),
];

const BODY_OF_REPLY: Golden = &[
    ("13000000", "length: 19"),
    ("20", "kind: Body"),
    ("0200000001000000", "id: slot 2, generation 1"),
    ("01", "is_reply"),
    ("fd0000004001000000", "length: 5 GiB"),
];

const SLOT_2: CallId = CallId {
    slot: 2,
    generation: 1,
};

const LAST_SLOT: CallId = CallId {
    slot: u32::MAX - 1,
    generation: u32::MAX,
};

const TRACE: Trace = Trace {
    trace_id: sixteen_from(0),
    parent_id: [0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27],
    flags: 1,
};

fn hello() -> Hello {
    Hello {
        version: 1,
        oldest: 1,
        instance: InstanceId(sixteen_from(0)),
        limits: Limits {
            max_in_flight: 1000,
            max_body: 16 << 20,
        },
        agent: "nanod 0.1.0".to_owned(),
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        instance: InstanceId(sixteen_from(0xf0)),
        limits: Limits {
            max_in_flight: 250,
            max_body: 251,
        },
        agent: String::new(),
    }
}

fn register() -> Register {
    Register {
        pattern: "role:math,cmd:sum".to_owned(),
        incarnation: 300,
        policy: Policy {
            idempotent: true,
            deadline_ms: Some(5000),
            max_concurrent: Some(64),
            max_body: Some(1 << 20),
            weight: Some(3),
        },
    }
}

fn list_routes() -> ListRoutes {
    ListRoutes {
        prefix: Some("role:math".to_owned()),
        after: Some(("a:1".to_owned(), InstanceId(sixteen_from(0)))),
        unless: Some(300),
        later: Later,
    }
}

fn routes() -> Routes {
    let here = Route {
        pattern: "a:1".to_owned(),
        instance: InstanceId(sixteen_from(0)),
        identity: "s".to_owned(),
        place: Place::Here,
        state: RouteState::Ready,
        in_flight: 5,
        policy: Policy::default(),
        incarnation: 1,
        later: Later,
    };
    let elsewhere = Route {
        pattern: "a:2".to_owned(),
        instance: InstanceId(sixteen_from(0xf0)),
        identity: "s".to_owned(),
        place: Place::Node {
            node: InstanceId(sixteen_from(0)),
            address: "x:1".to_owned(),
        },
        state: RouteState::Suspect,
        in_flight: 0,
        policy: register().policy,
        incarnation: 300,
        later: Later,
    };
    Routes {
        revision: 300,
        routes: vec![here, elsewhere],
        more: true,
        later: Later,
    }
}

fn unchanged() -> Routes {
    Routes {
        revision: 250,
        ..Routes::default()
    }
}

fn status() -> Status {
    Status {
        identity: "n".to_owned(),
        instance: InstanceId(sixteen_from(0)),
        agent: "a".to_owned(),
        uptime_ms: 1000,
        quic: "x:1".to_owned(),
        http: "x:2".to_owned(),
        sessions: 2,
        in_flight: 3,
        patterns: 300,
        instances: 4,
        suspect: 1,
        redis: Some(RedisState {
            away_ms: Some(1500),
            behind: 2,
            unreplicated: 3,
            is_foreign: false,
        }),
        nodes: 1,
        suspect_nodes: 1,
        listed: vec![OtherNode {
            instance: InstanceId(sixteen_from(0xf0)),
            address: "x:3".to_owned(),
            is_suspect: true,
        }],
        added: Added {
            certificate_ends: Some(1_800_000_000),
            revocations_end: None,
            withheld: 7,
        },
    }
}

fn explain() -> Explain {
    Explain {
        subject: "a:1".to_owned(),
        later: Later,
    }
}

fn explained() -> Explained {
    let standing = Standing {
        instance: InstanceId(sixteen_from(0)),
        identity: "s".to_owned(),
        place: Place::Here,
        state: RouteState::Ready,
        pick: Pick::Ejected,
        ejected_ms: Some(1000),
        in_flight: 2,
        latency_us: Some(1500),
        policy: Policy::default(),
        address: Some("x:1".to_owned()),
        source: Source::Session,
        age_ms: 0,
        later: Later,
    };
    Explained {
        subject: "a:1,b:2".to_owned(),
        winner: Some(Winner {
            pattern: "a:1".to_owned(),
            instances: 300,
            listed: vec![standing],
        }),
        runners_up: vec![RunnerUp {
            pattern: "a".to_owned(),
            instances: 2,
        }],
        near: vec![NearMiss {
            pattern: "a:1,b:3".to_owned(),
            field: 1,
            instances: 4,
        }],
        later: Later,
    }
}

fn call_rules() -> CallRules {
    let rule = |prefix: Option<&str>, line| CallRule {
        whom: "*".to_owned(),
        prefix: prefix.map(str::to_owned),
        line,
    };
    CallRules {
        is_new: true,
        is_whole: true,
        is_closed: false,
        source: "r".to_owned(),
        contact: Some("o".to_owned()),
        rules: vec![rule(Some("a:1"), 2), rule(None, 3)],
        later: Later,
    }
}

fn ask_history() -> AskHistory {
    AskHistory {
        prefix: Some("a".to_owned()),
        since_ms: Some(5),
        before: Some(7),
        later: Later,
    }
}

fn ask_activity() -> AskActivity {
    AskActivity {
        prefix: Some("a".to_owned()),
        after: Some(Of::Pattern("a".to_owned())),
        later: Later,
    }
}

fn activity() -> Activity {
    let figures = Figures {
        refused: 4,
        failures: vec![(Code::HandlerFailed, Certainty::Executed, 2)],
        buckets: vec![1, 0],
        micros: 7,
        in_flight: 8,
        instances: vec![(State::Ejected, 2)],
    };
    let none = Figures::default();
    let of = |(of, figures)| PatternActivity { of, figures };
    Activity {
        at_ms: 5,
        at_us: 6,
        patterns: [(Of::Other, none), (Of::Pattern("a".to_owned()), figures)]
            .map(of)
            .into(),
        more: true,
        later: Later,
    }
}

fn history() -> History {
    History {
        changes: vec![RouteChange {
            number: 7,
            at_ms: 5,
            pattern: "a".to_owned(),
            instance: InstanceId([2; 16]),
            identity: "s".to_owned(),
            place: Place::Here,
            what: What::Returned,
        }],
        more: true,
        oldest_ms: Some(4),
        later: Later,
    }
}

fn ask_past() -> AskPast {
    AskPast {
        subject: "a".to_owned(),
        at_ms: 5,
        later: Later,
    }
}

fn past() -> Past {
    Past {
        subject: "a".to_owned(),
        at_ms: 5,
        winner: Some(PastWinner {
            pattern: "a".to_owned(),
            instances: 1,
            listed: vec![Held {
                instance: InstanceId([2; 16]),
                identity: "s".to_owned(),
                last: Some(LastChange {
                    at_ms: 4,
                    what: What::Registered,
                    place: Place::Nowhere,
                }),
            }],
        }),
        later: Later,
    }
}

fn check_pattern() -> CheckPattern {
    CheckPattern {
        pattern: "a:1".to_owned(),
        later: Later,
    }
}

fn checked() -> Checked {
    Checked {
        pattern: "a:1".to_owned(),
        identity: "s".to_owned(),
        is_allowed: true,
        reason: "r".to_owned(),
        others: vec![Registered {
            pattern: "a".to_owned(),
            identity: "t".to_owned(),
            instances: 2,
        }],
        more: false,
        later: Later,
    }
}

fn explained_nothing() -> Explained {
    Explained {
        subject: "a:1".to_owned(),
        ..Explained::default()
    }
}

fn plain_register() -> Register {
    Register {
        pattern: "a:1".to_owned(),
        incarnation: 1,
        policy: Policy::default(),
    }
}

fn full_failure() -> Failure {
    Failure {
        code: Code::HandlerFailed,
        certainty: Certainty::Executed,
        hop: Hop::Instance,
        message: "nö".into(),
        instance: Some(InstanceId(sixteen_from(0))),
        pattern: Some("a:1".to_owned()),
        retry_after_ms: Some(1500),
        data: Some(FailureData {
            encoding: Encoding::Json,
            bytes: b"{}".to_vec(),
        }),
    }
}

fn plain_failure() -> Failure {
    Failure::new(
        Code::NoRoute,
        Certainty::NotSent,
        Hop::Node,
        "no pattern matches",
    )
}

fn plain_call() -> CallHeader<'static> {
    CallHeader {
        subject: "a:1",
        remaining_us: 1_000_000,
        trace: None,
        hops: 8,
        encoding: Encoding::Json,
        flags: 0,
        streamed: None,
        extensions: Extensions::default(),
    }
}

fn full_call() -> CallHeader<'static> {
    CallHeader {
        subject: "role:math,cmd:sum",
        remaining_us: 5_000_000_000,
        trace: Some(TRACE),
        hops: 7,
        encoding: Encoding::Bincode,
        flags: 0,
        streamed: Some(5 << 20),
        extensions: Extensions(vec![
            (Extensions::TRACE_STATE, b"k=v"),
            (Extensions::REQUEST_ID, b"r1"),
            (300, b""),
        ]),
    }
}

fn full_reply() -> ReplyHeader<'static> {
    ReplyHeader {
        encoding: Encoding::Bincode,
        streamed: Some(70_000),
        extensions: Extensions(vec![(9, b"\x00\xff")]),
    }
}

fn resolved() -> Resolved {
    Resolved {
        subject: "a:1".to_owned(),
        is_whole: true,
        routes: vec![message::Route {
            pattern: "a!".to_owned(),
            instances: Vec::new(),
        }],
    }
}

fn route() -> message::Route {
    message::Route {
        pattern: "a:1".to_owned(),
        instances: vec![RouteInstance {
            instance: InstanceId(sixteen_from(0)),
            identity: "i".to_owned(),
            address: Some("h:1".to_owned()),
            is_suspect: false,
            policy: Policy::default(),
        }],
    }
}

fn dial() -> Dial {
    Dial {
        instance: InstanceId(sixteen_from(0)),
        hello: hello(),
    }
}

fn set_page() -> SetPage {
    SetPage {
        version: 5,
        records: vec![SetRecord {
            pattern: "a:1".to_owned(),
            instance: InstanceId(sixteen_from(0)),
            incarnation: 2,
            is_http: false,
            payload: vec![0xbe, 0xef],
        }],
        is_last: true,
    }
}

#[test]
fn control_messages() {
    let cases = [
        (HELLO, 0, Control::Hello(hello())),
        (WELCOME, 0, Control::Welcome(welcome())),
        (REGISTER, 7, Control::Register(register())),
        (REGISTER_PLAIN, 8, Control::Register(plain_register())),
        (DEREGISTER, 9, Control::Deregister("a:1".to_owned())),
        (DONE, 7, Control::Done),
        (REFUSED, 8, Control::Refused(Box::new(full_failure()))),
        (DRAIN, 0, Control::Drain),
        (DRAINED, 0, Control::Drained),
        (LEAVING, 5, Control::Leaving),
        (ASK_SET, 6, Control::AskSet(AskSet { held: Some(4) })),
        (SET_PAGE, 6, Control::SetPage(set_page())),
        (LIST_ROUTES, 9, Control::ListRoutes(list_routes())),
        (
            LIST_ROUTES_PLAIN,
            1,
            Control::ListRoutes(ListRoutes::default()),
        ),
        (ROUTES, 9, Control::Routes(routes())),
        (ROUTES_UNCHANGED, 1, Control::Routes(unchanged())),
        (GET_STATUS, 2, Control::GetStatus),
        (STATUS, 2, Control::Status(Box::new(status()))),
        (RESOLVE, 8, Control::Resolve("a:1".to_owned())),
        (RESOLVED, 8, Control::Resolved(resolved())),
        (CHANGED, 0, Control::Changed(route())),
        (FORGET, 0, Control::Forget("a:1".to_owned())),
        (LISTEN, 0, Control::Listen(Some("h:1".to_owned()))),
        (DIAL, 0, Control::Dial(dial())),
        (
            LISTEN_HTTP,
            0,
            Control::ListenHttp(ListenHttp {
                host: Some("h".to_owned()),
                port: 4444,
            }),
        ),
        (EXPLAIN, 3, Control::Explain(explain())),
        (EXPLAINED, 3, Control::Explained(Box::new(explained()))),
        (CALL_RULES, 0, Control::CallRules(call_rules())),
        (CHECK_PATTERN, 3, Control::CheckPattern(check_pattern())),
        (CHECKED, 3, Control::Checked(Box::new(checked()))),
        (ASK_HISTORY, 3, Control::AskHistory(ask_history())),
        (HISTORY, 3, Control::History(history())),
        (ASK_PAST, 3, Control::AskPast(ask_past())),
        (PAST, 3, Control::Past(past())),
        (ASK_ACTIVITY, 3, Control::AskActivity(ask_activity())),
        (ACTIVITY, 3, Control::Activity(activity())),
        (
            EXPLAINED_NOTHING,
            3,
            Control::Explained(Box::new(explained_nothing())),
        ),
    ];
    for (golden, id, message) in cases {
        let mut written = BytesMut::new();
        message.append(id, &mut written);
        assert_same(&written, golden);
        with_frame(golden, |frame| {
            assert_eq!(frame.id, id);
            assert_eq!(Control::parse(frame), Ok(Some(message)));
        });
    }
}

#[test]
fn what_later_versions_add_is_read_over() {
    // One value under number 7, in place of none.
    let bytes = [&bytes(ROUTES_UNCHANGED)[13..16], &[1, 7, 2, 0xff, 0xff]].concat();
    let frame = Frame {
        kind: Some(Kind::Routes),
        id: 1,
        payload: &bytes,
    };
    assert_eq!(
        Control::parse(frame),
        Ok(Some(Control::Routes(unchanged())))
    );
}

#[test]
fn numbers_of_states() {
    let known = (0..).zip(RouteState::ALL);
    for (number, state) in known.chain([(255, RouteState::Unrecognised)]) {
        let mut written = BytesMut::new();
        codec::encode(&state, &mut written);
        assert_eq!(written[..], [number], "{state}");
        assert_eq!(codec::decode::<RouteState>(&[number]).unwrap().0, state);
    }
    let (to_come, _) = codec::decode::<RouteState>(&[5]).unwrap();
    assert_eq!(to_come, RouteState::Unrecognised);
}

#[test]
fn numbers_of_picks_and_sources() {
    for (number, pick) in (0..).zip(Pick::ALL).chain([(255, Pick::Unrecognised)]) {
        let mut written = BytesMut::new();
        codec::encode(&pick, &mut written);
        assert_eq!(written[..], [number], "{pick}");
        assert_eq!(codec::decode::<Pick>(&[number]).unwrap().0, pick);
    }
    for (number, source) in (0..).zip(Source::ALL).chain([(255, Source::Unrecognised)]) {
        let mut written = BytesMut::new();
        codec::encode(&source, &mut written);
        assert_eq!(written[..], [number], "{source}");
        assert_eq!(codec::decode::<Source>(&[number]).unwrap().0, source);
    }
}

#[test]
fn frames_without_a_payload() {
    let cases = [
        (VOID, Kind::Void, 0),
        (LANE, Kind::Lane, 3),
        (CANCEL, Kind::Cancel, SLOT_2.to_u64()),
    ];
    for (golden, kind, id) in cases {
        assert_same(&written(kind, id, |_| {}), golden);
        with_frame(golden, |frame| {
            assert_eq!((frame.kind, frame.id), (Some(kind), id));
            assert!(frame.payload.is_empty());
        });
    }
}

#[test]
fn calls() {
    let cases = [
        (CALL, SLOT_2, plain_call(), &b"{}"[..]),
        (CALL_FULL, LAST_SLOT, full_call(), &b""[..]),
    ];
    for (golden, id, header, body) in cases {
        let bytes = written(Kind::Call, id.to_u64(), |out| {
            codec::encode(&header, out);
            out.extend_from_slice(body);
        });
        assert_same(&bytes, golden);
        with_frame(golden, |frame| {
            assert_eq!(frame.kind, Some(Kind::Call));
            assert_eq!(CallId::from_u64(frame.id), id);
            assert_eq!(codec::decode(frame.payload).unwrap(), (header, body));
        });
    }
}

#[test]
fn replies() {
    let cases = [
        (REPLY, ReplyHeader::default(), &b"3"[..]),
        (REPLY_FULL, full_reply(), &b""[..]),
    ];
    for (golden, header, body) in cases {
        let bytes = written(Kind::Reply, SLOT_2.to_u64(), |out| {
            codec::encode(&header, out);
            out.extend_from_slice(body);
        });
        assert_same(&bytes, golden);
        with_frame(golden, |frame| {
            assert_eq!(frame.kind, Some(Kind::Reply));
            assert_eq!(CallId::from_u64(frame.id), SLOT_2);
            assert_eq!(codec::decode(frame.payload).unwrap(), (header, body));
        });
    }
}

#[test]
fn failures() {
    let failure = plain_failure();
    let bytes = written(Kind::Fail, SLOT_2.to_u64(), |out| {
        codec::encode(&failure, out);
    });
    assert_same(&bytes, FAIL);
    with_frame(FAIL, |frame| {
        assert_eq!(frame.kind, Some(Kind::Fail));
        let (read, rest) = codec::decode::<Failure>(frame.payload).unwrap();
        assert_eq!((read, rest), (failure, &b""[..]));
    });
}

/// The type of this payload is private; `lane::tests` compares it with the same bytes.
#[test]
fn heads_of_bodies() {
    let cases = [
        (BODY_OF_CALL, (false, 70_000_u64)),
        (BODY_OF_REPLY, (true, 5 << 30)),
    ];
    for (golden, payload) in cases {
        let bytes = written(Kind::Body, SLOT_2.to_u64(), |out| {
            codec::encode(&payload, out);
        });
        assert_same(&bytes, golden);
        with_frame(golden, |frame| {
            assert_eq!(frame.kind, Some(Kind::Body));
            let (read, rest) = codec::decode::<(bool, u64)>(frame.payload).unwrap();
            assert_eq!((read, rest), (payload, &b""[..]));
        });
    }
}

#[test]
fn a_frame_of_an_unknown_kind_has_no_kind_and_is_no_message() {
    with_frame(UNKNOWN, |frame| {
        assert_eq!(frame.kind, None);
        assert_eq!(Control::parse(frame), Ok(None));
    });
}

#[test]
fn every_kind_has_golden_bytes() {
    let golden: HashSet<u8> = ALL.into_iter().map(|golden| bytes(golden)[4]).collect();
    for kind in Kind::ALL {
        assert!(golden.contains(&(kind as u8)), "none for {kind:?}");
    }
}

#[test]
fn no_two_kinds_have_one_number() {
    let numbers: HashSet<u8> = Kind::ALL.into_iter().map(|kind| kind as u8).collect();
    assert_eq!(numbers.len(), Kind::ALL.len());
}

#[test]
fn numbers_of_codes() {
    for code in Code::all() {
        let failure = Failure::new(code, Certainty::Refused, Hop::Caller, "");
        let mut written = BytesMut::new();
        codec::encode(&failure, &mut written);
        // certainty: refused, hop: caller, message: empty, five fields that are not there
        let golden = [number(code), 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(written[..], golden, "{code}");
        assert_eq!(codec::decode::<Failure>(&golden).unwrap().0, failure);
    }
    assert_eq!(Code::all().count(), 16, "a code has no number here");
}

#[test]
fn numbers_of_certainties_and_hops() {
    let certainties = [
        Certainty::NotSent,
        Certainty::Refused,
        Certainty::MaybeExecuted,
        Certainty::Executed,
    ];
    let hops = [Hop::Caller, Hop::Node, Hop::Instance];
    for (certainty_number, certainty) in (0..).zip(certainties) {
        for (hop_number, hop) in (0..).zip(hops) {
            let failure = Failure::new(Code::Loop, certainty, hop, "");
            let golden = [13, certainty_number, hop_number, 0, 0, 0, 0, 0, 0];
            let mut written = BytesMut::new();
            codec::encode(&failure, &mut written);
            assert_eq!(written[..], golden);
            assert_eq!(codec::decode::<Failure>(&golden).unwrap().0, failure);
        }
    }
    assert!(codec::decode::<Failure>(&[13, 4, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(codec::decode::<Failure>(&[13, 0, 3, 0, 0, 0, 0, 0, 0]).is_err());
}

/// A new code does not compile without a number here.
fn number(code: Code) -> u8 {
    match code {
        Code::NoRoute => 1,
        Code::NoInstance => 2,
        Code::Overloaded => 3,
        Code::Draining => 4,
        Code::NotOwner => 5,
        Code::ConnectionLost => 6,
        Code::Deadline => 7,
        Code::Cancelled => 8,
        Code::BadRequest => 9,
        Code::TooLarge => 10,
        Code::Unauthenticated => 11,
        Code::Forbidden => 12,
        Code::Loop => 13,
        Code::HandlerFailed => 14,
        Code::HandlerPanicked => 15,
        Code::Unrecognised => 255,
    }
}

const fn sixteen_from(first: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut at = 0;
    while at < 16 {
        bytes[at] = first + at as u8;
        at += 1;
    }
    bytes
}

fn written(kind: Kind, id: u64, payload: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    frame::append(&mut out, kind, id, payload);
    out
}

fn bytes(golden: Golden) -> Vec<u8> {
    let digits: Vec<u8> = golden
        .iter()
        .flat_map(|(hex, _)| hex.bytes())
        .filter(|byte| *byte != b' ')
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Compares field by field, so that a failure names the field.
fn assert_same(written: &[u8], golden: Golden) {
    let mut rest = written;
    for field in golden {
        let expected = bytes(std::slice::from_ref(field));
        let (found, after) = rest.split_at(expected.len().min(rest.len()));
        assert_eq!(found, expected, "{}", field.1);
        rest = after;
    }
    assert!(rest.is_empty(), "{} bytes too many", rest.len());
}

/// Cuts the only frame out of golden bytes.
fn with_frame(golden: Golden, each: impl FnOnce(Frame<'_>)) {
    let mut each = Some(each);
    let mut splitter = Splitter::default();
    splitter
        .push(Bytes::from(bytes(golden)), |frame| {
            each.take().expect("one frame")(frame);
            Ok::<_, FrameError>(())
        })
        .unwrap();
    assert!(splitter.is_at_border() && each.is_none());
}
