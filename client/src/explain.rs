//! Why calls of a subject go where they go: what a node says of it, and what this process knows
//! by itself.

use std::{sync::Arc, time::Duration};

use nano_routing::canonical;
use nano_wire::{
    Code, InstanceId,
    explain::{Explain, Explained, Pick},
    inspect::Later,
    message::{Control, Policy},
};

use crate::{
    CallError,
    session::{Session, failure},
};

/// Why calls of a subject go where they go; see [`Client::explain`](crate::Client::explain).
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The subject in its one form.
    pub subject: String,
    /// What this process knows by itself, as of before the node was asked. `None` if nothing:
    /// calls then go through the node.
    pub own: Option<Known>,
    /// What the node says, or why it does not.
    pub node: Result<Explained, CallError>,
}

/// What a process knows of a subject by itself: an answer that its node gave it for earlier calls,
/// with what became of it since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// The pattern that wins, or the subject itself where it is all that is known.
    pub pattern: String,
    /// Whether all longer patterns are known too, so that this holds for other subjects.
    pub is_whole: bool,
    /// How long ago the answer came.
    pub came: Duration,
    /// How long it has not been kept up to date, since the session was lost; zero while it is.
    pub age: Duration,
    /// How many instances are known.
    pub instances: usize,
    /// Some of them, first those that are not picked.
    pub listed: Vec<KnownInstance>,
}

/// An instance as a process knows it by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownInstance {
    /// Which process it is.
    pub instance: InstanceId,
    /// The identity that its certificate has to have.
    pub identity: Option<String>,
    /// Where it can be called without a node, if it can.
    pub address: Option<String>,
    /// Whether there is a connection with it. Without one its calls go through the node.
    pub is_connected: bool,
    /// Whether it is picked, and why not.
    pub pick: Pick,
    /// For how long it is still ejected, if it is.
    pub ejected: Option<Duration>,
    /// Calls of this process for the pattern that are not answered.
    pub in_flight: u32,
    /// Average latency of those that were, as of the last one.
    pub latency: Option<Duration>,
    /// On what terms it serves.
    pub policy: Policy,
}

pub(crate) async fn explain(
    session: &Arc<Session>,
    subject: &str,
    limit: Duration,
) -> Result<Explanation, CallError> {
    let subject = canonical(subject).map_err(|error| {
        let message = format!("the subject is none: {error}");
        failure(Code::BadRequest, message)
    })?;
    let subject = subject.into_owned();
    let calls_itself = session.options.direct;
    let own = calls_itself.then(|| session.cache.explain(&subject, session.time()));
    let own = own.flatten();
    let question = Control::Explain(Explain {
        subject: subject.clone(),
        later: Later,
    });
    let node = match session.ask(question, limit).await {
        Ok(Control::Explained(explained)) => Ok(*explained),
        Ok(_) => {
            let message = "the node answered something else";
            Err(failure(Code::BadRequest, message))
        }
        Err(error) => Err(error),
    };
    Ok(Explanation { subject, own, node })
}
