//! What is wrong with Redis, for people: errors and successes come in, a line of the log
//! goes out when something new is wrong, with what to do, and one when it is over.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use super::url::RedisUrl;

/// What was said and is not over.
#[derive(Default)]
pub(super) struct Complaints(Mutex<BTreeSet<Cause>>);

/// What can be wrong, by what is to be done about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Cause {
    /// No connection, or no answer in time.
    Away,
    /// User or password are wrong.
    Login,
    /// The server's certificate is not trusted.
    Certificate,
    /// The server does not trust ours, or misses one.
    OwnCertificate,
    /// No sentinel leads to a master.
    Sentinels,
    /// The server takes no writes.
    ReadOnly,
    /// The user may not do something.
    Rights,
    /// The server refuses a command for another reason.
    Refused,
}

impl Complaints {
    /// Says what is wrong, unless that was said and is not over.
    pub(super) fn failed(&self, url: &RedisUrl, cause: Cause, error: &str) {
        if !self.0.lock().insert(cause) {
            return;
        }
        let advice = cause.advice(url);
        match cause {
            Cause::Away | Cause::ReadOnly => {
                tracing::warn!(redis = %url, %error, "{advice}");
            }
            _ => tracing::error!(redis = %url, %error, "{advice}"),
        }
    }

    /// A command was executed: it is over, but for what keeps others from being executed if
    /// this one wrote nothing.
    pub(super) fn succeeded(&self, url: &RedisUrl, has_written: bool) {
        let mut told = self.0.lock();
        let before = told.len();
        told.retain(|cause| cause.is_of_writes() && !has_written);
        if told.len() < before && told.is_empty() {
            tracing::info!(redis = %url, "Redis does what it is asked again");
        }
    }
}

impl Cause {
    /// What an error is that says it. It goes by the words, since they are all that the
    /// connection to a cluster leaves of an error.
    pub(super) fn of(error: &str) -> Option<Self> {
        let words: [(&str, Self); 10] = [
            ("WRONGPASS", Self::Login),
            ("NOAUTH", Self::Login),
            ("AuthenticationFailed", Self::Login),
            ("NOPERM", Self::Rights),
            ("The user executing the script", Self::Rights),
            ("READONLY", Self::ReadOnly),
            ("invalid peer certificate", Self::Certificate),
            ("received fatal alert", Self::OwnCertificate),
            ("not found in sentinel", Self::Sentinels),
            ("not point to a sentinel", Self::Sentinels),
        ];
        let found = words.iter().find(|(word, _)| error.contains(word));
        found.map(|(_, cause)| *cause)
    }

    fn is_of_writes(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Rights | Self::Refused)
    }

    fn advice(self, url: &RedisUrl) -> &'static str {
        match self {
            // It waits for the end of a line that TLS never sends, or hangs up.
            Self::Away if url.tls => {
                "Redis is away, or does not speak TLS there: this node serves what it knows, and \
                 tries again"
            }
            Self::Away => "Redis is away: this node serves what it knows, and tries again",
            Self::Login => {
                "Redis refuses the login: check user and password in redis and \
                 redis_password_file, and for sentinels redis_sentinel_password_file"
            }
            Self::Certificate => {
                "the certificate of Redis is not trusted: name its authority with redis_ca, and \
                 its host as it is in the certificate"
            }
            Self::OwnCertificate => {
                "Redis does not accept this node's certificate: check redis_cert and redis_key"
            }
            Self::Sentinels => {
                "no sentinel names a master that is up: check the name behind the hosts in redis"
            }
            Self::ReadOnly => {
                "Redis takes no writes: this node serves what it knows, and tries again"
            }
            Self::Rights => {
                "the user of this node lacks rights in Redis: grant what README.md lists"
            }
            Self::Refused => "Redis refuses a command: this node serves what it knows",
        }
    }
}
