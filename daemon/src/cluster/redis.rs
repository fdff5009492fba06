//! The way to the real Redis: in come a replica's commands, out go its inputs.
//!
//! Every call has a time limit of its own, and what does not come back counts as unsure.
//! A connection that was slow, lost, or leads to a server that takes no writes is not
//! repaired but made anew, since the master may be another one by now. Passwords and keys
//! are never printed.

mod log;
mod names;
mod provider;
mod scripts;
mod url;

use std::{sync::Arc, time::Duration};

use ::redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{
    command::{Command, Reply, Ticket, Trouble},
    replica::Input,
};

use log::Position;
pub use provider::RedisTls;
use provider::{Connection, Provider};
use scripts::{Executed, Scripts};
pub use url::{RedisUrl, RedisUrlError};

/// How long a command may take, with a new connection if it needs one.
const LIMIT: Duration = Duration::from_secs(2);

/// Where Redis is, and what is ours in it.
pub struct RedisOptions {
    /// Where it is.
    pub url: RedisUrl,
    /// Certificates, if the URL says TLS.
    pub tls: RedisTls,
    /// Which of the clusters that share the Redis this is.
    pub namespace: String,
    /// What records are sealed with.
    pub cluster_key: [u8; 32],
}

/// Executes a replica's commands.
pub struct Redis {
    provider: Provider,
    scripts: Scripts,
    slot: Mutex<Slot>,
    /// Where the log ended at the last beat.
    log_end: watch::Sender<Position>,
    /// Whether the server of each new connection may evict keys.
    evicts: watch::Sender<Option<bool>>,
}

/// The connection in use, and how many there were before it.
#[derive(Default)]
struct Slot {
    number: u64,
    connection: Option<Connection>,
}

impl Redis {
    /// Connects when there is something to execute.
    #[must_use]
    pub fn new(options: RedisOptions) -> Self {
        Self {
            provider: Provider::new(options.url, options.tls),
            scripts: Scripts::new(&options.namespace, &options.cluster_key),
            slot: Mutex::default(),
            log_end: watch::Sender::new(Position::default()),
            evicts: watch::Sender::new(None),
        }
    }

    /// Executes commands and follows the log until no command can come any more. Each
    /// command is answered by one input.
    pub async fn run(
        self: Arc<Self>,
        mut commands: mpsc::Receiver<(Ticket, Command)>,
        inputs: mpsc::Sender<Input>,
    ) {
        let mut evicts = self.evicts.subscribe();
        let follow = log::follow(
            &self.provider,
            &self.scripts,
            self.log_end.subscribe(),
            &inputs,
        );
        let work = async {
            let mut running = FuturesUnordered::new();
            loop {
                let input = tokio::select! {
                    command = commands.recv() => match command {
                        Some((ticket, command)) => {
                            let executed = self.execute(command);
                            running.push(async move { Input::Reply(ticket, executed.await) });
                            continue;
                        }
                        None => break,
                    },
                    Some(input) = running.next() => input,
                    Ok(()) = evicts.changed() => Input::Connected {
                        evicts: evicts.borrow_and_update().unwrap_or_default(),
                    },
                };
                if inputs.send(input).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = follow => {}
        }
    }

    /// Executes one command, within two seconds.
    ///
    /// # Errors
    ///
    /// If there is no answer. The command may have been executed, or may be yet.
    pub async fn execute(&self, command: Command) -> Result<Reply, Trouble> {
        let until = Instant::now() + LIMIT;
        let connected = limited(until, self.connection()).await;
        let (number, mut connection) = connected.map_err(|error| {
            tracing::debug!(%error, "no connection to Redis");
            trouble(&error)
        })?;
        let executed = self.scripts.execute(&mut connection, &command);
        match limited(until, executed).await {
            Ok(Executed { reply, log_end }) => {
                if let Some(end) = log_end {
                    self.log_end.send_replace(end);
                }
                Ok(reply)
            }
            Err(error) => {
                tracing::debug!(%error, "Redis did not execute a command");
                if trouble(&error) != Trouble::Refused {
                    self.disconnect(number).await;
                }
                Err(trouble(&error))
            }
        }
    }

    /// The connection in use, or a new one.
    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((slot.number, connection.clone()));
        }
        let mut connection = self.provider.connect(LIMIT).await?;
        let evicts = may_evict(&mut connection).await;
        self.evicts.send_replace(Some(evicts));
        slot.number += 1;
        slot.connection = Some(connection.clone());
        Ok((slot.number, connection))
    }

    /// Lets go of a connection, unless another one is in use already.
    async fn disconnect(&self, number: u64) {
        let mut slot = self.slot.lock().await;
        if slot.number == number {
            slot.connection = None;
        }
    }
}

/// Whether a server may evict keys that do not expire. One that does not say is trusted.
async fn may_evict(connection: &mut Connection) -> bool {
    let mut info = Cmd::new();
    info.arg("INFO").arg("memory");
    let info: RedisResult<String> = info.query_async(connection).await;
    let info = info.unwrap_or_default();
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
    let is_bounded = of("maxmemory:").is_some_and(|limit| limit != "0");
    is_bounded && of("maxmemory_policy:").is_some_and(|policy| policy.starts_with("allkeys"))
}

/// Waits no longer than this.
async fn limited<T>(
    until: Instant,
    answer: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let slow = |_| RedisError::from((ErrorKind::Io, "no answer in time"));
    timeout_at(until, answer).await.map_err(slow)?
}

fn trouble(error: &RedisError) -> Trouble {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Trouble::ReadOnly,
        ErrorKind::Server(
            ServerErrorKind::ResponseError | ServerErrorKind::NoPerm | ServerErrorKind::ExecAbort,
        )
        | ErrorKind::Extension
        | ErrorKind::UnexpectedReturnType
        | ErrorKind::AuthenticationFailed => Trouble::Refused,
        _ => Trouble::Unsure,
    }
}

#[cfg(test)]
mod tests;
