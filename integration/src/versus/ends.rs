//! The ends of a call: echoes that serve and callers that load, each a process that is
//! this program started again.
//!
//! A service prints `ready ADDR`, where ADDR is what its clients connect to: itself, or
//! what stands between.

mod grpc;
mod http;
mod nano;
mod nats;
mod raw_lane;
mod tcp;

use std::{env, path::PathBuf};

use clap::{Args, ValueEnum};
use nano_integration::{ANY, Process};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
    runtime::{Builder, Runtime},
};

pub(crate) use nano::pattern;

use crate::{
    Result,
    load::{self, Figures, Pace},
    place::Place,
};

/// What a client and its service speak.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Protocol {
    /// The library of nanod, through a node.
    Nano,
    /// The same, with values instead of bytes.
    NanoJson,
    /// The library of nanod, past the node.
    Direct,
    /// The same, with values instead of bytes.
    DirectJson,
    /// The lanes of nanod, with nothing between the two.
    RawLane,
    /// Bytes over TCP, with nothing between the two.
    Tcp,
    /// NATS, through a server.
    Nats,
    /// gRPC over TLS, with nothing between the two.
    Grpc,
}

/// The threads that a process calls or serves on.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Threads {
    /// A runtime on its only thread.
    One,
    /// A runtime with two worker threads.
    Two,
}

/// One end of a call.
#[derive(Clone, Args)]
pub(crate) struct End {
    /// What it speaks
    pub(crate) protocol: Protocol,
    /// What it runs on
    #[arg(long)]
    pub(crate) threads: Threads,
    /// What it connects to, or where it listens
    #[arg(long)]
    pub(crate) at: String,
    /// Certificates: what each protocol has of them
    #[arg(long)]
    pub(crate) trust: Option<PathBuf>,
}

/// A caller, and how long it calls.
#[derive(Args)]
pub(crate) struct LoadArguments {
    #[command(flatten)]
    end: End,
    #[command(flatten)]
    pace: Pace,
}

/// Serves until it is killed.
pub(crate) fn serve(end: &End) -> Result<()> {
    end.threads.runtime()?.block_on(async {
        match end.protocol {
            Protocol::Nano | Protocol::NanoJson | Protocol::Direct | Protocol::DirectJson => {
                nano::serve(end).await
            }
            Protocol::RawLane => raw_lane::serve(end).await,
            Protocol::Tcp => tcp::serve().await,
            Protocol::Nats => nats::serve(end).await,
            Protocol::Grpc => grpc::serve(end).await,
        }
    })
}

/// Serves HTTP on any free port until it is killed.
pub(crate) fn serve_http() -> Result<()> {
    Threads::One.runtime()?.block_on(http::serve())
}

/// Calls for a while, and prints the [`Figures`].
pub(crate) fn load(arguments: &LoadArguments) -> Result<()> {
    let figures = arguments
        .end
        .threads
        .runtime()?
        .block_on(drive(arguments))?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

async fn drive(arguments: &LoadArguments) -> Result<Figures> {
    let LoadArguments { end, pace } = arguments;
    let pace = *pace;
    match end.protocol {
        Protocol::Nano | Protocol::Direct => load::drive(nano::connect(end).await?, pace).await,
        Protocol::NanoJson | Protocol::DirectJson => {
            load::drive(nano::connect_typed(end).await?, pace).await
        }
        Protocol::RawLane => load::drive(raw_lane::connect(end).await?, pace).await,
        Protocol::Tcp => load::drive(tcp::connect(end).await?, pace).await,
        Protocol::Nats => load::drive(nats::connect(end).await?, pace).await,
        Protocol::Grpc => load::drive(grpc::connect(end).await?, pace).await,
    }
}

impl Threads {
    /// Such a runtime.
    pub(crate) fn runtime(self) -> Result<Runtime> {
        let mut builder = match self {
            Self::One => Builder::new_current_thread(),
            Self::Two => Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(2).enable_all().build();
        runtime.map_err(|error| format!("cannot start a runtime: {error}").into())
    }

    /// As the page says it.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::One => "current-thread",
            Self::Two => "multi-thread (2)",
        }
    }

    /// As command lines and subjects say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Nano => "nano",
            Self::NanoJson => "nano-json",
            Self::Direct => "direct",
            Self::DirectJson => "direct-json",
            Self::RawLane => "raw-lane",
            Self::Tcp => "tcp",
            Self::Nats => "nats",
            Self::Grpc => "grpc",
        }
    }
}

impl End {
    /// Starts it as a service where routers are; the process, and the end of its clients.
    pub(crate) async fn start_service(&self, place: &Place) -> Result<(Process, Self)> {
        let (process, at) = ready(&mut place.near(self.command("serve")?)).await?;
        let client = Self { at, ..self.clone() };
        Ok((process, client))
    }

    /// The command that loads by it.
    pub(crate) fn load_command(&self, pace: Pace) -> Result<Command> {
        let mut command = self.command("load")?;
        command
            .args(["--in-flight", &pace.in_flight.to_string()])
            .args(["--body", &pace.body.to_string()])
            .args(["--millis", &pace.millis.to_string()]);
        if let Some(calls) = pace.calls {
            command.args(["--calls", &calls.to_string()]);
        }
        Ok(command)
    }

    fn command(&self, part: &str) -> Result<Command> {
        let mut command = this_program()?;
        command
            .args([part, self.protocol.name()])
            .args(["--threads", self.threads.name()])
            .args(["--at", &self.at]);
        if let Some(trust) = &self.trust {
            command.arg("--trust").arg(trust);
        }
        Ok(command)
    }

    /// The certificates of a protocol that needs some.
    fn trust(&self) -> Result<&PathBuf> {
        let trust = self.trust.as_ref();
        trust.ok_or_else(|| "--trust is missing".into())
    }
}

/// Starts an echo of HTTP; the process, and where it listens.
pub(crate) async fn start_http_service() -> Result<(Process, String)> {
    ready(this_program()?.arg("serve-http")).await
}

fn this_program() -> Result<Command> {
    let program = env::current_exe();
    let program = program.map_err(|error| format!("cannot find this program: {error}"))?;
    Ok(Command::new(program))
}

const READY: &str = "ready ";

/// What a service says when it serves.
fn say_ready(at: impl std::fmt::Display) {
    println!("{READY}{at}");
}

/// Listens for TCP, says so, and has each connection served by itself.
async fn serve_each<F>(serve: impl Fn(TcpStream) -> F) -> Result<()>
where
    F: Future<Output: Send> + Send + 'static,
{
    let listener = TcpListener::bind(ANY).await?;
    say_ready(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}

async fn ready(command: &mut Command) -> Result<(Process, String)> {
    let mut process = Process::start(command);
    let line = process.line().await.unwrap_or_default();
    let at = line.strip_prefix(READY);
    let at = at.ok_or_else(|| format!("a service did not start: {command:?}"))?;
    Ok((process, at.to_owned()))
}
