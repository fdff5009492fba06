//! HTTP/1 as a node serves it, and a service that has a port of its own: the same limits, the
//! same reading of messages, the same responses.
//!
//! [`accept()`] takes connections in and gives each request that may be one to an [`Answerer`],
//! which owns all that happens next. A request is a `POST` of a JSON object with a `Pattern`,
//! as go-nano programs and curl send it.

mod accept;
mod body;
mod guard;
mod headers;
mod host_port;
mod lingering;
mod members;
mod message;
mod paced;
mod registration;
mod response;
mod service_answer;

pub use accept::{Answerer, Asked, Connections, Ends, accept, serve};
pub use body::{Pieces, RequestBody};
pub use guard::Guard;
pub use headers::{
    HOPS_HEADER, TIMEOUT_HEADER, hops, reached_by, request_id, timeout, trace, trace_state,
};
pub use host_port::HostPort;
pub use message::Message;
pub use registration::Registration;
pub use response::{Answer, JSON, failed, succeeded, told_failure, wants_body};
pub use service_answer::ServiceAddress;
