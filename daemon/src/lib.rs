//! `nanod`, a routing daemon for small services.
//!
//! One direction, one entry: [`listen`] takes calls in, the [`switch`] finds the instance,
//! and the instance's link takes them out; answers come back by the slot that was left on
//! the way in. [`session`] is a connection's control plane, [`registry`] owns the routes,
//! [`table`] is what the switch sees of them, and [`node`] starts and stops it all.
//! [`access`] says who may do what.
//! [`cluster`] keeps the routes of several nodes the same through Redis, [`replication`]
//! starts it, and [`neighbours`] are the ways to the other nodes, [`upstream`] those to HTTP
//! services. [`listing`], [`explain`], [`check`], [`activity`] and [`status`] tell whoever asks of the
//! routes, the calls and the node, and [`observe`] of single calls; [`admin`] does so over HTTP, with what [`meters`]
//! count, and [`json`] is the form in which programs read it. [`lag`] says when a thread has too much
//! to do. [`supervisor`] tells systemd how the node does, and [`reload`] changes what can be changed
//! while all goes on.

pub mod access;
pub mod activity;
pub mod admin;
mod census;
pub mod check;
pub mod cli;
pub mod cluster;
mod command;
pub mod config;
pub mod descriptors;
pub mod explain;
pub mod go_nano;
pub mod hardening;
pub mod history;
pub mod json;
pub mod lag;
pub mod listen;
pub mod listing;
pub mod log;
pub mod meters;
mod moment;
pub mod neighbours;
pub mod node;
pub mod observe;
pub mod quota;
pub mod reach;
pub mod registrar;
pub mod registry;
pub mod reload;
pub mod replication;
pub mod session;
pub mod sessions;
pub mod set_copy;
pub mod state;
pub mod status;
pub mod strangers;
pub mod supervisor;
pub mod switch;
pub mod table;
pub mod trust;
pub mod upstream;
pub mod watch;

pub use command::run;
