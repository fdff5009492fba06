//! What a node tells of its routes and of itself to whoever asks, as it travels.
//!
//! A list of routes is read page by page. Each page is of the node's table of that moment and
//! goes on after the last route of the page before, so that what is there all the while comes
//! exactly once, and what comes and goes meanwhile at most once. Reading it again, once a
//! [revision](Routes::revision) is another, brings that up to date.

use std::{fmt, time::Duration};

use bincode::{
    Decode, Encode,
    de::Decoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

use crate::{InstanceId, frame::FRAME_LIMIT, message::Policy};

/// Longest wait of a node for a change of its table, before it says that there is none.
pub const LONGEST_WATCH: Duration = Duration::from_secs(20);

/// Asks for a page of routes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct ListRoutes {
    /// Only patterns that begin with all fields of this one.
    pub prefix: Option<String>,
    /// The last route of the page before: pattern and instance.
    pub after: Option<(String, InstanceId)>,
    /// The revision that is known. Where the table has no other, the answer waits for one, at
    /// most for [`LONGEST_WATCH`], and then has this revision and no routes.
    pub unless: Option<u64>,
    /// What later versions add.
    pub later: Later,
}

/// A page of routes, in the order of their patterns' fields, and within a pattern of instances.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Routes {
    /// Tells the table that this is of from others of the node, and from those of other nodes.
    /// Another one with whatever changes of a route, but for its calls in flight, and whether
    /// something is heard of it.
    pub revision: u64,
    /// The routes.
    pub routes: Vec<Route>,
    /// There are more after the last one.
    pub more: bool,
    /// What later versions add.
    pub later: Later,
}

/// One instance of one pattern.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Route {
    /// What it serves.
    pub pattern: String,
    /// The process.
    pub instance: InstanceId,
    /// The identity in its certificate.
    pub identity: String,
    /// Where it is connected.
    pub place: Place,
    /// Whether it can be called.
    pub state: RouteState,
    /// Calls of the pattern that the node has given it and that are not answered.
    pub in_flight: u32,
    /// On what terms it serves.
    pub policy: Policy,
    /// Counts registrations within its process.
    pub incarnation: u64,
    /// What later versions add.
    pub later: Later,
}

/// Where an instance is connected.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Place {
    /// To the node that was asked.
    Here,
    /// To another node.
    Node {
        /// Which one.
        node: InstanceId,
        /// Where that says that it is reached.
        address: String,
    },
    /// To none that is known.
    Nowhere,
}

/// Whether an instance can be called by way of the node that was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RouteState {
    /// It can.
    Ready,
    /// It is leaving, or the node is to which it is connected: it is given no more calls.
    Leaving,
    /// Its session is lost, or it has not come back since the node's start; it is forgotten
    /// unless it comes back in time.
    Lost,
    /// Its node was not heard of through Redis for a while: called only if no other can be.
    Suspect,
    /// Nothing is heard of it at the moment, or there is no way to its node.
    Unreachable,
    /// A state of a later version.
    Unrecognised,
}

/// How a node does.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Status {
    /// The identity in its certificate.
    pub identity: String,
    /// This start of it.
    pub instance: InstanceId,
    /// Its program and version.
    pub agent: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Where QUIC listens.
    pub quic: String,
    /// Where HTTP listens.
    pub http: String,
    /// Sessions that it has, that of who asks and those of other nodes included.
    pub sessions: u64,
    /// Calls that it has passed on and that are not answered.
    pub in_flight: u64,
    /// Patterns that it knows.
    pub patterns: u64,
    /// Instances that it knows, here and elsewhere.
    pub instances: u64,
    /// Those of them that are lost or suspect.
    pub suspect: u64,
    /// How it stands to Redis, if it has one.
    pub redis: Option<RedisState>,
    /// How many other nodes it knows.
    pub nodes: u32,
    /// How many of them are suspect.
    pub suspect_nodes: u32,
    /// As many of them as there is room for, the suspect ones first.
    pub listed: Vec<OtherNode>,
    /// What versions since the first one have added.
    pub added: Added,
}

/// Another node, as the one that was asked sees it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct OtherNode {
    /// This start of it.
    pub instance: InstanceId,
    /// Where it says that it is reached.
    pub address: String,
    /// It was not heard of through Redis for a while.
    pub is_suspect: bool,
}

/// How a node stands to Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct RedisState {
    /// Milliseconds since it was last read, be it by an earlier start of the node, if it cannot
    /// be.
    pub away_ms: Option<u64>,
    /// Nodes of which Redis has newer routes than this one.
    pub behind: u32,
    /// Changes of this node's own that are not known to be in Redis.
    pub unreplicated: u64,
    /// It belongs to a cluster of another authority: nothing is read or written.
    pub is_foreign: bool,
}

/// What was added to a node's status after its first version: values under numbers that are never
/// reused. What a reader does not know it reads over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Added {
    /// When the node's certificate ends, in seconds since 1970.
    pub certificate_ends: Option<u64>,
    /// When the node lets nobody in any more unless it has a newer revocation list, likewise.
    pub revocations_end: Option<u64>,
    /// Routes of other nodes that are not shown, since the rules do not let their identity register
    /// them.
    pub withheld: u64,
}

/// What is left for the routes of a page, or the nodes of a status, of a frame and of the
/// memory that its reader may claim, which is the same.
#[derive(Debug)]
pub struct Room(usize);

/// Room for what later versions add to a message: nothing is written, and what comes is read
/// over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Later;

impl Room {
    /// What one message has: enough for more than a hundred routes of usual length, and for
    /// one of any.
    #[must_use]
    pub const fn new() -> Self {
        Self(FRAME_LIMIT - 4 * 1024)
    }

    /// Takes some of it, unless less is left.
    pub fn take(&mut self, weight: usize) -> bool {
        let rest = self.0.checked_sub(weight);
        rest.map(|rest| self.0 = rest).is_some()
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// More routes than this do not fit into a page, however short they are.
    pub const MOST: usize = Room::new().0 / size_of::<Route>();

    /// Adds a route, unless there is no room for it.
    pub fn add(&mut self, route: Route, room: &mut Room) -> bool {
        let has_room = room.take(route.weight());
        if has_room {
            self.routes.push(route);
        }
        has_room
    }
}

impl Route {
    /// What it takes of a frame and of a reader's memory, at most.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.pattern.len() + self.identity.len() + self.place.weight()
    }
}

impl Place {
    /// At another node; of an address that is none, since no name is so long, the beginning.
    #[must_use]
    pub fn node(node: InstanceId, address: &str) -> Self {
        let address = shown(address);
        Self::Node { node, address }
    }

    /// What it takes of a frame and of a reader's memory beside its own size, at most.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Node { address, .. } => address.len(),
            Self::Here | Self::Nowhere => 0,
        }
    }
}

impl OtherNode {
    /// With an address as in [`Place::node`].
    #[must_use]
    pub fn new(instance: InstanceId, address: &str, is_suspect: bool) -> Self {
        Self {
            instance,
            address: shown(address),
            is_suspect,
        }
    }
}

/// Longest address that is told, in bytes: a name has 253, and a port follows it.
const ADDRESS_LIMIT: usize = 260;

fn shown(address: &str) -> String {
    address[..address.floor_char_boundary(ADDRESS_LIMIT)].to_owned()
}

impl Status {
    /// Lists another node, unless there is no room for it.
    pub fn add(&mut self, node: OtherNode, room: &mut Room) -> bool {
        let has_room = room.take(size_of::<OtherNode>() + node.address.len());
        if has_room {
            self.listed.push(node);
        }
        has_room
    }

    /// How long it has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        Duration::from_millis(self.uptime_ms)
    }
}

impl RedisState {
    /// Whether everything that is in Redis is known to the node, and the other way round.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        *self == Self::default()
    }

    /// For how long it is known that it cannot be read, if it cannot be.
    #[must_use]
    pub fn away(&self) -> Option<Duration> {
        self.away_ms.map(Duration::from_millis)
    }
}

impl RouteState {
    /// Every state that this version knows, by its number.
    pub const ALL: [Self; 5] = [
        Self::Ready,
        Self::Leaving,
        Self::Lost,
        Self::Suspect,
        Self::Unreachable,
    ];

    /// Its name, as programs and people are shown it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Leaving => "leaving",
            Self::Lost => "lost",
            Self::Suspect => "suspect",
            Self::Unreachable => "unreachable",
            Self::Unrecognised => "unrecognised",
        }
    }
}

impl fmt::Display for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

const UNRECOGNISED: u8 = u8::MAX;

impl Encode for RouteState {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let number = Self::ALL.iter().position(|state| state == self);
        number
            .map_or(UNRECOGNISED, |number| number as u8)
            .encode(encoder)
    }
}

impl<Context> Decode<Context> for RouteState {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let number = usize::from(u8::decode(decoder)?);
        let known = Self::ALL.get(number).copied();
        Ok(known.unwrap_or(Self::Unrecognised))
    }
}

bincode::impl_borrow_decode!(RouteState);

/// Values under numbers, as [`Extensions`](crate::Extensions) are written.
type Numbered = Vec<(u16, Vec<u8>)>;

impl Added {
    const CERTIFICATE_ENDS: u16 = 1;
    const REVOCATIONS_END: u16 = 2;
    const WITHHELD: u16 = 3;
}

impl Encode for Added {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let withheld = Some(self.withheld).filter(|withheld| *withheld > 0);
        let values = [
            (Self::CERTIFICATE_ENDS, self.certificate_ends),
            (Self::REVOCATIONS_END, self.revocations_end),
            (Self::WITHHELD, withheld),
        ];
        let values = values.into_iter();
        let values =
            values.filter_map(|(number, value)| Some((number, value?.to_le_bytes().into())));
        values.collect::<Numbered>().encode(encoder)
    }
}

impl<Context> Decode<Context> for Added {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let values = Numbered::decode(decoder)?;
        let value = |number| {
            let (_, value) = values.iter().find(|(known, _)| *known == number)?;
            Some(u64::from_le_bytes(value[..].try_into().ok()?))
        };
        Ok(Self {
            certificate_ends: value(Self::CERTIFICATE_ENDS),
            revocations_end: value(Self::REVOCATIONS_END),
            withheld: value(Self::WITHHELD).unwrap_or_default(),
        })
    }
}

bincode::impl_borrow_decode!(Added);

impl Encode for Later {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        Numbered::new().encode(encoder)
    }
}

impl<Context> Decode<Context> for Later {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Numbered::decode(decoder).map(|_| Self)
    }
}

bincode::impl_borrow_decode!(Later);
