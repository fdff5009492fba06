//! Links over real QUIC, on loopback: two of them, or one and a peer that is written by hand.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

mod bodies;
mod calls;
mod ends;
mod raw;
mod side;
mod silence;
mod violations;
