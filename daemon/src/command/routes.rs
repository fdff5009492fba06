//! `nanod routes`: the routes that a node knows come in page by page, and lines go out.

mod line;
mod table;

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    mem,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::ColorChoice;
use nano_client::{CallError, Client, ConnectError, InstanceId, Options, Route, RouteList};
use nano_routing::Pattern;
use tokio::time::sleep;

use super::{
    ASKED_IN_VAIN, NO_SESSION, USAGE, fail,
    output::{is_unread, standard_output, terminal_width},
    runtime, stop_signal,
};
use crate::cli::Routes;

use line::Change;
use table::Rows;

/// Shortest pause between two lists of a watch, so that changes that come together are read
/// together.
const PAUSE: Duration = Duration::from_millis(100);

/// Pause of a watch whose node does not answer.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum RoutesError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("cannot write the routes: {0}")]
    Io(#[from] io::Error),
}

pub(super) fn run(routes: Routes) -> ExitCode {
    if let Some(Err(error)) = routes.prefix.as_deref().map(Pattern::parse) {
        return fail(USAGE, format!("the prefix is none: {error}"));
    }
    let options = match routes.at.options() {
        Ok(options) => options,
        Err(error) => return fail(USAGE, error),
    };
    let shown = Shown {
        prefix: routes.prefix,
        json: routes.json,
        color: routes.colors.color,
    };
    let ended = runtime().map_err(RoutesError::Io).and_then(|runtime| {
        runtime.block_on(async {
            match routes.watch {
                true => shown.watch_until_stopped(options).await,
                false => shown.list(options).await,
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read has seen enough.
        Err(RoutesError::Io(error)) if is_unread(&error) => ExitCode::SUCCESS,
        Err(error @ RoutesError::Connect(_)) => fail(NO_SESSION, error),
        Err(error) => fail(ASKED_IN_VAIN, error),
    }
}

/// What is to be shown, and how.
struct Shown {
    prefix: Option<String>,
    json: bool,
    color: ColorChoice,
}

/// What a watch has shown last.
type Known = BTreeMap<(String, InstanceId), Route>;

impl Shown {
    async fn list(&self, options: Options) -> Result<(), RoutesError> {
        let client = Client::connect(options).await?;
        let listed = self.print(client.routes(self.prefix.as_deref())?).await;
        client.close().await;
        listed
    }

    async fn print(&self, mut routes: RouteList) -> Result<(), RoutesError> {
        let out = standard_output(self.color);
        let is_colored = out.current_choice() != anstream::ColorChoice::Never;
        let mut out = BufWriter::new(out);
        let mut rows = Rows::new(is_colored, terminal_width());
        while let Some(page) = routes.next_page().await? {
            if self.json {
                for route in &page {
                    line::json(&mut out, route)?;
                }
            } else {
                rows.print(&mut out, &page)?;
            }
            out.flush()?;
        }
        Ok(())
    }

    async fn watch_until_stopped(&self, options: Options) -> Result<(), RoutesError> {
        let client = Client::connect(options).await?;
        let routes = client.routes(self.prefix.as_deref())?;
        let ended = tokio::select! {
            ended = self.watch(routes) => ended,
            stopped = stop_signal() => stopped.map_err(RoutesError::Io),
        };
        client.close().await;
        ended
    }

    /// Prints what has changed since the list before, which at first was empty. A node that
    /// does not answer is waited for, or for the one that takes its place.
    async fn watch(&self, mut routes: RouteList) -> Result<(), RoutesError> {
        let mut known = Known::new();
        loop {
            let begun = Instant::now();
            self.print_changes(&mut routes, &mut known).await?;
            // So that a long list that changes all the time keeps the node busy at most half
            // of it.
            sleep(begun.elapsed().max(PAUSE)).await;
            while let Err(error) = routes.changed().await {
                complain(&error);
                sleep(RETRY).await;
            }
        }
    }

    async fn print_changes(
        &self,
        routes: &mut RouteList,
        known: &mut Known,
    ) -> Result<(), RoutesError> {
        let mut before = mem::take(known);
        loop {
            let page = match routes.next_page().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) => {
                    complain(&error);
                    sleep(RETRY).await;
                    continue;
                }
            };
            let mut out = BufWriter::new(standard_output(self.color));
            for route in page {
                let key = (route.pattern.clone(), route.instance);
                if let Some(change) = Change::between(before.remove(&key), &route) {
                    change.print(&mut out, &route, self.json)?;
                }
                known.insert(key, route);
            }
            out.flush()?;
        }
        let mut out = BufWriter::new(standard_output(self.color));
        for route in before.into_values() {
            Change::Removed.print(&mut out, &route, self.json)?;
        }
        out.flush()?;
        Ok(())
    }
}

fn complain(error: &CallError) {
    eprintln!("nanod: {error}; still trying");
}
