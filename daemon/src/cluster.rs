//! Any number of nodes keep the same routes through Redis.
//!
//! Each start of a node, a [`Boot`], owns one set of routes that only it changes; every
//! node holds a copy of every set. A [`Replica`] is one node's part in that: in come its
//! own changes, what Redis and other nodes answer, and the time; out go commands for Redis,
//! dials, and what has changed. It does no I/O, reads no clock, and owns all of the state:
//!
//! | part | what it knows |
//! | --- | --- |
//! | [`View`] | every set, and which record shows where several hold the same route |
//! | `own` | how much of the own set is in Redis, and the write that is in flight |
//! | `peers` | which boots there are, whether they live, and which were dropped |
//! | `pass` | what was read of other sets and does not show yet |
//! | `adoption` | HTTP routes whose owner is gone |
//!
//! [`Redis`] takes its commands to the server, sealed by `seal` in the bytes of `layout`.

mod adoption;
mod backoff;
mod beat;
mod command;
mod digest;
mod effects;
mod head;
mod layout;
mod listing;
mod own;
mod pass;
mod peer;
mod peers;
mod publish;
mod record;
mod redis;
mod replica;
mod replies;
mod rules;
mod seal;
mod settings;
mod view;

pub use command::{Change, Command, Delta, Entry, Listing, Page, Reply, Stored, Ticket, Trouble};
pub use digest::{Digest, Sum};
pub use effects::{Alarm, Answer, Copy, Dial, DialResult, Effects, Output, Standing, StoreChange};
pub use head::{Fingerprint, Head};
pub use record::{Boot, Key, Kind, Record};
pub use redis::{
    GoNanoKeys, Kept, Look, Mirrored, Redis, RedisAccess, RedisAccessError, RedisFiles,
    RedisOptions, RedisTls, RedisUrl, RedisUrlError, may_be_kept,
};
pub use replica::{Input, Replica};
pub use rules::Rules;
pub use settings::{Identity, Restored, RestoredSet, Settings};
pub use view::{Set, Shown, View};

#[cfg(test)]
mod tests;
