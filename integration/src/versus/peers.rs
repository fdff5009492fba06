//! Who is compared: what stands between clients and services, with its services running.

mod nanod;
mod nats;
mod nginx;

use std::{path::PathBuf, thread, time::Duration};

use nano_integration::{ANY, Process, until};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::process::Command;

pub(crate) use nanod::version as nanod_version;

use crate::{
    Result,
    ends::{self, End, Protocol, Threads},
    load::Figures,
    machine::Program,
    wrk::Wrk,
};

/// One side of a comparison. All that it has started ends with it.
pub(crate) struct Contender {
    /// As rows name it.
    pub(crate) name: &'static str,
    /// As people read it.
    pub(crate) says: &'static str,
    /// How it may be loaded; the first that does best is.
    pub(crate) loads: Vec<Load>,
    /// The process of the node, if it is nanod.
    pub(crate) node: Option<u32>,
    /// Services first, for what stands before them to see them off.
    services: Vec<Running>,
    server: Option<Running>,
    folder: TempDir,
}

/// What loads a contender.
pub(crate) enum Load {
    /// This program, as such an end.
    Calls(End),
    /// wrk, over HTTP.
    Http(Wrk),
}

/// A process that is asked to end when it is dropped.
struct Running(Process);

/// The programs that [`switched`] needs.
pub(crate) const SWITCHED: &[Program] = &[nats::PROGRAM];

/// The programs that [`http_quic`] and [`http_http`] need.
pub(crate) const HTTP: &[Program] = &[nginx::PROGRAM, WRK];

const WRK: Program = Program {
    command: "wrk",
    version: "-v",
    package: "wrk",
};

/// Calls from a client through a router to a service. nanod comes first.
pub(crate) async fn switched() -> Result<Vec<Contender>> {
    Ok(vec![
        nanod::switched().await?,
        nats::plain().await?,
        nats::tls().await?,
        raw_lane().await?,
    ])
}

/// HTTP from a client through a proxy to a service. nanod comes first.
pub(crate) async fn http_quic() -> Result<Vec<Contender>> {
    Ok(vec![nanod::http_quic().await?, nginx::start().await?])
}

/// The same where the service speaks HTTP, whoever stands before it. nanod comes first.
pub(crate) async fn http_http() -> Result<Vec<Contender>> {
    Ok(vec![nanod::http_http().await?, nginx::start().await?])
}

/// nanod's lanes without a node.
async fn raw_lane() -> Result<Contender> {
    let mut contender = Contender::new("raw_lane", "nanod's lane, no router")?;
    let trust = contender.folder.path().to_owned();
    nano_tls::set_up(&trust, nano_tls::OWN_LIFETIME)?;
    contender.serve(Protocol::RawLane, ANY, Some(trust)).await?;
    Ok(contender)
}

impl Contender {
    /// A contender of which nothing runs yet.
    fn new(name: &'static str, says: &'static str) -> Result<Self> {
        let folder = tempfile::tempdir();
        Ok(Self {
            name,
            says,
            loads: Vec::new(),
            node: None,
            services: Vec::new(),
            server: None,
            folder: folder.map_err(|error| format!("cannot make a folder: {error}"))?,
        })
    }

    /// Whether anything stands between its clients and services.
    pub(crate) fn has_router(&self) -> bool {
        self.server.is_some()
    }

    /// Starts a service on each kind of threads, to be loaded by clients on the same.
    async fn serve(&mut self, protocol: Protocol, at: &str, trust: Option<PathBuf>) -> Result<()> {
        for threads in [Threads::One, Threads::Two] {
            let end = End {
                protocol,
                threads,
                at: at.to_owned(),
                trust: trust.clone(),
            };
            let client = self.serve_on(&end).await?;
            self.loads.push(Load::Calls(client));
        }
        Ok(())
    }

    /// Starts one service; the end of its clients.
    async fn serve_on(&mut self, end: &End) -> Result<End> {
        let (process, client) = end.start_service().await?;
        self.services.push(Running(process));
        Ok(client)
    }

    /// Starts an echo of HTTP; where it listens.
    async fn serve_http(&mut self) -> Result<String> {
        let (process, address) = ends::start_http_service().await?;
        self.services.push(Running(process));
        Ok(address)
    }

    /// Starts what stands between, and waits until `look` finds it ready.
    async fn start_server<T>(
        &mut self,
        command: &mut Command,
        mut look: impl AsyncFnMut(&Process) -> Option<T>,
    ) -> Result<T> {
        let server = self.server.insert(Running(Process::start(command)));
        let process = &mut server.0;
        until(self.name, async || {
            if process.has_ended() {
                return Some(Err(format!("did not start: {command:?}").into()));
            }
            look(process).await.map(Ok)
        })
        .await
    }
}

impl Load {
    /// Loads for a while.
    pub(crate) async fn round(&self, in_flight: usize, seconds: u64) -> Result<Figures> {
        let mut command = match self {
            Self::Calls(end) => end.load_command(in_flight, seconds)?,
            Self::Http(wrk) => wrk.command(in_flight, seconds),
        };
        last_line(&mut command).await
    }

    /// What it runs on, as people read it.
    pub(crate) fn says(&self) -> &'static str {
        match self {
            Self::Calls(end) => end.threads.says(),
            Self::Http(_) => "wrk",
        }
    }
}

/// Runs a command to its end, and reads the last line that it prints as JSON.
async fn last_line<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    let output = command.kill_on_drop(true).output().await;
    let output = output.map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {}", error.trim()).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .map_err(|error| format!("{command:?} printed {line:?}: {error}").into())
}

/// How long a process may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

impl Drop for Running {
    /// Asks it to end and waits, since a killed nginx would leave its workers behind; a
    /// process that stays is killed by its own drop.
    fn drop(&mut self) {
        const STEP: Duration = Duration::from_millis(10);
        if self.0.has_ended() {
            return;
        }
        self.0.signal(Signal::TERM);
        for _ in 0..FAREWELL.as_millis() / STEP.as_millis() {
            if self.0.has_ended() {
                return;
            }
            thread::sleep(STEP);
        }
    }
}
