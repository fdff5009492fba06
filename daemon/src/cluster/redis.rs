//! The way to the real Redis: in come a replica's commands, out go its inputs.
//!
//! Every call has a time limit of its own, and what does not come back counts as unsure.
//! A connection that was slow, lost, or leads to a server that takes no writes is not
//! repaired but made anew, since the master may be another one by now, and each first looks
//! whose Redis it leads to. Passwords and keys are never printed.

mod access;
mod complaints;
mod go_nano;
mod log;
mod names;
mod provider;
mod scripts;
mod url;

use std::{sync::Arc, time::Duration};

use ::redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, Value};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::{Instant, timeout, timeout_at},
};

use super::{
    command::{Command, Reply, Ticket, Trouble},
    head::Fingerprint,
    record::Boot,
    replica::Input,
    settings::Identity,
};

pub use access::{RedisAccess, RedisAccessError, RedisFiles, RedisTls};
use complaints::{Cause, Complaints};
pub use go_nano::{GoNanoKeys, Kept, Mirrored, may_be_kept};
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
#[derive(Clone)]
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
    /// As whom connections look whose Redis it is.
    boot: Boot,
    authority: Fingerprint,
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
    connected: Option<Connected>,
}

/// A connection, by its number.
#[derive(Clone)]
struct Connected {
    number: u64,
    /// Whether the authority that is noted there is our own.
    is_ours: bool,
    connection: Connection,
}

impl Redis {
    /// Connects when there is something to execute.
    #[must_use]
    pub fn new(options: RedisOptions, identity: &Identity) -> Self {
        Self {
            boot: identity.boot,
            authority: identity.authority,
            provider: Provider::new(options.access),
            scripts: Scripts::new(&options.namespace, &options.cluster_key),
            slot: Mutex::default(),
            complaints: Complaints::default(),
            log_end: watch::Sender::new(None),
            evicts: watch::Sender::new(None),
        }
    }

    /// Looks whose Redis it is, for less than a second, see `FIRST_LOOK`.
    pub async fn look(&self) -> Look {
        let connected = timeout(FIRST_LOOK, self.connection()).await;
        match connected.unwrap_or_else(|_| Err(slow())) {
            Ok(Connected { is_ours: true, .. }) => Look::Ours,
            Ok(_) => Look::Others,
            Err(error) => {
                self.complain(&error);
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

    /// Executes one command, within two seconds. In a Redis of another authority nothing is
    /// executed but beats, which look whether it still is.
    ///
    /// # Errors
    ///
    /// If there is no answer. The command may have been executed, or may be yet.
    pub async fn execute(&self, command: Command) -> Result<Reply, Trouble> {
        let until = Instant::now() + LIMIT;
        let connected = limited(until, self.connection()).await;
        let mut connected = connected.map_err(|error| {
            self.complain(&error);
            trouble(&error)
        })?;
        if !connected.is_ours && !matches!(command, Command::Beat { .. }) {
            return Err(Trouble::Refused);
        }
        let executed = self.scripts.execute(&mut connected.connection, &command);
        match limited(until, executed).await {
            Ok(Executed { reply, log_end }) => {
                if let Reply::Listing(listing) = &reply {
                    let is_ours = listing.authority == self.authority;
                    self.note(connected.number, is_ours).await;
                    self.log_end.send_replace(log_end.filter(|_| is_ours));
                }
                let has_written = reply == Reply::Written;
                self.complaints.succeeded(self.provider.url(), has_written);
                Ok(reply)
            }
            Err(error) => {
                self.complain(&error);
                if trouble(&error) != Trouble::Refused {
                    self.disconnect(connected.number).await;
                }
                Err(trouble(&error))
            }
        }
    }

    /// The connection in use, or a new one, of which it is known whose Redis it leads to.
    async fn connection(&self) -> RedisResult<Connected> {
        let mut slot = self.slot.lock().await;
        if let Some(connected) = &slot.connected {
            return Ok(connected.clone());
        }
        let mut connection = self.provider.connect(LIMIT).await?;
        let is_ours = self.is_ours(&mut connection).await?;
        let evicts = may_evict(&mut connection).await;
        self.evicts.send_replace(Some(evicts));
        slot.number += 1;
        let connected = Connected {
            number: slot.number,
            is_ours,
            connection,
        };
        slot.connected = Some(connected.clone());
        Ok(connected)
    }

    /// Whether our authority is the one that is noted, as it is from now on if there was none.
    async fn is_ours(&self, connection: &mut Connection) -> RedisResult<bool> {
        // A counter that is never higher than what is there.
        let beat = Command::Beat {
            boot: self.boot,
            counter: 0,
            authority: self.authority,
        };
        let executed = self.scripts.execute(connection, &beat).await?;
        let authority = self.authority;
        Ok(matches!(executed.reply, Reply::Listing(listing) if listing.authority == authority))
    }

    /// Notes whose Redis a connection leads to.
    async fn note(&self, number: u64, is_ours: bool) {
        let mut slot = self.slot.lock().await;
        if let Some(connected) = slot.connected.as_mut().filter(|it| it.number == number) {
            connected.is_ours = is_ours;
        }
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

    /// Lets go of a connection, unless another one is in use already. The next one may lead
    /// elsewhere.
    async fn disconnect(&self, number: u64) {
        let mut slot = self.slot.lock().await;
        if slot
            .connected
            .as_ref()
            .is_some_and(|it| it.number == number)
        {
            slot.connected = None;
            self.log_end.send_replace(None);
        }
    }
}

/// Whether a server may evict keys that do not expire, or any of a cluster. One that does
/// not say is trusted.
async fn may_evict(connection: &mut Connection) -> bool {
    let mut info = Cmd::new();
    info.arg("INFO").arg("memory");
    match info.query_async(connection).await {
        Ok(Value::Map(servers)) => servers.iter().any(|(_, info)| says_evicting(info)),
        Ok(info) => says_evicting(&info),
        Err(_) => false,
    }
}

fn says_evicting(info: &Value) -> bool {
    let info: String = FromRedisValue::from_redis_value_ref(info).unwrap_or_default();
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
