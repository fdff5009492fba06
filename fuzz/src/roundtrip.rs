//! A message that nanod writes: it is read as it was written, and written again as the same bytes.
//!
//! An input is what [`arbitrary`] makes a message of, within the limits that writers keep to.

use std::fmt::Debug;

use arbitrary::{Result, Unstructured};
use bincode::{BorrowDecode, Encode};
use bytes::{Bytes, BytesMut};
use nano_routing::MAX_BYTES;
use nano_wire::{
    CallHeader, Certainty, Code, Encoding, Extensions, Failure, Hop, InstanceId, ReplyHeader,
    Trace,
    activity::{Activity, AskActivity, Figures, Of, PatternActivity, State},
    codec,
    explain::{Explain, Explained, NearMiss, Pick, RunnerUp, Source, Standing, Winner},
    frame::{FrameError, INLINE_BODY_LIMIT, PREFIX, Splitter},
    history::{
        AskHistory, AskPast, Held, History, LastChange, Past, PastWinner, RouteChange, What,
    },
    inspect::{
        Added, Later, ListRoutes, OtherNode, Place, RedisState, Room, Route, RouteState, Routes,
        Status,
    },
    message::{
        AskSet, Control, EXTENSIONS_LIMIT, Hello, Limits, Policy, Register, SetPage, SetRecord,
        Welcome,
    },
    rules::{CallRule, CallRules, CheckPattern, Checked, Registered},
};

/// Makes a message, writes it, reads it and writes it again.
pub fn roundtrip(input: &[u8]) {
    // A longer message may not fit into a frame, for which its writer would be to blame.
    let input = &input[..input.len().min(INLINE_BODY_LIMIT)];
    // Too few bytes make no message, which is no failure.
    let _ = any_message(&mut Unstructured::new(input));
}

/// Asserts that a control message keeps its value and its bytes.
pub(super) fn control(id: u64, message: &Control) {
    let bytes = framed(id, message);
    let mut read = Vec::new();
    let outcome = Splitter::default().push(bytes.clone(), |frame| {
        read.push((frame.id, Control::parse(frame)));
        Ok::<_, FrameError>(())
    });
    assert_eq!(outcome, Ok(()));
    let [(read_id, Ok(Some(again)))] = &read[..] else {
        panic!("{message:?} is read as {read:?}");
    };
    assert_eq!((*read_id, again), (id, message));
    assert_eq!(framed(*read_id, again), bytes);
}

/// Asserts that what precedes a body keeps its value and its `bytes`, which are those that
/// [`encoded`] makes of it.
pub(super) fn header<'a, T>(value: &T, bytes: &'a [u8])
where
    T: Encode + BorrowDecode<'a, ()> + PartialEq + Debug,
{
    let (again, rest) = codec::decode::<T>(bytes).expect("what was written can be read");
    assert_eq!((&again, rest), (value, &[][..]));
    assert_eq!(encoded(&again), bytes);
}

/// The bytes of a value.
pub(super) fn encoded<T: Encode>(value: &T) -> Bytes {
    let mut bytes = BytesMut::new();
    codec::encode(value, &mut bytes);
    bytes.freeze()
}

fn framed(id: u64, message: &Control) -> Bytes {
    let mut bytes = BytesMut::new();
    message.append(id, &mut bytes);
    assert!(bytes.len() >= PREFIX);
    bytes.freeze()
}

fn any_message(source: &mut Unstructured<'_>) -> Result<()> {
    let id = source.arbitrary()?;
    match source.int_in_range(0..=28)? {
        0 => control(id, &Control::Hello(hello(source)?)),
        1 => control(id, &Control::Welcome(welcome(source)?)),
        2 => control(id, &Control::Register(register(source)?)),
        3 => control(id, &Control::Deregister(source.arbitrary()?)),
        4 => control(id, &Control::Done),
        5 => control(id, &Control::Refused(Box::new(failure(source)?))),
        6 => control(id, &Control::Drain),
        7 => control(id, &Control::Drained),
        8 => control(id, &Control::Leaving),
        9 => {
            let call = call(source)?;
            header(&call, &encoded(&call));
        }
        10 => {
            let reply = reply(source)?;
            header(&reply, &encoded(&reply));
        }
        11 => {
            let failure = failure(source)?;
            header(&failure, &encoded(&failure));
        }
        12 => control(id, &Control::ListRoutes(list_routes(source)?)),
        13 => control(id, &Control::Routes(routes(source)?)),
        14 => control(id, &Control::GetStatus),
        15 => {
            let held = source.arbitrary()?;
            control(id, &Control::AskSet(AskSet { held }));
        }
        16 => control(id, &Control::SetPage(set_page(source)?)),
        17 => {
            let subject = source.arbitrary()?;
            control(
                id,
                &Control::Explain(Explain {
                    subject,
                    later: Later,
                }),
            );
        }
        18 => control(id, &Control::Explained(Box::new(explained(source)?))),
        19 => control(id, &Control::CallRules(call_rules(source)?)),
        20 => {
            let pattern = source.arbitrary()?;
            let later = Later;
            control(id, &Control::CheckPattern(CheckPattern { pattern, later }));
        }
        21 => control(id, &Control::Checked(Box::new(checked(source)?))),
        22 => control(id, &Control::AskHistory(ask_history(source)?)),
        23 => control(id, &Control::History(history(source)?)),
        24 => {
            let (subject, at_ms) = source.arbitrary()?;
            let later = Later;
            control(
                id,
                &Control::AskPast(AskPast {
                    subject,
                    at_ms,
                    later,
                }),
            );
        }
        25 => control(id, &Control::Past(past(source)?)),
        26 => {
            let prefix = source.arbitrary()?;
            let after = source
                .arbitrary::<bool>()?
                .then(|| of(source))
                .transpose()?;
            let later = Later;
            control(
                id,
                &Control::AskActivity(AskActivity {
                    prefix,
                    after,
                    later,
                }),
            );
        }
        27 => control(id, &Control::Activity(activity(source)?)),
        _ => control(id, &Control::Status(Box::new(status(source)?))),
    }
    Ok(())
}

fn set_page(source: &mut Unstructured<'_>) -> Result<SetPage> {
    let record = |source: &mut Unstructured<'_>| {
        Ok(SetRecord {
            pattern: source.arbitrary()?,
            instance: InstanceId(source.arbitrary()?),
            incarnation: source.arbitrary()?,
            is_http: source.arbitrary()?,
            payload: source.arbitrary()?,
        })
    };
    Ok(SetPage {
        version: source.arbitrary()?,
        records: vec![record(source)?],
        is_last: source.arbitrary()?,
    })
}

fn hello(source: &mut Unstructured<'_>) -> Result<Hello> {
    Ok(Hello {
        version: source.arbitrary()?,
        oldest: source.arbitrary()?,
        instance: InstanceId(source.arbitrary()?),
        limits: limits(source)?,
        agent: source.arbitrary()?,
    })
}

fn welcome(source: &mut Unstructured<'_>) -> Result<Welcome> {
    Ok(Welcome {
        version: source.arbitrary()?,
        instance: InstanceId(source.arbitrary()?),
        limits: limits(source)?,
        agent: source.arbitrary()?,
    })
}

fn limits(source: &mut Unstructured<'_>) -> Result<Limits> {
    Ok(Limits {
        max_in_flight: source.arbitrary()?,
        max_body: source.arbitrary()?,
    })
}

fn register(source: &mut Unstructured<'_>) -> Result<Register> {
    Ok(Register {
        pattern: source.arbitrary()?,
        incarnation: source.arbitrary()?,
        policy: policy(source)?,
    })
}

fn policy(source: &mut Unstructured<'_>) -> Result<Policy> {
    Ok(Policy {
        idempotent: source.arbitrary()?,
        deadline_ms: source.arbitrary()?,
        max_concurrent: source.arbitrary()?,
        max_body: source.arbitrary()?,
        weight: source.arbitrary()?,
    })
}

fn list_routes(source: &mut Unstructured<'_>) -> Result<ListRoutes> {
    let after: Option<(String, _)> = source.arbitrary()?;
    Ok(ListRoutes {
        prefix: source.arbitrary()?,
        after: after.map(|(pattern, instance)| (pattern, InstanceId(instance))),
        unless: source.arbitrary()?,
        later: Later,
    })
}

fn routes(source: &mut Unstructured<'_>) -> Result<Routes> {
    let mut routes = Routes {
        revision: source.arbitrary()?,
        more: source.arbitrary()?,
        ..Routes::default()
    };
    let mut room = Room::new();
    while source.arbitrary()? && routes.add(route(source)?, &mut room) {}
    Ok(routes)
}

fn route(source: &mut Unstructured<'_>) -> Result<Route> {
    Ok(Route {
        pattern: source.arbitrary()?,
        instance: InstanceId(source.arbitrary()?),
        identity: source.arbitrary()?,
        place: place(source)?,
        state: *source.choose(&RouteState::ALL)?,
        in_flight: source.arbitrary()?,
        policy: policy(source)?,
        incarnation: source.arbitrary()?,
        later: Later,
    })
}

fn status(source: &mut Unstructured<'_>) -> Result<Status> {
    let mut status = Status {
        identity: source.arbitrary()?,
        instance: InstanceId(source.arbitrary()?),
        agent: source.arbitrary()?,
        uptime_ms: source.arbitrary()?,
        quic: source.arbitrary()?,
        http: source.arbitrary()?,
        sessions: source.arbitrary()?,
        in_flight: source.arbitrary()?,
        patterns: source.arbitrary()?,
        instances: source.arbitrary()?,
        suspect: source.arbitrary()?,
        redis: redis_state(source)?,
        nodes: source.arbitrary()?,
        suspect_nodes: source.arbitrary()?,
        listed: Vec::new(),
        added: Added {
            withheld: source.arbitrary()?,
            certificate_ends: source.arbitrary()?,
            revocations_end: source.arbitrary()?,
        },
    };
    let mut room = Room::new();
    while source.arbitrary()? && status.add(other_node(source)?, &mut room) {}
    Ok(status)
}

fn call_rules(source: &mut Unstructured<'_>) -> Result<CallRules> {
    let mut rules = CallRules {
        is_new: source.arbitrary()?,
        is_whole: source.arbitrary()?,
        is_closed: source.arbitrary()?,
        source: source.arbitrary()?,
        contact: source.arbitrary()?,
        ..CallRules::default()
    };
    let mut room = Room::new();
    while source.arbitrary()? {
        let rule = CallRule {
            whom: source.arbitrary()?,
            prefix: source.arbitrary()?,
            line: source.arbitrary()?,
        };
        if !rules.add(rule, &mut room) {
            break;
        }
    }
    Ok(rules)
}

fn place(source: &mut Unstructured<'_>) -> Result<Place> {
    Ok(match source.int_in_range(0..=2)? {
        0 => Place::Here,
        1 => Place::Node {
            node: InstanceId(source.arbitrary()?),
            address: source.arbitrary()?,
        },
        _ => Place::Nowhere,
    })
}

fn ask_history(source: &mut Unstructured<'_>) -> Result<AskHistory> {
    Ok(AskHistory {
        prefix: source.arbitrary()?,
        since_ms: source.arbitrary()?,
        before: source.arbitrary()?,
        later: Later,
    })
}

fn route_change(source: &mut Unstructured<'_>) -> Result<RouteChange> {
    Ok(RouteChange {
        number: source.arbitrary()?,
        at_ms: source.arbitrary()?,
        pattern: source.arbitrary()?,
        instance: InstanceId(source.arbitrary()?),
        identity: source.arbitrary()?,
        place: place(source)?,
        what: *source.choose(&What::ALL)?,
    })
}

fn history(source: &mut Unstructured<'_>) -> Result<History> {
    let mut history = History {
        more: source.arbitrary()?,
        oldest_ms: source.arbitrary()?,
        ..History::default()
    };
    let mut room = Room::new();
    while source.arbitrary()? {
        if !history.add(route_change(source)?, &mut room) {
            break;
        }
    }
    Ok(history)
}

fn of(source: &mut Unstructured<'_>) -> Result<Of> {
    Ok(match source.int_in_range(0..=2)? {
        0 => Of::Other,
        1 => Of::None,
        _ => Of::Pattern(source.arbitrary()?),
    })
}

/// Codes and certainties at their places in the protocol's tables.
fn figures(source: &mut Unstructured<'_>) -> Result<Figures> {
    let codes: Vec<_> = Code::all().collect();
    let certainties: Vec<_> = Certainty::all().collect();
    let mut figures = Figures {
        refused: source.arbitrary()?,
        buckets: source.arbitrary()?,
        micros: source.arbitrary()?,
        in_flight: source.arbitrary()?,
        ..Figures::default()
    };
    while source.arbitrary()? {
        let (code, certainty) = (*source.choose(&codes)?, *source.choose(&certainties)?);
        figures
            .failures
            .push((code, certainty, source.arbitrary()?));
    }
    while source.arbitrary()? {
        let state = *source.choose(&State::ALL)?;
        figures.instances.push((state, source.arbitrary()?));
    }
    Ok(figures)
}

fn activity(source: &mut Unstructured<'_>) -> Result<Activity> {
    let mut activity = Activity {
        at_ms: source.arbitrary()?,
        at_us: source.arbitrary()?,
        more: source.arbitrary()?,
        ..Activity::default()
    };
    let mut room = Room::new();
    while source.arbitrary()? {
        let (of, figures) = (of(source)?, figures(source)?);
        if !activity.add(PatternActivity { of, figures }, &mut room) {
            break;
        }
    }
    Ok(activity)
}

fn past(source: &mut Unstructured<'_>) -> Result<Past> {
    let mut winner = PastWinner {
        pattern: source.arbitrary()?,
        instances: source.arbitrary()?,
        listed: Vec::new(),
    };
    let mut room = Room::new();
    while source.arbitrary()? {
        let RouteChange {
            at_ms,
            instance,
            identity,
            place,
            what,
            ..
        } = route_change(source)?;
        let last = LastChange { at_ms, what, place };
        let last = source.arbitrary::<bool>()?.then_some(last);
        let held = Held {
            instance,
            identity,
            last,
        };
        if !winner.add(held, &mut room) {
            break;
        }
    }
    Ok(Past {
        subject: source.arbitrary()?,
        at_ms: source.arbitrary()?,
        winner: source.arbitrary::<bool>()?.then_some(winner),
        later: Later,
    })
}

fn checked(source: &mut Unstructured<'_>) -> Result<Checked> {
    let mut checked = Checked {
        pattern: source.arbitrary()?,
        identity: source.arbitrary()?,
        is_allowed: source.arbitrary()?,
        reason: source.arbitrary()?,
        ..Checked::default()
    };
    let mut room = Room::new();
    while source.arbitrary()? {
        let other = Registered {
            pattern: source.arbitrary()?,
            identity: source.arbitrary()?,
            instances: source.arbitrary()?,
        };
        if !checked.add(other, &mut room) {
            break;
        }
    }
    Ok(checked)
}

fn explained(source: &mut Unstructured<'_>) -> Result<Explained> {
    let mut explained = Explained {
        subject: source.arbitrary()?,
        ..Explained::default()
    };
    let mut room = Room::new();
    while source.arbitrary()? {
        let runner_up = RunnerUp {
            pattern: source.arbitrary()?,
            instances: source.arbitrary()?,
        };
        explained.add_runner_up(runner_up, &mut room);
        let near = NearMiss {
            pattern: source.arbitrary()?,
            field: source.arbitrary()?,
            instances: source.arbitrary()?,
        };
        explained.add_near(near, &mut room);
    }
    if source.arbitrary()? {
        let mut winner = Winner {
            pattern: source.arbitrary()?,
            instances: source.arbitrary()?,
            listed: Vec::new(),
        };
        while source.arbitrary()? && winner.add(standing(source)?, &mut room) {}
        explained.winner = Some(winner);
    }
    Ok(explained)
}

fn standing(source: &mut Unstructured<'_>) -> Result<Standing> {
    let route = route(source)?;
    Ok(Standing {
        instance: route.instance,
        identity: route.identity,
        place: route.place,
        state: route.state,
        pick: *source.choose(&Pick::ALL)?,
        ejected_ms: source.arbitrary()?,
        in_flight: route.in_flight,
        latency_us: source.arbitrary()?,
        policy: route.policy,
        address: source.arbitrary()?,
        source: *source.choose(&Source::ALL)?,
        age_ms: source.arbitrary()?,
        later: Later,
    })
}

fn redis_state(source: &mut Unstructured<'_>) -> Result<Option<RedisState>> {
    let fields = source.arbitrary::<Option<_>>()?;
    Ok(
        fields.map(|(away_ms, behind, unreplicated, is_foreign)| RedisState {
            away_ms,
            behind,
            unreplicated,
            is_foreign,
        }),
    )
}

fn other_node(source: &mut Unstructured<'_>) -> Result<OtherNode> {
    Ok(OtherNode {
        instance: InstanceId(source.arbitrary()?),
        address: source.arbitrary()?,
        is_suspect: source.arbitrary()?,
    })
}

fn failure(source: &mut Unstructured<'_>) -> Result<Failure> {
    let codes: Vec<Code> = Code::all().collect();
    let certainties = [
        Certainty::NotSent,
        Certainty::Refused,
        Certainty::MaybeExecuted,
        Certainty::Executed,
    ];
    let hops = [Hop::Caller, Hop::Node, Hop::Instance];
    let mut failure = Failure::new(
        *source.choose(&codes)?,
        *source.choose(&certainties)?,
        *source.choose(&hops)?,
        source.arbitrary::<String>()?,
    );
    failure.instance = source.arbitrary::<Option<_>>()?.map(InstanceId);
    failure.pattern = source
        .arbitrary::<Option<String>>()?
        .filter(|pattern| pattern.len() <= MAX_BYTES);
    failure.retry_after_ms = source.arbitrary()?;
    Ok(match source.arbitrary()? {
        Some(bytes) => failure.with_data(encoding(source)?, bytes),
        None => failure,
    })
}

fn call<'a>(source: &mut Unstructured<'a>) -> Result<CallHeader<'a>> {
    Ok(CallHeader {
        subject: source.arbitrary()?,
        remaining_us: source.arbitrary()?,
        trace: trace(source)?,
        hops: source.arbitrary()?,
        encoding: encoding(source)?,
        flags: source.arbitrary()?,
        streamed: source.arbitrary()?,
        extensions: extensions(source)?,
    })
}

fn reply<'a>(source: &mut Unstructured<'a>) -> Result<ReplyHeader<'a>> {
    Ok(ReplyHeader {
        encoding: encoding(source)?,
        streamed: source.arbitrary()?,
        extensions: extensions(source)?,
    })
}

fn trace(source: &mut Unstructured<'_>) -> Result<Option<Trace>> {
    let fields = source.arbitrary::<Option<_>>()?;
    Ok(fields.map(|(trace_id, parent_id, flags)| Trace {
        trace_id,
        parent_id,
        flags,
    }))
}

fn encoding(source: &mut Unstructured<'_>) -> Result<Encoding> {
    source.choose(&[Encoding::Json, Encoding::Bincode]).copied()
}

fn extensions<'a>(source: &mut Unstructured<'a>) -> Result<Extensions<'a>> {
    let mut extensions = Extensions(source.arbitrary()?);
    while extensions.size() > EXTENSIONS_LIMIT {
        extensions.0.pop();
    }
    Ok(extensions)
}
