//! A cluster in one thread: replicas, a model of Redis, instances that come, move and go,
//! and everything that can fail. One random number decides a whole round.

mod connection;
mod cost;
mod disk;
mod event;
mod faults;
mod leases;
pub(super) mod model;
mod node;
mod rounds;
mod services;
mod truth;
mod world;
