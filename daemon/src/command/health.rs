//! `nanod health`: asks the node on this machine, by its admin listener, whether it is ready; for
//! containers, which have no curl.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use super::{USAGE, fail};
use crate::{cli::HealthArguments, config::Config};

/// Exit code of a node that is not ready, or does not say so.
const NOT_READY: u8 = 1;

/// What is asked for; the admin listener closes the connection after its answer.
const REQUEST: &str = "GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n";

/// Most bytes of an answer that are read.
const LONGEST: usize = 64 << 10;

/// Why a node is not known to be ready.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error(
        "no answer from the admin listener at {0}: {1}; is the node running, and is --admin its address?"
    )]
    Io(SocketAddr, io::Error),
    #[error(
        "what listens at {0} does not answer as an admin listener does; --admin names another address"
    )]
    Foreign(SocketAddr),
    #[error("the node at {0} is not ready: {1}")]
    NotReady(SocketAddr, String),
}

pub(super) fn run(arguments: HealthArguments) -> Result<ExitCode, ExitCode> {
    let flags = [("admin", arguments.admin), ("config", arguments.config)];
    let given = flags.into_iter();
    let given = given.filter_map(|(key, value)| Some((key, value?)));
    let config = Config::load(&given.collect::<BTreeMap<_, _>>());
    let config = config.map_err(|errors| fail(USAGE, errors))?;
    let Some(admin) = config.admin else {
        return Err(fail(
            NOT_READY,
            "the admin listener is off, so nobody can be asked",
        ));
    };
    let address = reachable(admin);
    let patience = Duration::from_millis(arguments.timeout_ms);
    check(address, patience).map_err(|error| fail(NOT_READY, error))?;
    println!("ready");
    Ok(ExitCode::SUCCESS)
}

/// Where a listener is found from the same machine.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

fn check(address: SocketAddr, patience: Duration) -> Result<(), HealthError> {
    let answer = get(address, patience).map_err(|error| HealthError::Io(address, error))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&*answer, ""));
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    match status {
        Some("200") => Ok(()),
        Some("503") => Err(HealthError::NotReady(address, body.trim().to_owned())),
        _ => Err(HealthError::Foreign(address)),
    }
}

/// All that is answered, within that time.
fn get(address: SocketAddr, patience: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + patience;
    let left = || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(REQUEST.replace("{}", &address.to_string()).as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while answer.len() < LONGEST {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
            // How the system says that a read took too long.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => left().map(drop)?,
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}
