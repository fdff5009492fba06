//! Whether a peer may stay: its certificates and whom the node trusts come in, the moment when it
//! has to go comes out, and how long that may take. The credentials own what is trusted.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use nano_tls::{Credentials, Distrust, Role};
use nano_wire::transport;
use quinn::Connection;
use tokio::time::{Instant, sleep_until};

/// How long a peer whose certificate has ended may take to end its calls.
const EXPIRED: Duration = Duration::from_secs(30);

/// The same for one that is not trusted any more.
const REFUSED: Duration = Duration::from_secs(2);

/// How a peer stands.
pub(super) enum Standing {
    /// It may stay until this says why not.
    Good(Pin<Box<dyn Future<Output = Distrust> + Send>>),
    /// It has to go.
    Lost {
        why: Distrust,
        /// When it is closed out at last.
        by: Instant,
        /// It has said that it makes no more calls.
        has_drained: bool,
    },
}

impl Standing {
    /// That of the peer at the other end, which was let in.
    pub(super) fn new(credentials: &Arc<Credentials>, connection: &Connection) -> Self {
        let certificates = transport::peer_certificates(connection);
        let distrust = Arc::clone(credentials).distrusts(certificates, Role::Client);
        Self::Good(Box::pin(distrust))
    }

    /// Waits until it is lost, which is told once.
    pub(super) async fn lost(&mut self) -> Distrust {
        let Self::Good(distrust) = self else {
            return std::future::pending().await;
        };
        let why = distrust.await;
        let limit = match why {
            Distrust::Expired => EXPIRED,
            Distrust::Refused(_) => REFUSED,
        };
        *self = Self::Lost {
            why: why.clone(),
            by: Instant::now() + limit,
            has_drained: false,
        };
        why
    }

    /// Notes that the peer makes no more calls.
    pub(super) fn peer_drained(&mut self) {
        if let Self::Lost { has_drained, .. } = self {
            *has_drained = true;
        }
    }

    /// Whether a peer that has to go makes no more calls.
    pub(super) fn has_let_go(&self) -> bool {
        matches!(
            self,
            Self::Lost {
                has_drained: true,
                ..
            }
        )
    }

    /// Waits until the time is over that a peer has to go.
    pub(super) fn over(&self) -> impl Future<Output = ()> + use<> {
        let by = match self {
            Self::Good(_) => None,
            Self::Lost { by, .. } => Some(*by),
        };
        async move {
            match by {
                Some(by) => sleep_until(by).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Why it has to go, as the peer is told.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Good(_) => String::new(),
            Self::Lost { why, .. } => why.to_string(),
        }
    }
}
