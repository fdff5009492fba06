//! Who answers messages.

#[cfg(feature = "http")]
use std::net::SocketAddr;
use std::{future::Future, sync::Arc};

use nano_routing::{Pattern, PatternError, Tree};
use nano_wire::{InstanceId, message::Policy};
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime;

#[cfg(feature = "http")]
use crate::http::Port;
use crate::{
    Body, ConnectError, Context, HandlerError, Options,
    handler::{Handle, Raw, Typed},
    peer::{Handlers, Served},
    session::Session,
};

/// Collects the patterns of a service and their handlers.
#[derive(Default)]
#[must_use]
pub struct ServiceBuilder {
    routes: Vec<Route>,
    policy: Policy,
    #[cfg(feature = "http")]
    http: Option<String>,
}

struct Route {
    pattern: String,
    policy: Policy,
    handler: Arc<dyn Handle>,
}

/// A running service: one instance of each of its patterns. Dropping it disconnects at
/// once; [`drain`](Self::drain) ends the calls in flight first.
pub struct Service {
    session: Arc<Session>,
    #[cfg(feature = "http")]
    http: Option<SocketAddr>,
}

impl Service {
    /// A service without patterns yet.
    pub fn builder() -> ServiceBuilder {
        ServiceBuilder::default()
    }

    /// Which instance this is.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.session.instance
    }

    /// Where its HTTP port is, if it has [one](ServiceBuilder::http).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Serves until SIGINT or SIGTERM, then [drains](Self::drain). A session that is lost
    /// comes back by itself.
    ///
    /// # Errors
    ///
    /// If the system does not tell of signals.
    pub async fn run(self) -> std::io::Result<()> {
        interrupted().await?;
        self.drain().await;
        Ok(())
    }

    /// Leaves without costing a call: the node gives it no new ones, those in flight are
    /// answered, then it disconnects.
    pub async fn drain(self) {
        self.session.leave().await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.session.stop();
    }
}

impl ServiceBuilder {
    /// Declares a policy for the patterns that are added after it.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Answers a pattern with a function of values. It takes JSON and bincode, and
    /// answers in the encoding of the request.
    pub fn on<F, T, Fut, R>(self, pattern: &str, handler: F) -> Self
    where
        F: Fn(Context, T) -> Fut + Send + Sync + 'static,
        T: DeserializeOwned + 'static,
        Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
        R: Serialize + 'static,
    {
        self.add(pattern, Arc::new(Typed::new(handler)))
    }

    /// Answers a pattern with a function of bodies.
    pub fn on_raw<F, Fut>(self, pattern: &str, handler: F) -> Self
    where
        F: Fn(Context, Body) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Body, HandlerError>> + Send + 'static,
    {
        self.add(pattern, Arc::new(Raw(handler)))
    }

    /// Also listens on an HTTP port of its own, and answers there as a go-nano service does:
    /// `POST` of a JSON object with a `Pattern`, to any path. go-nano callers that know it
    /// call it without a node.
    ///
    /// The address is a host and a port; port 0 is any. It needs the feature `http`. HTTP has
    /// neither encryption nor callers' identities: whoever reaches the port may call.
    #[cfg(feature = "http")]
    pub fn http(mut self, address: impl ToString) -> Self {
        self.http = Some(address.to_string());
        self
    }

    /// Connects to a node and registers every pattern. Handlers run on the runtime that
    /// this is called on.
    ///
    /// # Errors
    ///
    /// If a pattern is none, the HTTP port is taken, there are no certificates to connect with, no session comes
    /// to be within [`Options::connect_timeout`], or the node refuses a registration.
    pub async fn start(self, options: Options) -> Result<Service, ConnectError> {
        let runtime = runtime::Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        let mut by_pattern = Tree::new();
        let mut patterns = Vec::new();
        for route in self.routes {
            let pattern = Pattern::parse(&route.pattern)
                .map_err(|error: PatternError| ConnectError::Pattern(route.pattern, error))?;
            let served = Served::new(pattern.clone(), route.handler, route.policy.clone());
            patterns.push((pattern.clone(), route.policy));
            by_pattern.insert(pattern, Arc::new(served));
        }
        let io = options.io()?;
        #[cfg(feature = "http")]
        let port = match self.http {
            Some(address) => Some(Port::bind(address, &io).await?),
            None => None,
        };
        #[cfg(feature = "http")]
        let http_port = port.as_ref().map(Port::number);
        #[cfg(not(feature = "http"))]
        let http_port = None;
        let handlers = Handlers::new(by_pattern, runtime, &io);
        let session = Session::start(options, io, patterns, Some(handlers), http_port).await?;
        Ok(Service {
            #[cfg(feature = "http")]
            http: port.map(|port| port.serve(&session)),
            session,
        })
    }

    fn add(mut self, pattern: &str, handler: Arc<dyn Handle>) -> Self {
        self.routes.push(Route {
            pattern: pattern.to_owned(),
            policy: self.policy.clone(),
            handler,
        });
        self
    }
}

#[cfg(unix)]
async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn interrupted() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
