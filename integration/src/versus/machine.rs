//! The machine that a run is taken on: what it is, and what it did during a round.

use std::{
    fs,
    io::ErrorKind,
    process::{Command, Output},
    thread,
    time::Duration,
};

use nano_integration::Process;

use crate::Result;

/// A program that a run needs, and where it is from.
pub(crate) struct Program {
    /// What is run.
    pub(crate) command: &'static str,
    /// What makes it tell its version.
    pub(crate) version: &'static str,
    /// The Debian package that brings it.
    pub(crate) package: &'static str,
}

/// What the figures hold for.
pub(crate) struct Conditions {
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// Bytes of receive buffer that the kernel grants a socket.
    pub(crate) receive_buffer: String,
    /// What each program says of itself.
    pub(crate) versions: Vec<String>,
}

/// The processes whose time counts, beside those that this one has waited for: its clients.
pub(crate) struct Processes<'a> {
    pub(crate) router: Option<&'a Process>,
    pub(crate) services: Vec<&'a Process>,
}

/// What the processes of calls had of the processors.
pub(crate) struct Cpu {
    pub(crate) clients: Duration,
    /// `None` where there is none.
    pub(crate) router: Option<Duration>,
    pub(crate) services: Duration,
}

/// Counters at one moment.
pub(crate) struct Counters {
    cpu: Cpu,
    /// Datagrams that were dropped where routers are since a socket's buffer was full.
    drops: u64,
}

/// What happened between two moments.
pub(crate) struct Spent {
    pub(crate) cpu: Cpu,
    pub(crate) drops: u64,
}

impl Program {
    /// What it says of its version.
    pub(crate) fn version(&self) -> Result<String> {
        let output = Command::new(self.command).arg(self.version).output();
        let output = output.map_err(|error| match error.kind() {
            ErrorKind::NotFound => self.missing(),
            _ => format!("cannot run {}: {error}", self.command),
        })?;
        Ok(first_line(&output))
    }

    fn missing(&self) -> String {
        format!(
            "{} is missing or not on the PATH; please install it (Debian: apt install {})",
            self.command, self.package
        )
    }
}

/// Some programs print their version as an error, and some with their copyright.
fn first_line(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    let version = line.split("Copyright").next().unwrap_or_default();
    version.trim().to_owned()
}

impl Conditions {
    /// Reads what the system tells of itself.
    pub(crate) fn read(date: Option<String>, versions: Vec<String>) -> Result<Self> {
        Ok(Self {
            date: date.map_or_else(today, Ok)?,
            cores: thread::available_parallelism()?.get(),
            processor: processor()?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            receive_buffer: read("/proc/sys/net/core/rmem_max")?.trim().to_owned(),
            versions,
        })
    }
}

fn today() -> Result<String> {
    let output = Command::new("date").args(["--utc", "+%F"]).output();
    let output = output.map_err(|error| format!("cannot run date: {error}"))?;
    Ok(first_line(&output))
}

fn processor() -> Result<String> {
    let text = read("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": "));
    Ok(name.map_or("unknown", |(_, name)| name).to_owned())
}

impl Counters {
    /// Reads them.
    pub(crate) fn read(processes: &Processes<'_>) -> Result<Self> {
        let services = processes.services.iter();
        let of_network = processes
            .router
            .map_or("self".to_owned(), |router| router.pid().to_string());
        Ok(Self {
            cpu: Cpu {
                clients: Process::processor_time_of_ended(),
                router: processes.router.map(Process::processor_time_with_workers),
                services: services.map(|service| service.processor_time()).sum(),
            },
            drops: drops(&format!("/proc/{of_network}/net/snmp"))?,
        })
    }

    /// What has happened since.
    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let (now, then) = (&self.cpu, &earlier.cpu);
        let router = now.router.zip(then.router);
        Spent {
            cpu: Cpu {
                clients: now.clients.saturating_sub(then.clients),
                router: router.map(|(now, then)| now.saturating_sub(then)),
                services: now.services.saturating_sub(then.services),
            },
            drops: self.drops.saturating_sub(earlier.drops),
        }
    }
}

/// `RcvbufErrors` of UDP since the start of a machine or a network.
fn drops(path: &str) -> Result<u64> {
    let text = read(path)?;
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: "));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let mut counters = names.split(' ').zip(values.split(' '));
    let found = counters.find(|(name, _)| *name == "RcvbufErrors");
    let (_, value) = found.ok_or("there are no RcvbufErrors of UDP")?;
    Ok(value.parse()?)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}").into())
}
