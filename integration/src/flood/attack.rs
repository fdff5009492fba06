//! The floods: a process of its own, which is given a node and a length of time, floods the
//! node, and prints what came of it.

mod busy;
mod half_open;
mod handshakes;
mod score;
mod sessions;
mod slow_http;

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use nano_integration::{Node, Process, Then};
use serde::Serialize;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{Result, round::this_program, runtime};

pub(crate) use score::Achieved;
use score::Score;

/// Attempts that are begun a second, where a flood has a pace.
const PER_SECOND: u32 = 2_000;

/// Attempts of such a flood that may be in progress; further ones are left out.
const IN_PROGRESS: usize = 5_000;

/// What a node may be flooded with.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Flood {
    /// Nothing: what it costs to share the machine with a flood.
    Busy,
    /// Handshakes without a certificate of the node's authority.
    Handshakes,
    /// First packets of handshakes from which nothing more comes.
    Initials,
    /// Handshakes that prove their address and then stall.
    Stalled,
    /// Slow HTTP connections.
    SlowHttp,
    /// Sessions that come and go.
    Sessions,
}

/// A flood of a node.
#[derive(Args, Clone)]
pub(crate) struct Attack {
    flood: Flood,
    #[arg(long)]
    quic: SocketAddr,
    #[arg(long)]
    http: SocketAddr,
    #[arg(long)]
    state: PathBuf,
    #[arg(long)]
    seconds: u64,
}

impl Flood {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// As the command line says it.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it does, in a line.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::Busy => "two busy threads that do not touch the node, to compare with",
            Self::Handshakes => {
                "2,000 handshakes a second, in turn with a certificate of a foreign authority \
                 and with none"
            }
            Self::Initials => "2,000 first packets of handshakes a second, and nothing more",
            Self::Stalled => {
                "2,000 handshakes a second that prove their address and send nothing more"
            }
            Self::SlowHttp => "10,000 HTTP connections that send a byte of a header each second",
            Self::Sessions => "sessions that connect, register a pattern and leave, 64 at a time",
        }
    }
}

/// Floods a node by a process of its own, and waits for its end.
pub(crate) async fn launch(node: &Node, flood: Flood, length: Duration) -> Result<Achieved> {
    let mut command = this_program()?;
    command
        .args(["attack", &flood.name()])
        .args(["--quic", &node.quic.to_string()])
        .args(["--http", &node.http.to_string()])
        .arg("--state")
        .arg(node.state())
        .args(["--seconds", &length.as_secs().to_string()]);
    let mut process = Process::start(&mut command);
    sleep(length).await;
    let line = process.line().await.ok_or("the flood ended early")?;
    process.ended().await;
    Ok(serde_json::from_str(&line)?)
}

/// Floods, and prints what came of it as JSON.
pub(crate) fn run(attack: Attack) -> Result<()> {
    runtime()?.block_on(async {
        let score = Arc::new(Score::default());
        let begun = Instant::now();
        let end = begun + Duration::from_secs(attack.seconds);
        match attack.flood {
            Flood::Busy => busy::flood(end).await?,
            Flood::Handshakes => handshakes::flood(&attack, &score, end).await?,
            Flood::Initials => half_open::flood(&attack, &score, end, Then::Silence).await?,
            Flood::Stalled => half_open::flood(&attack, &score, end, Then::Proof).await?,
            Flood::SlowHttp => slow_http::flood(&attack, &score, end).await?,
            Flood::Sessions => sessions::flood(&attack, &score, end).await?,
        }
        println!(
            "{}",
            serde_json::to_string(&score.achieved(begun.elapsed()))?
        );
        Ok(())
    })
}

/// Begins [`PER_SECOND`] attempts until the end; what is in progress then is given up.
async fn at_pace<A>(score: &Arc<Score>, end: Instant, mut attempt: impl FnMut() -> A)
where
    A: Future<Output = &'static str> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(IN_PROGRESS));
    let mut attempts = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(1));
    // A flood that is behind makes up for it.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while Instant::now() < end {
        ticks.tick().await;
        for _ in 0..PER_SECOND / 1_000 {
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                score.left_out();
                continue;
            };
            let (score, attempt) = (Arc::clone(score), attempt());
            attempts.spawn(async move {
                let open = score.begin();
                open.end(attempt.await);
                drop(permit);
            });
        }
        while attempts.try_join_next().is_some() {}
    }
}
