//! What can go wrong: with a call, and with reaching a node.

use std::path::PathBuf;

pub use nano_wire::Failure as CallError;
use nano_wire::{Certainty, Code, Hop, failure::Retry};

/// No session with a node came to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// No certificates to connect with.
    #[error(
        "no certificates to connect with in {}: {reason}. A node that runs on this machine as the \
         same user makes them there when it starts (another state folder is named with NANO_STATE \
         or --state); elsewhere give the cluster's secret with NANO_CLUSTER_SECRET, or name a folder \
         with ca.pem, cert.pem and key.pem with NANO_TLS or --tls",
        folder.display()
    )]
    Certificates {
        /// Where they were looked for.
        folder: PathBuf,
        /// What was wrong there.
        reason: String,
    },
    /// No certificates can be issued with the cluster's secret.
    #[error("no certificates to connect with from the cluster's secret: {reason}")]
    ClusterSecret {
        /// What was wrong with it.
        reason: String,
    },
    /// None of several nodes, or of one node's several addresses, would do.
    #[error("none of {} nodes would do: {}", .0.len(), listed(.0))]
    Nodes(Vec<ConnectError>),
    /// The node's address cannot be resolved.
    #[error("the node's address {address:?} is no host and port that can be resolved: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// What the resolver says.
        reason: String,
    },
    /// The node did not answer, or let nobody in.
    #[error("no session with the node at {address}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// How the last attempt ended.
        reason: String,
    },
    /// One side does not accept the other's certificate.
    #[error(
        "the node at {address} and this process do not trust each other: {reason}. Both need \
         certificates of one authority: give both the same NANO_CLUSTER_SECRET, or this process a \
         folder (NANO_TLS or --tls) that the node's authority issued"
    )]
    Untrusted {
        /// Where the node is.
        address: String,
        /// What is wrong with which certificate.
        reason: String,
    },
    /// The node refused a registration.
    #[error("the node at {address} refused to register {pattern:?}: {failure}")]
    Registration {
        /// Where the node is.
        address: String,
        /// The pattern.
        pattern: String,
        /// Its answer.
        failure: Box<CallError>,
    },
    /// A pattern of the service is none.
    #[error("{0:?} is no pattern: {1}")]
    Pattern(String, nano_routing::PatternError),
    /// The service cannot listen where its HTTP port was to be.
    #[error("cannot listen for HTTP on {address:?}: {reason}")]
    Http {
        /// As it was given.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The service was started outside a tokio runtime, where no handler can run.
    #[error("a service is started within a tokio runtime, on which its handlers run")]
    NoRuntime,
    /// The client or service was stopped.
    #[error("it was stopped")]
    Stopped,
}

/// Causes that an error's text names.
const LISTED: usize = 16;

/// Characters of one cause in an error's text.
const LONGEST_CAUSE: usize = 200;

impl ConnectError {
    /// Of what was tried, when nothing would do.
    pub(crate) fn of(mut causes: Vec<Self>) -> Option<Self> {
        match causes.len() {
            0 | 1 => causes.pop(),
            _ => Some(Self::Nodes(causes)),
        }
    }

    /// Why each node that was tried would not do; itself where that was one.
    #[must_use]
    pub fn causes(&self) -> &[Self] {
        match self {
            Self::Nodes(causes) => causes,
            one => std::slice::from_ref(one),
        }
    }

    /// Whether another attempt may end otherwise.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Address { .. } => true,
            Self::Registration { failure, .. } => failure.retry() != Retry::No,
            Self::Nodes(causes) => causes.iter().any(Self::is_passing),
            _ => false,
        }
    }

    /// As the failure of a call that waited for the session.
    pub(crate) fn to_call_error(&self) -> CallError {
        CallError::new(
            Code::ConnectionLost,
            Certainty::NotSent,
            Hop::Caller,
            self.to_string(),
        )
    }
}

fn listed(causes: &[ConnectError]) -> String {
    let shown = causes.iter().take(LISTED);
    let mut shown: Vec<String> = shown
        .map(|cause| cause.to_string().chars().take(LONGEST_CAUSE).collect())
        .collect();
    if causes.len() > LISTED {
        shown.push(format!("and {} more", causes.len() - LISTED));
    }
    shown.join("; ")
}
