//! Stand-ins for the programs of go-nano, as they behave on the wire: a [service](GoService),
//! what asks it ([`GoCaller`]), and a [server](GoServer).
//!
//! They have the faults of the originals where a node has to live with them, so what a test
//! shows with them holds for the originals. Each ends with the test that started it.

mod caller;
mod http;
mod message;
mod server;
mod service;

pub use caller::GoCaller;
pub use http::{GoHttp, GoResponse};
pub use server::GoServer;
pub use service::{GoAnswer, GoRegistered, GoRequest, GoService};
