//! What happens, as it happens: viewers come, each on a connection of its own, and are told of the node
//! in server-sent events until they leave or a while is over; then they ask again.
//!
//! A viewer has a task, which writes at most one piece ahead of what the connection takes, and hangs up
//! on who takes nothing. What is told is [read](feed) once for all of them.

mod activity;
pub(super) mod feed;
mod told;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    AdminContext,
    api::{Problem, bad_request},
    serve::{AGE, Hangup},
};
pub(super) use activity::ActivityEvent;
use activity::{EventsQuery, Wanted};
use feed::VIEWERS;
use told::Told;
pub(super) use told::{ChangesEvent, RoutesEvent, StatusEvent};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// A stream ends so long before its connection would.
const BEFORE: Duration = Duration::from_secs(5);

/// What a stream lasts at least, on a connection that was used before.
const LEAST: Duration = Duration::from_secs(10);

/// Who has not taken what was sent for so long takes no more.
const STALLED: Duration = Duration::from_secs(10);

/// The pause after which a client is to come again, as it is told first of all.
const GREETING: &str = "retry: 1000\n\n";

/// What happens, as it happens
#[utoipa::path(get, path = "/api/v1/events", tag = "node", params(EventsQuery),
    responses(
        (status = 200, description = "Server-sent events, `status` (StatusEvent), `routes` (RoutesEvent), `activity` (ActivityEvent) and \
                                      `changes` (ChangesEvent): at first how all stands, then what is new, at \
                                      most once a second. The stream ends after a while, and is to be asked for anew",
            body = String, content_type = "text/event-stream"),
        (status = 400, description = "The question is none", body = Problem),
        (status = 503, description = "There are too many viewers", body = Problem),
    ))]
pub(super) async fn events(
    State(context): State<Arc<AdminContext>>,
    Extension(hangup): Extension<Hangup>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let wanted = Wanted::try_from(query)
        .map_err(|error| bad_request(&format!("the prefix is none: {error}")))?;
    let place = Arc::clone(&context.feed.places).try_acquire_owned();
    let place = place.map_err(|_| {
        let message = format!("{VIEWERS} viewers are there already: try again when one has left");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let viewer = Viewer {
            context,
            sender,
            _place: place,
        };
        if viewer.view(wanted, &hangup).await.is_err() {
            hangup.now();
        }
    });
    let pieces = stream::unfold(receiver, async |mut receiver| {
        let piece: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

struct Viewer {
    context: Arc<AdminContext>,
    sender: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
}

/// The viewer takes nothing.
struct IsStalled;

impl Viewer {
    /// Tells all until the viewer leaves, or it is time to ask anew.
    async fn view(self, wanted: Wanted, hangup: &Hangup) -> Result<(), IsStalled> {
        let end = (hangup.begun + AGE - BEFORE).max(Instant::now() + LEAST);
        let mut told = Told::new(wanted);
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.send(GREETING.to_owned()).await?;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.sender.closed() => return Ok(()),
                () = sleep_until(end) => return Ok(()),
            }
            let reading = self.context.feed.reading(&self.context).await;
            let text = told.tell(&reading);
            if !text.is_empty() {
                self.send(text).await?;
            }
        }
    }

    async fn send(&self, text: String) -> Result<(), IsStalled> {
        let sent = timeout(STALLED, self.sender.send(text.into())).await;
        // Who has left is noticed with the next look.
        sent.map(drop).map_err(|_| IsStalled)
    }
}
