//! Commands as scripts: in go a command and a connection, out comes what the script
//! answers, with every seal looked at.

use ::redis::{ErrorKind, RedisError, RedisResult, Script, Value, aio::ConnectionLike};

use super::{
    super::{
        command::{Change, Command, Listing, Page, Reply, Stored},
        head::{Fingerprint, Head},
        layout,
        record::{Boot, Key, Record},
        seal::Sealer,
    },
    log::Position,
    names::Names,
};

/// Deltas that the log keeps, about.
const LOG: usize = 10_000;

/// Records of a page that is read, about.
const PAGE: usize = 500;

/// How long a set that was begun to be staged is of any use.
const STAGED_MILLIS: usize = 60_000;

/// The scripts of one namespace.
pub(super) struct Scripts {
    pub(super) names: Names,
    pub(super) sealer: Sealer,
    beat: Script,
    change: Script,
    stage: Script,
    install: Script,
    read: Script,
    collect: Script,
    discard: Script,
}

/// A script that looks at what a stranger may have written.
macro_rules! wary {
    ($file:literal) => {
        Script::new(concat!(include_str!("strange.lua"), include_str!($file)))
    };
}

/// What a command came to.
pub(super) struct Executed {
    pub(super) reply: Reply,
    /// Where the log ends, if it was a beat.
    pub(super) log_end: Option<Position>,
}

type Fields = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Scripts {
    pub(super) fn new(namespace: &str, key: &[u8; 32]) -> Self {
        Self {
            names: Names::new(namespace),
            sealer: Sealer::new(key, namespace),
            beat: wary!("beat.lua"),
            change: wary!("change.lua"),
            stage: Script::new(include_str!("stage.lua")),
            install: wary!("install.lua"),
            read: Script::new(include_str!("read.lua")),
            collect: Script::new(include_str!("collect.lua")),
            discard: wary!("discard.lua"),
        }
    }

    /// Executes a command. It may be given again whatever comes of it.
    pub(super) async fn execute(
        &self,
        connection: &mut impl ConnectionLike,
        command: &Command,
    ) -> RedisResult<Executed> {
        let reply = match command {
            Command::Beat {
                boot,
                counter,
                authority,
            } => return self.beat(connection, *boot, *counter, authority).await,
            Command::Change(change) => self.change(connection, change).await,
            Command::Stage {
                boot,
                attempt,
                records,
            } => self.stage(connection, *boot, *attempt, records).await,
            Command::Install {
                boot,
                attempt,
                counter,
                head,
            } => {
                self.install(connection, (*boot, *attempt), *counter, head)
                    .await
            }
            Command::ReadPage { boot, cursor } => self.read(connection, *boot, *cursor).await,
            Command::Collect { boot, counter } => self.collect(connection, *boot, *counter).await,
            Command::Discard { boot, version } => self.discard(connection, *boot, *version).await,
        };
        Ok(Executed {
            reply: reply?,
            log_end: None,
        })
    }

    async fn beat(
        &self,
        connection: &mut impl ConnectionLike,
        boot: Boot,
        counter: u64,
        authority: &Fingerprint,
    ) -> RedisResult<Executed> {
        let mut script = self.beat.prepare_invoke();
        script.key(self.names.nodes()).key(self.names.authority());
        script.key(self.names.set(boot)).key(self.names.log());
        script
            .arg(&boot.0)
            .arg(layout::counter(&self.sealer, boot, counter));
        let answer: Vec<Value> = script.arg(authority).invoke_async(connection).await?;
        let authority = answer.first().and_then(bytes).ok_or_else(garbled)?;
        let mut listing = Listing {
            // One of another length is another's all the more.
            authority: authority.try_into().unwrap_or_default(),
            ..Listing::default()
        };
        let [_, version, count, end, entries] = answer.as_slice() else {
            return Ok(Executed {
                reply: Reply::Listing(listing),
                log_end: None,
            });
        };
        listing.own = stored(version, count);
        self.list(entries, &mut listing)?;
        if !listing.entries.contains_key(&boot) {
            // What it says of the own set is not the owner's word.
            listing.own = None;
        }
        Ok(Executed {
            reply: Reply::Listing(listing),
            log_end: bytes(end).and_then(Position::parse),
        })
    }

    fn list(&self, entries: &Value, listing: &mut Listing) -> RedisResult<()> {
        for (boot, entry) in pairs(entries).ok_or_else(garbled)? {
            let boot = <[u8; 16]>::try_from(boot).map(Boot).ok();
            let read = |boot| Some((boot, layout::read_entry(&self.sealer, boot, entry)?));
            match boot.and_then(read) {
                Some((boot, entry)) => drop(listing.entries.insert(boot, entry)),
                None => listing.forged += 1,
            }
        }
        Ok(())
    }

    async fn change(
        &self,
        connection: &mut impl ConnectionLike,
        change: &Change,
    ) -> RedisResult<Reply> {
        let Change {
            boot,
            from,
            head,
            records,
        } = change;
        let fields = self.fields(*boot, records.iter().map(|(key, it)| (key, it.as_ref())));
        let versions = (*from, head.version);
        let mut script = self.change.prepare_invoke();
        script
            .key(self.names.nodes())
            .key(self.names.set(*boot))
            .key(self.names.log());
        script.arg(&boot.0).arg(layout::digits(*from));
        script.arg(layout::head(&self.sealer, *boot, head));
        script
            .arg(layout::delta(&self.sealer, *boot, versions, &fields))
            .arg(LOG);
        let (puts, removed): (Fields, Fields) =
            fields.into_iter().partition(|(_, value)| value.is_some());
        script.arg(puts.len());
        for (field, value) in puts.into_iter().chain(removed) {
            script.arg(field);
            // Of what is removed there is none.
            if let Some(value) = value {
                script.arg(value);
            }
        }
        written(&script.invoke_async::<Vec<Value>>(connection).await?)
    }

    async fn stage(
        &self,
        connection: &mut impl ConnectionLike,
        boot: Boot,
        attempt: u64,
        records: &[(Key, Record)],
    ) -> RedisResult<Reply> {
        let mut script = self.stage.prepare_invoke();
        script
            .key(self.names.staged(boot, attempt))
            .arg(STAGED_MILLIS);
        let records = records.iter().map(|(key, record)| (key, Some(record)));
        for (field, value) in self.fields(boot, records) {
            script.arg(field).arg(value);
        }
        written(&script.invoke_async::<Vec<Value>>(connection).await?)
    }

    async fn install(
        &self,
        connection: &mut impl ConnectionLike,
        (boot, attempt): (Boot, u64),
        counter: u64,
        head: &Head,
    ) -> RedisResult<Reply> {
        let sealer = &self.sealer;
        let versions = (head.version, head.version);
        let entry = [
            layout::counter(sealer, boot, counter),
            layout::head(sealer, boot, head),
        ];
        let mut script = self.install.prepare_invoke();
        script.key(self.names.nodes()).key(self.names.set(boot));
        script
            .key(self.names.log())
            .key(self.names.staged(boot, attempt));
        script.arg(&boot.0).arg(entry.concat()).arg(head.sum.count);
        script
            .arg(layout::delta(sealer, boot, versions, &[]))
            .arg(LOG);
        written(&script.invoke_async::<Vec<Value>>(connection).await?)
    }

    async fn read(
        &self,
        connection: &mut impl ConnectionLike,
        boot: Boot,
        cursor: u64,
    ) -> RedisResult<Reply> {
        let mut script = self.read.prepare_invoke();
        script.key(self.names.nodes()).key(self.names.set(boot));
        script.arg(&boot.0).arg(cursor).arg(PAGE);
        let answer: Vec<Value> = script.invoke_async(connection).await?;
        let mut page = Page {
            head: None,
            next: 0,
            records: Vec::new(),
            forged: 0,
        };
        let [head, next, records] = answer.as_slice() else {
            return Ok(Reply::Page(page));
        };
        page.head = bytes(head).and_then(|head| layout::read_head(&self.sealer, boot, head));
        page.forged = u32::from(page.head.is_none());
        page.next = bytes(next).and_then(decimal).ok_or_else(garbled)?;
        for (field, value) in pairs(records).ok_or_else(garbled)? {
            match layout::read_record(&self.sealer, boot, field, value) {
                Some(record) => page.records.push(record),
                // The version.
                None if field.is_empty() => {}
                None => page.forged += 1,
            }
        }
        Ok(Reply::Page(page))
    }

    async fn collect(
        &self,
        connection: &mut impl ConnectionLike,
        boot: Boot,
        counter: u64,
    ) -> RedisResult<Reply> {
        let mut script = self.collect.prepare_invoke();
        script.key(self.names.nodes()).key(self.names.set(boot));
        script.arg(&boot.0).arg(layout::digits(counter));
        Ok(Reply::Collected(script.invoke_async(connection).await?))
    }

    async fn discard(
        &self,
        connection: &mut impl ConnectionLike,
        boot: Boot,
        version: u64,
    ) -> RedisResult<Reply> {
        let mut script = self.discard.prepare_invoke();
        script.key(self.names.nodes()).key(self.names.set(boot));
        script.arg(&boot.0).arg(layout::digits(version));
        written(&script.invoke_async::<Vec<Value>>(connection).await?)
    }

    fn fields<'a>(
        &self,
        boot: Boot,
        records: impl Iterator<Item = (&'a Key, Option<&'a Record>)>,
    ) -> Fields {
        let field = |(key, record): (&Key, Option<&Record>)| {
            let field = layout::field(key);
            let value = record.map(|it| layout::record(&self.sealer, boot, &field, it));
            (field, value)
        };
        records.map(field).collect()
    }
}

/// What a script says that writes.
fn written(answer: &[Value]) -> RedisResult<Reply> {
    match answer {
        [Value::Int(1)] => Ok(Reply::Written),
        [Value::Int(0), version] => {
            let version = bytes(version).ok_or_else(garbled)?;
            Ok(Reply::Stored(layout::number(version)))
        }
        _ => Err(garbled()),
    }
}

fn stored(version: &Value, count: &Value) -> Option<Stored> {
    let version = layout::number(bytes(version)?)?;
    let Value::Int(count) = count else {
        return None;
    };
    Some(Stored {
        version,
        count: u64::try_from(*count).ok()?,
    })
}

pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn pairs(value: &Value) -> Option<Vec<(&[u8], &[u8])>> {
    let Value::Array(values) = value else {
        return None;
    };
    values.chunks(2).map(pair).collect()
}

fn pair(values: &[Value]) -> Option<(&[u8], &[u8])> {
    match values {
        [one, other] => Some((bytes(one)?, bytes(other)?)),
        _ => None,
    }
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn garbled() -> RedisError {
    (
        ErrorKind::UnexpectedReturnType,
        "a script answered something else",
    )
        .into()
}
