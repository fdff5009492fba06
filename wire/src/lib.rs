//! What travels between a node, its services and its clients.
//!
//! Bytes come in from QUIC streams and go out as calls and answers ([`lane`]) and as
//! control messages ([`control`]); nothing here knows of routing tables or handlers.
//! The layout of every byte is fixed in [`frame`], [`message`], [`inspect`], [`explain`], [`rules`],
//! [`history`] and [`activity`], the meaning of every failure in [`failure`], and the calls of a connection are owned by its
//! [`lane::Link`]. [`trace`] is how HTTP writes the trace of a call.

pub mod activity;
pub mod codec;
pub mod control;
pub mod explain;
pub mod failure;
pub mod frame;
pub mod history;
pub mod id;
pub mod inspect;
pub mod lane;
pub mod message;
mod portions;
pub mod rules;
pub mod socket;
pub mod trace;
pub mod transport;

pub use failure::{Blame, Certainty, Code, Failure, Hop};
pub use id::{CallId, InstanceId};
pub use message::{CallHeader, Encoding, Extensions, ReplyHeader, Trace};
