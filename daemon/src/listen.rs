//! Where calls come in: over QUIC from the library, over HTTP from anyone else. Both end
//! in the [switch](crate::switch).

pub mod http;
pub mod quic;
mod sockets;

pub use http::{HttpAnswer, Routed};
pub use sockets::{BindError, Listeners, bind, bind_admin};
