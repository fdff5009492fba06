//! The machine that a run is taken on: what it is, and what it did during a round.

use std::{
    fs,
    io::ErrorKind,
    process::{Command, Output},
    thread,
    time::Duration,
};

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

/// Counters at one moment.
pub(crate) struct Counters {
    /// Processor time that a process has had.
    cpu: Option<Duration>,
    /// Datagrams that the machine dropped since a socket's buffer was full.
    drops: u64,
}

/// What happened between two moments.
pub(crate) struct Spent {
    pub(crate) cpu: Option<Duration>,
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
    /// Reads them; `process` is whose processor time counts.
    pub(crate) fn read(process: Option<u32>) -> Result<Self> {
        Ok(Self {
            cpu: process.map(cpu).transpose()?,
            drops: drops()?,
        })
    }

    /// What has happened since.
    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let cpu = self.cpu.zip(earlier.cpu);
        Spent {
            cpu: cpu.map(|(now, then)| now.saturating_sub(then)),
            drops: self.drops.saturating_sub(earlier.drops),
        }
    }
}

/// Processor time of a process so far: `utime` and `stime` of proc(5).
fn cpu(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = read(&path)?;
    // The name may hold anything; what follows its end begins with the third field.
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let mut fields = fields.split(' ').skip(11).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => {
            let ticks = rustix::param::clock_ticks_per_second();
            Ok(Duration::from_secs(user + system) / u32::try_from(ticks)?)
        }
        _ => Err(format!("{path} has no processor times").into()),
    }
}

/// `RcvbufErrors` of UDP since the machine's start.
fn drops() -> Result<u64> {
    let text = read("/proc/net/snmp")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: "));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let mut counters = names.split(' ').zip(values.split(' '));
    let found = counters.find(|(name, _)| *name == "RcvbufErrors");
    let (_, value) = found.ok_or("/proc/net/snmp has no RcvbufErrors")?;
    Ok(value.parse()?)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}").into())
}
