//! The way to the real Redis: in come a replica's commands, out go its inputs.
//!
//! Every call has a time limit of its own, and what does not come back counts as unsure.
//! A connection that was slow, lost, or leads to a server that takes no writes is not
//! repaired but made anew, since the master may be another one by now. Passwords and keys
//! are never printed.

mod access;
mod complaints;
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
    time::{Instant, timeout, timeout_at},
};

use super::{
    command::{Command, Reply, Ticket, Trouble},
    replica::Input,
    settings::Identity,
};

pub use access::{RedisAccess, RedisAccessError, RedisFiles, RedisTls};
use complaints::{Cause, Complaints};
use log::Position;
use provider::{Connection, Provider};
use scripts::{Executed, Scripts};
pub use url::{RedisUrl, RedisUrlError};

/// How long a command may take, with a new connection if it needs one.
const LIMIT: Duration = Duration::from_secs(2);

/// How long a node that starts waits for Redis to say whose it is. One that is well answers
/// in milliseconds, also behind sentinels or with TLS; and while it is away, nothing that a
/// node serves has to wait for it.
const FIRST_LOOK: Duration = Duration::from_millis(800);

/// Where Redis is, and what is ours in it.
pub struct RedisOptions {
    /// Where it is, and how to get in.
    pub access: RedisAccess,
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
    complaints: Complaints,
    /// Where the log ended at the last beat; `None` until Redis is known to be ours.
    log_end: watch::Sender<Option<Position>>,
    /// Whether the server of each new connection may evict keys.
    evicts: watch::Sender<Option<bool>>,
}

/// Whose Redis it is, as far as a node knows that starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// The node's authority is noted there, as it is from now on if there was none.
    Ours,
    /// Another one is.
    Others,
    /// It does not answer, or not in time.
    Away,
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
            provider: Provider::new(options.access),
            scripts: Scripts::new(&options.namespace, &options.cluster_key),
            slot: Mutex::default(),
            complaints: Complaints::default(),
            log_end: watch::Sender::new(None),
            evicts: watch::Sender::new(None),
        }
    }

    /// Looks whose Redis it is, as long as [`FIRST_LOOK`].
    pub async fn look(&self, identity: &Identity) -> Look {
        // The boot has no counter there yet that it could raise.
        let beat = Command::Beat {
            boot: identity.boot,
            counter: 0,
            authority: identity.authority,
        };
        match timeout(FIRST_LOOK, self.execute(beat)).await {
            Ok(Ok(Reply::Listing(listing))) if listing.authority == identity.authority => {
                Look::Ours
            }
            Ok(Ok(Reply::Listing(_))) => Look::Others,
            Ok(_) => Look::Away,
            Err(_) => {
                self.complain(&slow());
                Look::Away
            }
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
        if evicts.borrow().is_some() {
            evicts.mark_changed();
        }
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
            self.complain(&error);
            trouble(&error)
        })?;
        let executed = self.scripts.execute(&mut connection, &command);
        match limited(until, executed).await {
            Ok(Executed { reply, log_end }) => {
                if let Reply::Listing(_) = &reply {
                    self.log_end.send_replace(log_end);
                }
                let has_written = reply == Reply::Written;
                self.complaints.succeeded(self.provider.url(), has_written);
                Ok(reply)
            }
            Err(error) => {
                self.complain(&error);
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

    fn complain(&self, error: &RedisError) {
        let words = self.provider.without_passwords(&error.to_string());
        tracing::debug!(error = words, "Redis did not execute a command");
        let cause = Cause::of(&words).unwrap_or(match trouble(error) {
            Trouble::Refused => Cause::Refused,
            Trouble::ReadOnly => Cause::ReadOnly,
            Trouble::Unsure => Cause::Away,
        });
        self.complaints.failed(self.provider.url(), cause, &words);
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
    timeout_at(until, answer).await.map_err(|_| slow())?
}

fn slow() -> RedisError {
    (ErrorKind::Io, "no answer in time").into()
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
