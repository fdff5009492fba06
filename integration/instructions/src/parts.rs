//! The parts that are counted, each of them round by round.
//!
//! `switch` is the composition of what a node's switch does with the others on one call and its
//! answer; the switch itself needs live connections, whose work would be counted too. So it lacks
//! rules, quotas, meters and the slots of links.
//!
//! What each of them does in a round is a function that is never inlined, so that it is the same
//! code whoever calls it.

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use fastrand::Rng;
use nano_routing::{
    Candidate, Figures, HealthSettings, Instances, Keyed, Outcome, Pattern, Reach, Tree, canonical,
    pick,
};
use nano_wire::{
    CallHeader, Encoding, Extensions, ReplyHeader, codec,
    frame::{self, Frame, FrameError, Kind, Splitter},
    message::HOPS,
};

use crate::Result;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The longest match of a subject, among [`PATTERNS`].
    Lookup,
    /// The pick of one of [`INSTANCES`].
    Pick,
    /// A call's frame, written.
    Encode,
    /// A call's frame, cut out of a stream's chunk and read.
    Decode,
    /// A call from frame to frame, and its answer.
    Switch,
}

/// Patterns of the table.
const PATTERNS: usize = 100_000;

/// Instances of a pattern.
const INSTANCES: usize = 10;

/// Subjects that take turns.
const SUBJECTS: usize = 1_000;

/// Bytes of a body.
const BODY: [u8; 100] = [b'x'; 100];

/// Between a call and the next, as at 500,000 a second.
const PACE: Duration = Duration::from_micros(2);

/// From a call to its answer.
const LATENCY: Duration = Duration::from_millis(1);

type Set = Instances<Arc<Instance>>;

struct Instance {
    id: usize,
    figures: Figures,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [
        Self::Lookup,
        Self::Pick,
        Self::Encode,
        Self::Decode,
        Self::Switch,
    ];

    /// As command lines and files name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Pick => "pick",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::Switch => "switch",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        let part = Self::ALL.into_iter().find(|part| part.name() == name);
        part.ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("there is no part {name:?}, but {all}").into()
        })
    }

    /// Rounds that make one of them a figure; a multiple of [`SUBJECTS`].
    pub(crate) fn rounds(self) -> u64 {
        10 * SUBJECTS as u64
    }

    /// Does it so often.
    pub(crate) fn run(self, rounds: u64) {
        match self {
            Self::Lookup => look_up(rounds),
            Self::Pick => pick_one(rounds),
            Self::Encode => encode(rounds),
            Self::Decode => decode(rounds),
            Self::Switch => switch(rounds),
        }
    }
}

fn look_up(rounds: u64) {
    let (table, subjects) = (table(), subjects());
    for (_, subject) in (0..rounds).zip(subjects.iter().cycle()) {
        black_box(longest_match(&table, black_box(subject)));
    }
}

fn pick_one(rounds: u64) {
    let (set, mut random) = (instances(), Rng::with_seed(1));
    let mut now = Duration::from_secs(1);
    for _ in 0..rounds {
        now += PACE;
        black_box(one_of(&set, now, random.u64(..)));
    }
}

fn encode(rounds: u64) {
    let (subjects, mut out) = (subjects(), BytesMut::with_capacity(1024));
    for (id, subject) in (0..rounds).zip(subjects.iter().cycle()) {
        out.clear();
        append_call(&mut out, id, black_box(&header(subject)), &BODY);
        black_box(&out);
    }
}

fn decode(rounds: u64) {
    let (chunks, mut splitter) = (calls(), Splitter::default());
    for (_, chunk) in (0..rounds).zip(chunks.iter().cycle()) {
        each_frame(&mut splitter, chunk, |frame| {
            black_box(read_call(frame.payload));
        });
    }
}

fn switch(rounds: u64) {
    let (table, chunks, answer) = (table(), calls(), answer());
    let mut random = Rng::with_seed(1);
    let (mut from_caller, mut from_instance) = (Splitter::default(), Splitter::default());
    let mut out = BytesMut::with_capacity(1024);
    let mut now = Duration::from_secs(1);
    for (_, chunk) in (0..rounds).zip(chunks.iter().cycle()) {
        now += PACE;
        let mut given = None;
        each_frame(&mut from_caller, chunk, |frame| {
            out.clear();
            given = Some(forward(&table, frame, now, random.u64(..), &mut out));
            black_box(&out);
        });
        let given = given.expect("a chunk has a call");
        each_frame(&mut from_instance, &answer, |frame| {
            out.clear();
            pass_back(given, frame, now + LATENCY, &mut out);
            black_box(&out);
        });
    }
}

/// What a switch does with a call; who is given it.
fn forward<'t>(
    table: &'t Tree<Set>,
    frame: Frame<'_>,
    now: Duration,
    random: u64,
    out: &mut BytesMut,
) -> &'t Instance {
    let (header, body) = read_call(frame.payload);
    let subject = canonical(header.subject).expect("subjects are in their one form");
    let set = longest_match(table, &subject);
    let member = one_of(set, now, random);
    assert!(member.figures.begin(member.limit(), now), "none is full");
    let header = CallHeader {
        subject: &subject,
        hops: header.hops - 1,
        ..header
    };
    append_call(out, frame.id, &header, body);
    member
}

/// What it does with the answer.
fn pass_back(given: &Instance, frame: Frame<'_>, now: Duration, out: &mut BytesMut) {
    let read = codec::decode::<ReplyHeader<'_>>(frame.payload);
    let (header, body) = read.expect("it was encoded");
    let settings = &HealthSettings::DEFAULT;
    let figures = &given.figures;
    figures.end(Outcome::Answered, LATENCY, now, settings, || true);
    frame::append(out, Kind::Reply, frame.id, |out| {
        codec::encode(&header, out);
        out.put_slice(body);
    });
}

#[inline(never)]
fn longest_match<'t>(table: &'t Tree<Set>, subject: &str) -> &'t Set {
    let (_, set) = table.longest_match(subject).expect("each is matched");
    set
}

#[inline(never)]
fn one_of(set: &Set, now: Duration, random: u64) -> &Instance {
    pick(set.candidates(), now, random, |_| false).expect("all can be reached")
}

#[inline(never)]
fn read_call(payload: &[u8]) -> (CallHeader<'_>, &[u8]) {
    codec::decode(payload).expect("it was encoded")
}

#[inline(never)]
fn append_call(out: &mut BytesMut, id: u64, header: &CallHeader<'_>, body: &[u8]) {
    frame::append(out, Kind::Call, id, |out| {
        codec::encode(header, out);
        out.put_slice(body);
    });
}

fn each_frame(splitter: &mut Splitter, chunk: &Bytes, mut each: impl FnMut(Frame<'_>)) {
    let pushed = splitter.push(black_box(chunk).clone(), |frame| {
        each(frame);
        Ok::<(), FrameError>(())
    });
    pushed.expect("chunks hold whole frames");
}

/// Calls, a chunk each.
fn calls() -> Vec<Bytes> {
    let chunk = |(id, subject): (u64, &String)| {
        let mut out = BytesMut::new();
        append_call(&mut out, id, &header(subject), &BODY);
        out.freeze()
    };
    (0..).zip(&subjects()).map(chunk).collect()
}

/// An answer, as a chunk.
fn answer() -> Bytes {
    let mut out = BytesMut::new();
    frame::append(&mut out, Kind::Reply, 1, |out| {
        codec::encode(&ReplyHeader::default(), out);
        out.put_slice(&BODY);
    });
    out.freeze()
}

fn header(subject: &str) -> CallHeader<'_> {
    CallHeader {
        subject,
        remaining_us: 30_000_000,
        trace: None,
        hops: HOPS,
        encoding: Encoding::Bincode,
        flags: 0,
        streamed: None,
        extensions: Extensions::default(),
    }
}

/// Numbers under one parent, which is a pattern too; served by the same instances.
fn table() -> Tree<Set> {
    let set = instances();
    let mut table = Tree::new();
    let numbers = (0..PATTERNS - 1).map(pattern);
    for text in numbers.chain(["role:user".to_owned()]) {
        let pattern = Pattern::parse(&text).expect("these are patterns");
        table.insert(pattern, set.clone());
    }
    table
}

/// Subjects that a number's pattern matches, and its parent's.
fn subjects() -> Vec<String> {
    let mut random = Rng::with_seed(3);
    let number = |_| random.usize(..PATTERNS - 1);
    let numbers = (0..SUBJECTS).map(number);
    numbers
        .map(|number| format!("{},cmd:get", pattern(number)))
        .collect()
}

fn pattern(number: usize) -> String {
    format!("role:user,id:{number:07}")
}

/// Each of them has answered within the last second.
fn instances() -> Set {
    let mut random = Rng::with_seed(2);
    (0..INSTANCES).fold(Instances::new(), |set, id| {
        let figures = Figures::new();
        let answered = Duration::from_millis(random.u64(..1_000));
        let latency = Duration::from_micros(random.u64(500..3_000));
        assert!(figures.begin(None, answered), "it has no limit");
        let settings = &HealthSettings::DEFAULT;
        figures.end(Outcome::Answered, latency, answered, settings, || true);
        set.with(Arc::new(Instance { id, figures }))
    })
}

impl Keyed for Instance {
    type Id = usize;

    fn id(&self) -> usize {
        self.id
    }
}

impl Candidate for Instance {
    fn reach(&self) -> Reach {
        Reach::Connected
    }

    fn figures(&self) -> &Figures {
        &self.figures
    }

    fn limit(&self) -> Option<u32> {
        Some(1_000)
    }
}
