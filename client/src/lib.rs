//! The library of nanod's users: [`Client`] sends messages to subjects, [`Service`]
//! answers them.
//!
//! ```no_run
//! use nano_client::{Context, HandlerError, Options, Service};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! #[serde(rename_all = "PascalCase")]
//! struct Sum { left: f64, right: f64 }
//!
//! #[derive(Serialize)]
//! #[serde(rename_all = "PascalCase")]
//! struct Total { result: f64 }
//!
//! async fn sum(_: Context, ask: Sum) -> Result<Total, HandlerError> {
//!     Ok(Total { result: ask.left + ask.right })
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let service = Service::builder().on("role:math,cmd:sum", sum);
//!     service.start(Options::from_env()?).await?.run().await?;
//!     Ok(())
//! }
//! ```
//!
//! All network work of a process runs on one thread of the library's own, unless
//! [`Options::io_thread`] says otherwise; handlers run on the runtime on which their service
//! was started. Every failed call is a [`CallError`],
//! which says whether its handler may have run.

mod activity;
pub mod attempts;
mod body;
mod cache;
mod client;
mod dispatch;
mod error;
mod explain;
mod handler;
mod history;
#[cfg(feature = "http")]
mod http;
mod io;
mod options;
mod origin;
mod peer;
mod routes;
mod service;
mod session;
#[cfg_attr(feature = "otel", path = "spans/otel.rs")]
#[cfg_attr(not(feature = "otel"), path = "spans/none.rs")]
mod spans;

pub use body::{Body, BodyError};
pub use client::Client;
pub use error::{CallError, ConnectError};
pub use explain::{Explanation, Known, KnownInstance};
pub use handler::{Context, HandlerError};
pub use history::ChangeList;
pub use nano_routing::BudgetSettings as RetryLimits;
pub use nano_tls::{Secret, SecretSource};
pub use nano_wire::{
    Certainty, Code, Encoding, Hop, InstanceId, Trace,
    activity::{Activity, Figures, Of, PatternActivity, State},
    explain::{Explained, NearMiss, Pick, RunnerUp, Source, Standing, Winner},
    history::{Held, LastChange, Past, PastWinner, RouteChange, What},
    inspect::{OtherNode, Place, RedisState, Route, RouteState, Status},
    message::Policy,
    rules::{Checked, Registered},
    trace::TraceError,
};
pub use options::{Options, OptionsError, default_state};
pub use routes::RouteList;
pub use service::{Service, ServiceBuilder};
pub use session::direct::identity_of;
