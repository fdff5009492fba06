//! Who sends messages.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use nano_wire::{
    Code, Trace, activity::Activity, history::Past, inspect::Status, message::HOPS, rules::Checked,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{
    Body, CallError, ConnectError, Explanation, Options,
    activity::activity,
    explain::explain,
    history::{ChangeList, past},
    options::TIMEOUT,
    origin::Origin,
    routes::{RouteList, check, status},
    session::{Session, failure},
    spans,
};

/// Sends messages to subjects. Cheap to clone; the session ends with the last clone.
///
/// A handler does better to call through its [`Context`](crate::Context): its calls then
/// keep its caller's deadline, and a node that stops lets them end.
#[derive(Clone)]
pub struct Client {
    owner: Arc<Owner>,
    timeout: Option<Duration>,
    trace: Option<Trace>,
}

/// Ends the session when dropped.
struct Owner {
    session: Arc<Session>,
    /// In flight; closed once the client is to leave.
    calls: TaskTracker,
}

impl Client {
    /// Connects to a node.
    ///
    /// # Errors
    ///
    /// If there are no certificates to connect with, or no session comes to be within
    /// [`Options::connect_timeout`].
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        let timeout = options.timeout;
        let io = options.io()?;
        let session = Session::start(options, io, Vec::new(), None, None).await?;
        Ok(Self {
            owner: Arc::new(Owner {
                session,
                calls: TaskTracker::new(),
            }),
            timeout,
            trace: None,
        })
    }

    /// The same client with another deadline for its calls.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self.clone()
        }
    }

    /// The same client, whose calls are parts of a trace: made within the span that it names as the
    /// parent. Without it they are parts of what `opentelemetry` says is current, if the library is
    /// built with the feature `otel`, and of no trace otherwise.
    #[must_use]
    pub fn with_trace(&self, trace: Trace) -> Self {
        Self {
            trace: Some(trace),
            ..self.clone()
        }
    }

    /// Sends a message to a subject as JSON, and reads the answer. Dropping the future
    /// gives the call up and stops its handler.
    ///
    /// # Errors
    ///
    /// If the call fails; [`CallError::certainty`] tells whether its handler may have run.
    pub async fn act<T, R>(&self, subject: &str, message: &T) -> Result<R, CallError>
    where
        T: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let _in_flight = self.begin()?;
        self.session()
            .act(subject, message, self.timeout, self.origin())
            .await
    }

    /// As [`act`](Self::act), with bodies that are encoded already or stay so.
    ///
    /// # Errors
    ///
    /// As [`act`](Self::act).
    pub async fn act_raw(&self, subject: &str, body: Body) -> Result<Body, CallError> {
        let _in_flight = self.begin()?;
        self.session()
            .act_raw(subject, body, self.timeout, self.origin())
            .await
    }

    /// The routes that the node knows which this client is connected to, of every node that
    /// shares them: all, or those whose patterns begin with all fields of `prefix`. The
    /// deadline of calls holds for each page.
    ///
    /// ```no_run
    /// # async fn list(client: nano_client::Client) -> Result<(), nano_client::CallError> {
    /// let mut routes = client.routes(Some("role:math"))?;
    /// while let Some(page) = routes.next_page().await? {
    ///     for route in page {
    ///         println!("{} {} {}", route.pattern, route.instance, route.state);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the prefix is none.
    pub fn routes(&self, prefix: Option<&str>) -> Result<RouteList, CallError> {
        RouteList::new(Arc::clone(self.session()), self.patience(), prefix)
    }

    /// How the node does which this client is connected to.
    ///
    /// # Errors
    ///
    /// If it does not answer within the deadline of calls, or is lost.
    pub async fn status(&self) -> Result<Status, CallError> {
        status(self.session(), self.patience()).await
    }

    /// Why calls of a subject go where they go: what the node says which this client is
    /// connected to, and what this client knows by itself, of which instances it would pick
    /// one and call it without the node. The latter is told also where the node does not
    /// answer within the deadline of calls.
    ///
    /// # Errors
    ///
    /// If the subject is none.
    pub async fn explain(&self, subject: &str) -> Result<Explanation, CallError> {
        explain(self.session(), subject, self.patience()).await
    }

    /// What has changed of the routes that the node knows which this client is connected to, the
    /// latest first: of all, or of those whose patterns begin with all fields of `prefix`, and no
    /// earlier than `since`. How far it goes back is a setting of the node.
    ///
    /// # Errors
    ///
    /// If the prefix is none.
    pub fn history(
        &self,
        prefix: Option<&str>,
        since: Option<SystemTime>,
    ) -> Result<ChangeList, CallError> {
        let session = Arc::clone(self.session());
        ChangeList::new(session, self.patience(), prefix, since)
    }

    /// Where calls of a subject went at a time, as the node saw it which this client is connected
    /// to.
    ///
    /// # Errors
    ///
    /// If the subject is none, the node does not know it any more, or does not answer within the
    /// deadline of calls.
    pub async fn past(&self, subject: &str, at: SystemTime) -> Result<Past, CallError> {
        past(self.session(), subject, at, self.patience()).await
    }

    /// What has become of calls since the node started which this client is connected to, by
    /// pattern: of all, or of those that begin with all fields of `prefix`. The difference of two
    /// answers of the same node is what happened between them. The deadline of calls holds for each
    /// page that it is read by.
    ///
    /// # Errors
    ///
    /// If the prefix is none, the node does not answer in time, or is lost.
    pub async fn activity(&self, prefix: Option<&str>) -> Result<Activity, CallError> {
        activity(self.session(), prefix, self.patience()).await
    }

    /// Leaves without costing a call: no clone of it makes new ones, those in flight are
    /// answered, then it disconnects as [`close`](Self::close) does.
    pub async fn drain(self) {
        self.owner.calls.close();
        self.owner.calls.wait().await;
        self.close().await;
    }

    /// Whether this client's identity may register a pattern, which rule of the node says so, and
    /// what others have registered beside it.
    ///
    /// # Errors
    ///
    /// If the pattern is none, or the node does not answer within the deadline of calls.
    pub async fn check_registration(&self, pattern: &str) -> Result<Checked, CallError> {
        check(self.session(), pattern, self.patience()).await
    }

    /// Disconnects, and waits until the node was told, so that it does not wait for this
    /// client when it stops. Calls of other clones fail.
    pub async fn close(self) {
        self.session().stop();
        self.session().ended().await;
    }

    /// Counts a call as in flight for as long as the token lives.
    fn begin(&self) -> Result<TaskTrackerToken, CallError> {
        // Before it is looked whether the client leaves: who waits for its calls sees this one.
        let in_flight = self.owner.calls.token();
        match self.owner.calls.is_closed() {
            false => Ok(in_flight),
            true => Err(failure(Code::ConnectionLost, "the client is leaving")),
        }
    }

    fn patience(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    fn origin(&self) -> Origin {
        let origin = Origin {
            trace: self.trace,
            passed: None,
            hops: HOPS,
        };
        match self.trace {
            Some(_) => origin,
            None => spans::within_current(origin),
        }
    }

    fn session(&self) -> &Arc<Session> {
        &self.owner.session
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.session.stop();
    }
}
