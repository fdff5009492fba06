//! What holds for every message, every stream of frames and every garbage.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use bytes::{Bytes, BytesMut};
use nano_wire::{
    CallHeader, CallId, Certainty, Code, Encoding, Extensions, Failure, Hop, InstanceId,
    ReplyHeader, Trace,
    activity::{Activity, AskActivity, Figures, Of, PatternActivity, State},
    codec,
    explain::{Explain, Explained, NearMiss, Pick, RunnerUp, Source, Standing, Winner},
    failure::FailureData,
    frame::{self, FRAME_LIMIT, Frame, FrameError, Kind, PREFIX, Splitter},
    history::{
        AskHistory, AskPast, Held, History, LastChange, Past, PastWinner, RouteChange, What,
    },
    inspect::{
        Added, Later, ListRoutes, OtherNode, Place, RedisState, Room, Route, RouteState, Routes,
        Status,
    },
    message::{AskSet, Control, Hello, Limits, Policy, Register, SetPage, SetRecord, Welcome},
    rules::{CallRule, CallRules, CheckPattern, Checked, Registered},
};
use proptest::{collection::vec, option, prelude::*, sample::Index};

proptest! {
    #[test]
    fn a_control_message_is_read_as_it_was_written(id: u64, message in control()) {
        let mut bytes = BytesMut::new();
        message.append(id, &mut bytes);
        let frames = split(&[bytes.freeze()]).unwrap();
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(frames[0].id, id);
        prop_assert_eq!(Control::parse(frames[0].frame()), Ok(Some(message)));
    }

    #[test]
    fn a_control_message_and_more_is_none(message in control(), more in vec(any::<u8>(), 1..9)) {
        let mut bytes = BytesMut::new();
        message.append(0, &mut bytes);
        let holds_nothing = bytes.len() == PREFIX;
        let mut frame = split(&[bytes.freeze()]).unwrap().remove(0);
        frame.payload.extend(more);
        prop_assert_eq!(Control::parse(frame.frame()).is_ok(), holds_nothing);
    }

    #[test]
    fn a_control_message_cut_short_is_none(message in control(), at: Index) {
        let mut bytes = BytesMut::new();
        message.append(0, &mut bytes);
        let mut frame = split(&[bytes.freeze()]).unwrap().remove(0);
        prop_assume!(!frame.payload.is_empty());
        frame.payload.truncate(at.index(frame.payload.len()));
        prop_assert!(Control::parse(frame.frame()).is_err());
    }

    #[test]
    fn a_page_that_takes_no_more_fits_a_frame_and_is_read(routes in vec(route(1024), 1..4)) {
        let mut page = Routes::default();
        let mut room = Room::new();
        let mut routes = routes.into_iter().cycle();
        while routes.next().is_some_and(|route| page.add(route, &mut room)) {}
        prop_assert!((10..=Routes::MOST).contains(&page.routes.len()));
        let mut bytes = BytesMut::new();
        Control::Routes(page.clone()).append(0, &mut bytes);
        let frames = split(&[bytes.freeze()]).unwrap();
        prop_assert_eq!(Control::parse(frames[0].frame()), Ok(Some(Control::Routes(page))));
    }

    #[test]
    fn a_status_that_lists_no_more_fits_a_frame_and_is_read(
        mut status in status(),
        node in other_node(),
    ) {
        let mut room = Room::new();
        status.listed.clear();
        while status.add(node.clone(), &mut room) {}
        prop_assert!(status.listed.len() > 100);
        let status = Control::Status(Box::new(status));
        let mut bytes = BytesMut::new();
        status.append(0, &mut bytes);
        let frames = split(&[bytes.freeze()]).unwrap();
        prop_assert_eq!(Control::parse(frames[0].frame()), Ok(Some(status)));
    }

    #[test]
    fn an_explanation_that_takes_no_more_fits_a_frame_and_is_read(full in explained(1024)) {
        let mut explained = Explained {
            subject: full.subject.clone(),
            ..Explained::default()
        };
        let mut room = Room::new();
        for number in 0..400 {
            let runner_up = full.runners_up[number % full.runners_up.len()].clone();
            explained.add_runner_up(runner_up, &mut room);
            let near = full.near[number % full.near.len()].clone();
            explained.add_near(near, &mut room);
        }
        if let Some(winner) = full.winner {
            let mut standings = winner.listed.iter().cycle();
            let mut listed = Winner { listed: Vec::new(), ..winner.clone() };
            while standings.next().is_some_and(|one| listed.add(one.clone(), &mut room)) {}
            explained.winner = Some(listed);
        }
        let explained = Control::Explained(Box::new(explained));
        let mut bytes = BytesMut::new();
        explained.append(0, &mut bytes);
        let frames = split(&[bytes.freeze()]).unwrap();
        prop_assert_eq!(Control::parse(frames[0].frame()), Ok(Some(explained)));
    }

    #[test]
    fn figures_that_take_no_more_fit_a_frame_and_are_read(
        patterns in vec((".{1,1024}".prop_map(Of::Pattern), figures()), 1..4),
    ) {
        let mut activity = Activity::default();
        let mut room = Room::new();
        let patterns = patterns.into_iter();
        let patterns = patterns.map(|(of, figures)| PatternActivity { of, figures });
        let patterns: Vec<_> = patterns.collect();
        let mut patterns = patterns.iter().cycle();
        while patterns.next().is_some_and(|one| activity.add(one.clone(), &mut room)) {}
        prop_assert!(activity.patterns.len() >= 10);
        let activity = Control::Activity(activity);
        let mut bytes = BytesMut::new();
        activity.append(0, &mut bytes);
        let frames = split(&[bytes.freeze()]).unwrap();
        prop_assert_eq!(Control::parse(frames[0].frame()), Ok(Some(activity)));
    }

    #[test]
    fn a_call_is_read_as_it_was_written(call in call(), body in vec(any::<u8>(), 0..64)) {
        let mut bytes = BytesMut::new();
        codec::encode(&call.header(), &mut bytes);
        bytes.extend_from_slice(&body);
        let read = codec::decode::<CallHeader<'_>>(&bytes).unwrap();
        prop_assert_eq!(read, (call.header(), &body[..]));
    }

    #[test]
    fn a_reply_is_read_as_it_was_written(reply in reply(), body in vec(any::<u8>(), 0..64)) {
        let mut bytes = BytesMut::new();
        codec::encode(&reply.header(), &mut bytes);
        bytes.extend_from_slice(&body);
        let read = codec::decode::<ReplyHeader<'_>>(&bytes).unwrap();
        prop_assert_eq!(read, (reply.header(), &body[..]));
    }

    #[test]
    fn a_failure_is_read_as_it_was_written(failure in failure()) {
        let mut bytes = BytesMut::new();
        codec::encode(&failure, &mut bytes);
        let (read, rest) = codec::decode::<Failure>(&bytes).unwrap();
        prop_assert_eq!(read, failure);
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn an_id_is_read_as_it_was_written(slot: u32, generation: u32) {
        let id = CallId { slot, generation };
        prop_assert_eq!(CallId::from_u64(id.to_u64()), id);
    }

    #[test]
    fn of_two_calls_in_a_slot_one_came_after_the_other(generation: u32, later in 1..i32::MAX) {
        let older = CallId { slot: 0, generation };
        let newer = CallId { slot: 0, generation: generation.wrapping_add(later as u32) };
        prop_assert!(newer.is_after(older.generation));
        prop_assert!(!older.is_after(newer.generation));
        prop_assert!(!older.is_after(older.generation));
    }

    #[test]
    fn frames_do_not_depend_on_how_the_stream_is_cut(
        frames in vec(frame(), 0..12),
        cuts in vec(any::<Index>(), 0..24),
    ) {
        let stream = concat(&frames);
        prop_assert_eq!(split(&cut(&stream, &cuts)), Ok(frames));
    }

    #[test]
    fn frames_do_not_depend_on_the_size_of_chunks(
        frames in vec(frame(), 0..12),
        size in 1..40_usize,
    ) {
        let stream = concat(&frames);
        let chunks: Vec<Bytes> = stream.chunks(size).map(Bytes::copy_from_slice).collect();
        prop_assert_eq!(split(&chunks), Ok(frames));
    }

    #[test]
    fn a_stream_is_at_a_border_only_after_a_whole_frame(
        frames in vec(frame(), 1..4),
        at: Index,
    ) {
        let stream = concat(&frames);
        let at = at.index(stream.len() + 1);
        let ends = frames.iter().scan(0, |end, frame| {
            *end += PREFIX + frame.payload.len();
            Some(*end)
        });
        let is_border = std::iter::once(0).chain(ends).any(|end| end == at);
        let mut splitter = Splitter::default();
        splitter.push(stream.slice(..at), |_| Ok::<_, FrameError>(())).unwrap();
        prop_assert_eq!(splitter.is_at_border(), is_border);
    }

    #[test]
    fn what_is_wrong_with_a_stream_does_not_depend_on_how_it_is_cut(
        frames in vec(frame(), 0..4),
        garbage in vec(any::<u8>(), 0..64),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let mut stream = BytesMut::from(&concat(&frames)[..]);
        stream.extend_from_slice(&garbage);
        let stream = stream.freeze();
        prop_assert_eq!(split(&cut(&stream, &cuts)), split(&[stream]));
    }

    #[test]
    fn garbage_is_never_a_reason_to_panic(
        number in any::<u8>(),
        payload in prop_oneof![vec(any::<u8>(), 0..64), vec(0..4_u8, 0..64), damaged()],
    ) {
        let _ = codec::decode::<CallHeader<'_>>(&payload);
        let _ = codec::decode::<ReplyHeader<'_>>(&payload);
        let _ = codec::decode::<Failure>(&payload);
        for kind in [Kind::from_number(number)].into_iter().chain(Kind::ALL.map(Some)) {
            let _ = Control::parse(Frame { kind, id: 0, payload: &payload });
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_once(length in FRAME_LIMIT + 1..=u32::MAX as usize) {
        let prefix = Bytes::copy_from_slice(&(length as u32).to_le_bytes());
        prop_assert_eq!(split(&[prefix]), Err(FrameError::TooLong(length)));
    }
}

#[test]
fn a_length_below_that_of_a_prefix_is_refused_at_once() {
    for length in 0..9_u32 {
        let prefix = Bytes::copy_from_slice(&length.to_le_bytes());
        let error = FrameError::TooShort(length as usize);
        assert_eq!(split(&[prefix]), Err(error));
    }
}

#[test]
fn the_longest_frame_passes() {
    let longest = Owned {
        kind: Some(Kind::Call),
        number: Kind::Call as u8,
        id: 1,
        payload: vec![7; FRAME_LIMIT + 4 - PREFIX],
    };
    let stream = concat(std::slice::from_ref(&longest));
    assert_eq!(stream.len(), FRAME_LIMIT + 4);
    let cut = [
        stream.slice(..3),
        stream.slice(3..PREFIX),
        stream.slice(PREFIX..),
    ];
    assert_eq!(split(&cut), Ok(vec![longest]));
}

#[test]
#[should_panic = "callers bound a frame's payload"]
fn no_frame_over_the_limit_is_written() {
    frame::append(&mut BytesMut::new(), Kind::Call, 0, |out| {
        out.resize(PREFIX + FRAME_LIMIT + 4 - PREFIX + 1, 0);
    });
}

#[test]
fn an_error_of_the_reader_ends_the_stream() {
    let frames = concat(&[empty(Kind::Drain), empty(Kind::Done), empty(Kind::Drained)]);
    let mut seen = Vec::new();
    let result = Splitter::default().push(frames, |frame| {
        seen.push(frame.kind);
        match frame.kind {
            Some(Kind::Done) => Err(FrameError::TooLong(1)),
            _ => Ok(()),
        }
    });
    assert_eq!(result, Err(FrameError::TooLong(1)));
    assert_eq!(seen, [Some(Kind::Drain), Some(Kind::Done)]);
}

#[test]
fn frames_that_have_no_place_on_a_control_stream_are_skipped() {
    let lanes = [
        Kind::Void,
        Kind::Lane,
        Kind::Call,
        Kind::Cancel,
        Kind::Reply,
        Kind::Fail,
        Kind::Body,
    ];
    for kind in lanes.map(Some).into_iter().chain([None]) {
        let payload = b"\xff\xff\xff";
        let frame = Frame {
            kind,
            id: 0,
            payload,
        };
        assert_eq!(Control::parse(frame), Ok(None));
    }
}

#[test]
fn no_length_inside_a_message_claims_memory_that_is_not_there() {
    let huge = [&[0xfd][..], &(1_u64 << 60).to_le_bytes()].concat();
    let before_extensions_of_call = [&b"\x03a:1"[..], &[0; 6]].concat();
    let call = [before_extensions_of_call, huge.clone()].concat();
    let reply = [&[0, 0][..], &huge].concat();
    let data = [&[1, 0, 0, 0, 0, 0, 0, 1, 0][..], &huge].concat();
    let message = [&[1, 0, 0][..], &huge].concat();
    assert!(codec::decode::<CallHeader<'_>>(&huge).is_err(), "subject");
    assert!(
        codec::decode::<CallHeader<'_>>(&call).is_err(),
        "extensions"
    );
    assert!(
        codec::decode::<ReplyHeader<'_>>(&reply).is_err(),
        "extensions"
    );
    assert!(codec::decode::<Failure>(&data).is_err(), "data");
    assert!(codec::decode::<Failure>(&message).is_err(), "message");
    let deregister = Frame {
        kind: Some(Kind::Deregister),
        id: 0,
        payload: &huge,
    };
    assert!(Control::parse(deregister).is_err(), "pattern");
}

/// The same prefixes as above with an honest length: those tests fail for the right reason.
#[test]
fn honest_lengths_at_the_same_places_are_read() {
    let call = [&b"\x03a:1"[..], &[0; 6], &[0]].concat();
    let data = [1, 0, 0, 0, 0, 0, 0, 1, 0, 1, b'x', 0];
    assert!(codec::decode::<CallHeader<'_>>(&call).is_ok());
    assert!(codec::decode::<ReplyHeader<'_>>(&[0, 0, 0]).is_ok());
    assert!(codec::decode::<Failure>(&data).is_ok());
}

/// A frame's memory is its limit: many small elements must not claim more.
#[test]
fn a_list_of_more_elements_than_fit_into_a_frame_is_refused() {
    let elements = [&[0xfc][..], &(1_u32 << 20).to_le_bytes()].concat();
    let mut reply = [&[0, 0][..], &elements].concat();
    reply.resize(4 << 20, 0);
    assert!(codec::decode::<ReplyHeader<'_>>(&reply).is_err());
}

/// A frame whose bytes it owns.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Owned {
    kind: Option<Kind>,
    number: u8,
    id: u64,
    payload: Vec<u8>,
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        Frame {
            kind: self.kind,
            id: self.id,
            payload: &self.payload,
        }
    }
}

fn empty(kind: Kind) -> Owned {
    Owned {
        kind: Some(kind),
        number: kind as u8,
        id: 0,
        payload: Vec::new(),
    }
}

/// The numbers are private to the crate.
trait FromNumber: Sized {
    fn from_number(number: u8) -> Option<Self>;
}

impl FromNumber for Kind {
    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

fn concat(frames: &[Owned]) -> Bytes {
    let mut out = BytesMut::new();
    for frame in frames {
        let start = out.len();
        frame::append(&mut out, Kind::Void, frame.id, |out| {
            out.extend_from_slice(&frame.payload);
        });
        out[start + 4] = frame.number;
    }
    out.freeze()
}

fn cut(stream: &Bytes, cuts: &[Index]) -> Vec<Bytes> {
    let mut at: Vec<usize> = cuts
        .iter()
        .map(|cut| cut.index(stream.len() + 1))
        .chain([0, stream.len()])
        .collect();
    at.sort_unstable();
    at.windows(2)
        .map(|ends| stream.slice(ends[0]..ends[1]))
        .collect()
}

/// The number of a frame of unknown kind is not known to the reader: it is left at 0xff.
fn split(chunks: &[Bytes]) -> Result<Vec<Owned>, FrameError> {
    let mut frames = Vec::new();
    let mut splitter = Splitter::default();
    for chunk in chunks {
        splitter.push(chunk.clone(), |frame| {
            frames.push(Owned {
                kind: frame.kind,
                number: frame.kind.map_or(0xff, |kind| kind as u8),
                id: frame.id,
                payload: frame.payload.to_vec(),
            });
            Ok::<_, FrameError>(())
        })?;
    }
    Ok(frames)
}

prop_compose! {
    fn frame()(
        kind in option::weighted(0.9, prop::sample::select(&Kind::ALL[..])),
        id: u64,
        payload in prop_oneof![
            4 => vec(any::<u8>(), 0..40),
            1 => vec(any::<u8>(), 0..5_000),
        ],
    ) -> Owned {
        Owned { kind, number: kind.map_or(0xff, |kind| kind as u8), id, payload }
    }
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        hello().prop_map(Control::Hello),
        hello().prop_map(|hello| Control::Welcome(Welcome {
            version: hello.version,
            instance: hello.instance,
            limits: hello.limits,
            agent: hello.agent,
        })),
        register().prop_map(Control::Register),
        ".{0,40}".prop_map(Control::Deregister),
        Just(Control::Done),
        failure().prop_map(|failure| Control::Refused(Box::new(failure))),
        Just(Control::Drain),
        Just(Control::Drained),
        Just(Control::Leaving),
        any::<Option<u64>>().prop_map(|held| Control::AskSet(AskSet { held })),
        set_page().prop_map(Control::SetPage),
        list_routes().prop_map(Control::ListRoutes),
        (any::<u64>(), vec(route(40), 0..4), any::<bool>()).prop_map(|(revision, routes, more)| {
            Control::Routes(Routes {
                revision,
                routes,
                more,
                later: Later,
            })
        }),
        Just(Control::GetStatus),
        status().prop_map(|status| Control::Status(Box::new(status))),
        ".{0,40}".prop_map(|subject| Control::Explain(Explain {
            subject,
            later: Later,
        })),
        explained(40).prop_map(|explained| Control::Explained(Box::new(explained))),
        call_rules().prop_map(Control::CallRules),
        ".{0,40}".prop_map(|pattern| Control::CheckPattern(CheckPattern {
            pattern,
            later: Later,
        })),
        checked().prop_map(|checked| Control::Checked(Box::new(checked))),
        (option::of(".{0,40}"), any::<[Option<u64>; 2]>()).prop_map(
            |(prefix, [since_ms, before])| Control::AskHistory(AskHistory {
                prefix,
                since_ms,
                before,
                later: Later,
            })
        ),
        history().prop_map(Control::History),
        (".{0,40}", any::<u64>()).prop_map(|(subject, at_ms)| Control::AskPast(AskPast {
            subject,
            at_ms,
            later: Later,
        })),
        past().prop_map(Control::Past),
        (option::of(".{0,40}"), option::of(of())).prop_map(|(prefix, after)| {
            Control::AskActivity(AskActivity {
                prefix,
                after,
                later: Later,
            })
        }),
        activity().prop_map(Control::Activity),
    ]
}

fn of() -> impl Strategy<Value = Of> {
    prop_oneof![
        Just(Of::Other),
        Just(Of::None),
        ".{0,40}".prop_map(Of::Pattern),
    ]
}

prop_compose! {
    fn figures()(
        counts: [u64; 3],
        failures in vec((failure(), any::<u64>()), 0..4),
        buckets in vec(any::<u64>(), 0..14),
        instances in vec((prop::sample::select(&State::ALL[..]), any::<u32>()), 0..4),
    ) -> Figures {
        let [refused, micros, in_flight] = counts;
        let failed = |(failure, count): (Failure, u64)| (failure.code, failure.certainty, count);
        let failures = failures.into_iter().map(failed).collect();
        Figures { refused, failures, buckets, micros, in_flight, instances }
    }
}

prop_compose! {
    fn activity()(
        [at_ms, at_us]: [u64; 2],
        patterns in vec((of(), figures()), 0..4),
        more: bool,
    ) -> Activity {
        let patterns = patterns.into_iter();
        let patterns = patterns.map(|(of, figures)| PatternActivity { of, figures }).collect();
        Activity { at_ms, at_us, patterns, more, later: Later }
    }
}

prop_compose! {
    fn call_rules()(
        flags: [bool; 3],
        source in ".{0,40}",
        contact in option::of(".{0,40}"),
        rules in vec((".{0,40}", option::of(".{0,40}"), any::<u32>()), 0..4),
    ) -> CallRules {
        let [is_new, is_whole, is_closed] = flags;
        let rule = |(whom, prefix, line)| CallRule { whom, prefix, line };
        let rules = rules.into_iter().map(rule).collect();
        CallRules { is_new, is_whole, is_closed, source, contact, rules, later: Later }
    }
}

prop_compose! {
    fn route_change()(
        number: u64,
        at_ms: u64,
        pattern in ".{0,40}",
        instance: [u8; 16],
        identity in ".{0,40}",
        place in place(),
        what in prop::sample::select(&What::ALL[..]),
    ) -> RouteChange {
        let instance = InstanceId(instance);
        RouteChange { number, at_ms, pattern, instance, identity, place, what }
    }
}

prop_compose! {
    fn history()(
        changes in vec(route_change(), 0..4),
        more: bool,
        oldest_ms: Option<u64>,
    ) -> History {
        History { changes, more, oldest_ms, later: Later }
    }
}

prop_compose! {
    fn held()(change in route_change(), has_last: bool) -> Held {
        let RouteChange { at_ms, instance, identity, place, what, .. } = change;
        let last = has_last.then_some(LastChange { at_ms, what, place });
        Held { instance, identity, last }
    }
}

prop_compose! {
    fn past()(
        subject in ".{0,40}",
        at_ms: u64,
        winner in option::of((".{0,40}", any::<u32>(), vec(held(), 0..4))),
    ) -> Past {
        let winner = winner.map(|(pattern, instances, listed)| PastWinner {
            pattern,
            instances,
            listed,
        });
        Past { subject, at_ms, winner, later: Later }
    }
}

prop_compose! {
    fn checked()(
        texts: [String; 3],
        flags: [bool; 2],
        others in vec((".{0,40}", ".{0,40}", any::<u32>()), 0..4),
    ) -> Checked {
        let [pattern, identity, reason] = texts;
        let [is_allowed, more] = flags;
        let other = |(pattern, identity, instances)| Registered { pattern, identity, instances };
        let others = others.into_iter().map(other).collect();
        Checked { pattern, identity, is_allowed, reason, others, more, later: Later }
    }
}

prop_compose! {
    fn set_page()(
        version: u64,
        records in vec(set_record(), 0..4),
        is_last: bool,
    ) -> SetPage {
        SetPage { version, records, is_last }
    }
}

prop_compose! {
    fn set_record()(
        pattern in ".{0,40}",
        instance: [u8; 16],
        incarnation: u64,
        is_http: bool,
        payload in vec(any::<u8>(), 0..40),
    ) -> SetRecord {
        SetRecord { pattern, instance: InstanceId(instance), incarnation, is_http, payload }
    }
}

prop_compose! {
    fn hello()(
        version: u16,
        oldest: u16,
        instance: [u8; 16],
        max_in_flight: u32,
        max_body: u64,
        agent in ".{0,40}",
    ) -> Hello {
        Hello {
            version,
            oldest,
            instance: InstanceId(instance),
            limits: Limits { max_in_flight, max_body },
            agent,
        }
    }
}

prop_compose! {
    fn register()(
        pattern in ".{0,40}",
        incarnation: u64,
        idempotent: bool,
        deadline_ms: Option<u32>,
        max_concurrent: Option<u32>,
        max_body: Option<u64>,
        weight: Option<u16>,
    ) -> Register {
        let policy = Policy { idempotent, deadline_ms, max_concurrent, max_body, weight };
        Register { pattern, incarnation, policy }
    }
}

prop_compose! {
    fn list_routes()(
        prefix in option::of(".{0,40}"),
        after in option::of((".{0,40}", any::<[u8; 16]>())),
        unless: Option<u64>,
    ) -> ListRoutes {
        let after = after.map(|(pattern, instance)| (pattern, InstanceId(instance)));
        ListRoutes { prefix, after, unless, later: Later }
    }
}

prop_compose! {
    fn route(longest: usize)(
        register in register(),
        pattern in vec(any::<char>(), 0..=longest / 4),
        identity in vec(any::<char>(), 0..=longest / 4),
        instance: [u8; 16],
        place in place(),
        state in prop::sample::select(&RouteState::ALL[..]),
        in_flight: u32,
    ) -> Route {
        Route {
            pattern: pattern.into_iter().collect(),
            instance: InstanceId(instance),
            identity: identity.into_iter().collect(),
            place,
            state,
            in_flight,
            policy: register.policy,
            incarnation: register.incarnation,
            later: Later,
        }
    }
}

prop_compose! {
    fn standing(longest: usize)(
        route in route(longest),
        pick in prop::sample::select(&Pick::ALL[..]),
        source in prop::sample::select(&Source::ALL[..]),
        ejected_ms: Option<u64>,
        latency_us: Option<u64>,
        address in option::of(".{0,40}"),
        age_ms: u64,
    ) -> Standing {
        Standing {
            instance: route.instance,
            identity: route.identity,
            place: route.place,
            state: route.state,
            pick,
            ejected_ms,
            in_flight: route.in_flight,
            latency_us,
            policy: route.policy,
            address,
            source,
            age_ms,
            later: Later,
        }
    }
}

prop_compose! {
    fn explained(longest: usize)(
        subject in ".{0,40}",
        winner in option::of((".{0,40}", any::<u32>(), vec(standing(longest), 1..4))),
        runners_up in vec((".{0,40}", any::<u32>()), 1..4),
        near in vec((".{0,40}", any::<u32>(), any::<u32>()), 1..4),
    ) -> Explained {
        let runner_up = |(pattern, instances)| RunnerUp { pattern, instances };
        let near_miss = |(pattern, field, instances)| NearMiss { pattern, field, instances };
        Explained {
            subject,
            winner: winner.map(|(pattern, instances, listed)| Winner {
                pattern,
                instances,
                listed,
            }),
            runners_up: runners_up.into_iter().map(runner_up).collect(),
            near: near.into_iter().map(near_miss).collect(),
            later: Later,
        }
    }
}

fn place() -> impl Strategy<Value = Place> {
    let node = other_node().prop_map(|node| Place::Node {
        node: node.instance,
        address: node.address,
    });
    prop_oneof![Just(Place::Here), node, Just(Place::Nowhere)]
}

prop_compose! {
    fn other_node()(
        instance: [u8; 16],
        address in ".{0,40}",
        is_suspect: bool,
    ) -> OtherNode {
        OtherNode { instance: InstanceId(instance), address, is_suspect }
    }
}

prop_compose! {
    fn redis_state()(
        away_ms: Option<u64>,
        behind: u32,
        unreplicated: u64,
        is_foreign: bool,
    ) -> RedisState {
        RedisState { away_ms, behind, unreplicated, is_foreign }
    }
}

prop_compose! {
    fn status()(
        texts: [String; 4],
        instance: [u8; 16],
        numbers: [u64; 6],
        redis in option::of(redis_state()),
        nodes: u32,
        suspect_nodes: u32,
        listed in vec(other_node(), 0..4),
        ends: [Option<u64>; 2],
        withheld: u64,
    ) -> Status {
        let [identity, agent, quic, http] = texts;
        let [uptime_ms, sessions, in_flight, patterns, instances, suspect] = numbers;
        Status {
            identity,
            instance: InstanceId(instance),
            agent,
            uptime_ms,
            quic,
            http,
            sessions,
            in_flight,
            patterns,
            instances,
            suspect,
            redis,
            nodes,
            suspect_nodes,
            listed,
            added: Added {
                certificate_ends: ends[0],
                revocations_end: ends[1],
                withheld,
            },
        }
    }
}

fn code() -> impl Strategy<Value = Code> {
    prop::sample::select(Code::all().collect::<Vec<_>>())
}

fn certainty() -> impl Strategy<Value = Certainty> {
    prop::sample::select(vec![
        Certainty::NotSent,
        Certainty::Refused,
        Certainty::MaybeExecuted,
        Certainty::Executed,
    ])
}

fn hop() -> impl Strategy<Value = Hop> {
    prop::sample::select(vec![Hop::Caller, Hop::Node, Hop::Instance])
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop::sample::select(vec![Encoding::Json, Encoding::Bincode])
}

prop_compose! {
    fn failure()(
        code in code(),
        certainty in certainty(),
        hop in hop(),
        message in ".{0,40}",
        instance in option::of(any::<[u8; 16]>().prop_map(InstanceId)),
        pattern in option::of(".{0,40}"),
        retry_after_ms: Option<u32>,
        data in option::of((encoding(), vec(any::<u8>(), 0..300))),
    ) -> Failure {
        Failure {
            code,
            certainty,
            hop,
            message: message.into(),
            instance,
            pattern,
            retry_after_ms,
            data: data.map(|(encoding, bytes)| FailureData { encoding, bytes }),
        }
    }
}

type OwnedExtensions = Vec<(u16, Vec<u8>)>;

fn borrow(extensions: &OwnedExtensions) -> Extensions<'_> {
    let pairs = extensions.iter().map(|(key, value)| (*key, &value[..]));
    Extensions(pairs.collect())
}

fn extensions() -> impl Strategy<Value = OwnedExtensions> {
    vec((any::<u16>(), vec(any::<u8>(), 0..300)), 0..5)
}

#[derive(Debug)]
struct Call {
    subject: String,
    remaining_us: u64,
    trace: Option<Trace>,
    hops: u8,
    encoding: Encoding,
    streamed: Option<u64>,
    extensions: OwnedExtensions,
}

impl Call {
    fn header(&self) -> CallHeader<'_> {
        CallHeader {
            subject: &self.subject,
            remaining_us: self.remaining_us,
            trace: self.trace,
            hops: self.hops,
            encoding: self.encoding,
            flags: 0,
            streamed: self.streamed,
            extensions: borrow(&self.extensions),
        }
    }
}

prop_compose! {
    fn call()(
        subject in ".{0,40}",
        remaining_us: u64,
        trace in option::of(any::<([u8; 16], [u8; 8], u8)>()),
        hops: u8,
        encoding in encoding(),
        streamed: Option<u64>,
        extensions in extensions(),
    ) -> Call {
        let trace = trace.map(|(trace_id, parent_id, flags)| Trace { trace_id, parent_id, flags });
        Call { subject, remaining_us, trace, hops, encoding, streamed, extensions }
    }
}

#[derive(Debug)]
struct Reply {
    encoding: Encoding,
    streamed: Option<u64>,
    extensions: OwnedExtensions,
}

impl Reply {
    fn header(&self) -> ReplyHeader<'_> {
        ReplyHeader {
            encoding: self.encoding,
            streamed: self.streamed,
            extensions: borrow(&self.extensions),
        }
    }
}

prop_compose! {
    fn reply()(
        encoding in encoding(),
        streamed: Option<u64>,
        extensions in extensions(),
    ) -> Reply {
        Reply { encoding, streamed, extensions }
    }
}

prop_compose! {
    /// A message of which some bytes are others.
    fn damaged()(
        message in control(),
        call in call(),
        is_call: bool,
        damage in vec((any::<Index>(), any::<u8>()), 0..4),
    ) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        if is_call {
            codec::encode(&call.header(), &mut bytes);
        } else {
            message.append(0, &mut bytes);
            bytes = bytes.split_off(PREFIX);
        }
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes.to_vec()
    }
}
