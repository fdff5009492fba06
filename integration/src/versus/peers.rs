//! Who is compared: what stands between clients and services, with its services running.

mod grpc;
mod nanod;
mod nats;
mod nginx;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nano_integration::{ANY, Process, until};
use rcgen::generate_simple_self_signed;
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

pub(crate) use nanod::version as nanod_version;

use crate::{
    Result,
    ends::{self, End, Protocol, Threads},
    load::{Figures, Pace},
    machine::{Processes, Program},
    place::Place,
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
    place: Place,
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

/// The programs that what has NATS among its contenders needs.
pub(crate) const NATS: &[Program] = &[nats::PROGRAM];

/// The programs that [`lossy`] needs.
pub(crate) const LOSSY: &[Program] = &[nats::PROGRAM, IPTABLES];

/// The programs that [`http_quic`] and [`http_http`] need.
pub(crate) const HTTP: &[Program] = &[nginx::PROGRAM, WRK];

const WRK: Program = Program {
    command: "wrk",
    version: "-v",
    package: "wrk",
};

const IPTABLES: Program = Program {
    command: "iptables",
    version: "--version",
    package: "iptables",
};

/// Files of a certificate that is its own authority, and of its key.
pub(crate) const CERTIFICATE: &str = "cert.pem";
pub(crate) const KEY: &str = "key.pem";

/// The share of packets that [`lossy`] loses.
const LOSS: f64 = 0.01;

/// Either kind of threads, of which the faster one is to count.
const EITHER: &[Threads] = &[Threads::One, Threads::Two];

/// The threads of a program that does more than call.
const OF_USER: &[Threads] = &[Threads::Two];

/// Calls from a client through a router to a service. nanod comes first.
pub(crate) async fn switched() -> Result<Vec<Contender>> {
    let mut contenders = bodies().await?;
    contenders.push(nanod::two_data_threads().await?);
    Ok(contenders)
}

/// The same with large bodies.
pub(crate) async fn bodies() -> Result<Vec<Contender>> {
    let mut contenders = through_routers(&Place::default()).await?;
    contenders.push(nats::tls().await?);
    Ok(contenders)
}

/// The same with clients at the other end of a lossy wire; nobody where such a wire cannot be.
pub(crate) async fn lossy() -> Result<Vec<Contender>> {
    match Place::lossy(LOSS) {
        Some(place) => through_routers(&place).await,
        None => Ok(Vec::new()),
    }
}

async fn through_routers(place: &Place) -> Result<Vec<Contender>> {
    Ok(vec![
        nanod::calls("nanod", Protocol::Nano, EITHER, place).await?,
        nats::plain(place).await?,
    ])
}

/// Calls from a client to a service, with nothing between them. nanod comes first.
pub(crate) async fn direct() -> Result<Vec<Contender>> {
    let place = &Place::default();
    Ok(vec![
        nanod::calls("nanod", Protocol::Direct, EITHER, place).await?,
        grpc::start(EITHER).await?,
        raw_lane().await?,
        tcp().await?,
    ])
}

/// The same from a program that has a runtime of its own, and with values. nanod comes first.
pub(crate) async fn typed() -> Result<Vec<Contender>> {
    let place = &Place::default();
    Ok(vec![
        nanod::calls("nanod", Protocol::Direct, OF_USER, place).await?,
        nanod::calls("nanod_json", Protocol::DirectJson, OF_USER, place).await?,
        nanod::calls("nanod_switched", Protocol::Nano, OF_USER, place).await?,
        nanod::calls("nanod_switched_json", Protocol::NanoJson, OF_USER, place).await?,
        grpc::start(OF_USER).await?,
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
    contender
        .serve(Protocol::RawLane, EITHER, ANY, Some(trust))
        .await?;
    Ok(contender)
}

/// TCP and nothing else.
async fn tcp() -> Result<Contender> {
    let mut contender = Contender::new("tcp", "TCP echo, plain text")?;
    contender.serve(Protocol::Tcp, EITHER, ANY, None).await?;
    Ok(contender)
}

/// Makes a certificate that is its own authority.
fn certify(folder: &Path) -> Result<()> {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(folder.join(CERTIFICATE), made.cert.pem())?;
    fs::write(folder.join(KEY), made.signing_key.serialize_pem())?;
    Ok(())
}

impl Contender {
    /// A contender of which nothing runs yet.
    fn new(name: &'static str, says: &'static str) -> Result<Self> {
        let folder = tempfile::tempdir();
        Ok(Self {
            name,
            says,
            loads: Vec::new(),
            place: Place::default(),
            services: Vec::new(),
            server: None,
            folder: folder.map_err(|error| format!("cannot make a folder: {error}"))?,
        })
    }

    /// The process that stands between, if one does.
    pub(crate) fn router(&self) -> Option<&Process> {
        self.server.as_ref().map(|server| &server.0)
    }

    /// The processes whose time counts, but for its clients'.
    pub(crate) fn processes(&self) -> Processes<'_> {
        let services = self.services.iter();
        Processes {
            router: self.router(),
            services: services.map(|service| &service.0).collect(),
        }
    }

    /// Sees that it answers as it should, where its load does not look.
    pub(crate) async fn check(&self) -> Result<()> {
        for load in &self.loads {
            if let Load::Http(wrk) = load {
                wrk.check().await?;
            }
        }
        Ok(())
    }

    /// Loads for a while.
    pub(crate) async fn round(&self, load: &Load, pace: Pace) -> Result<Figures> {
        let wrk = match load {
            Load::Calls(end) => {
                return last_line(&mut self.place.far(end.load_command(pace)?), pace).await;
            }
            Load::Http(wrk) => wrk,
        };
        let end = Instant::now() + Duration::from_millis(pace.millis);
        loop {
            let figures: Figures = last_line(&mut self.place.far(wrk.command(pace)), pace).await?;
            if figures.calls > 0 {
                return Ok(figures);
            }
            // A round of a few calls may have been too short for the first.
            if Instant::now() >= end {
                return Err(format!("{} answered no call of wrk", self.name).into());
            }
        }
    }

    /// Starts a service on each of these kinds of threads, to be loaded by clients on the same.
    async fn serve(
        &mut self,
        protocol: Protocol,
        threads: &[Threads],
        at: &str,
        trust: Option<PathBuf>,
    ) -> Result<()> {
        for &threads in threads {
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
        let (process, client) = end.start_service(&self.place).await?;
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
        command: Command,
        mut look: impl AsyncFnMut(&Process) -> Option<T>,
    ) -> Result<T> {
        let mut command = self.place.near(command);
        let server = self.server.insert(Running(Process::start(&mut command)));
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
    /// What it runs on, as people read it.
    pub(crate) fn says(&self) -> &'static str {
        match self {
            Self::Calls(end) => end.threads.says(),
            Self::Http(_) => "wrk",
        }
    }
}

/// How long a round may take beside what it measures: calls of the last moment end, or time out.
const OVERTIME: Duration = Duration::from_secs(60);

/// Runs the command of a round to its end, and reads the last line that it prints as JSON.
async fn last_line<T: DeserializeOwned>(command: &mut Command, pace: Pace) -> Result<T> {
    let limit = Duration::from_millis(pace.millis) + OVERTIME;
    let output = timeout(limit, command.kill_on_drop(true).output()).await;
    let output = output.map_err(|_| format!("{command:?} has not ended after {limit:?}"))?;
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
