//! What is wrong with a configuration: each [`Error`] names the setting, the value, where it came
//! from and what was expected; [`Errors`] shows all of them, a line each.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::{access::TokenError, cluster::RedisAccessError, observe::otlp::OtlpError};

/// Everything that is wrong with a configuration, at once.
#[derive(Debug)]
pub struct Errors(Vec<Error>);

impl Errors {
    pub(super) fn new(errors: Vec<Error>) -> Errors {
        Errors(errors)
    }

    /// The errors one by one: the file's own first, then in the order of the settings.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        write!(f, "{} {noun} in the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for Errors {}

/// One thing that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value is not what its setting accepts.
    #[error("{key}: {value} from {origin} is not {expected}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// The value as it was given, text in quotes.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What the setting accepts.
        expected: String,
    },
    /// The file has a key that names no setting.
    #[error("{key:?}: unknown setting at {origin}{}", did_you_mean(*.suggestion))]
    Unknown {
        /// The key as it was written.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The setting that may have been meant.
        suggestion: Option<&'static str>,
    },
    /// The file is not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// Where it stops being TOML.
        origin: Origin,
        /// What the parser says about it.
        message: String,
    },
    /// The file that was named cannot be read.
    #[error("config: {path:?} from {origin} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// Why it cannot be read.
        reason: io::Error,
    },
    /// The cluster's secret is too short, too long, or given twice. It is never shown.
    #[error("cluster_secret: {0}")]
    ClusterSecret(nano_tls::Error),
    /// Tokens are given twice. None is shown.
    #[error("tokens: {0}")]
    Tokens(TokenError),
    /// What OpenTelemetry's variables say of the export of spans is wrong. No header is shown.
    #[error("otlp_endpoint: {0}")]
    Otlp(OtlpError),
    /// What is said of Redis does not go together. No password is shown.
    #[error(transparent)]
    Redis(RedisAccessError),
    /// Nobody says where the node's state belongs, not even the environment.
    #[error(
        "state: no folder for it, as none of STATE_DIRECTORY, XDG_STATE_HOME and HOME is set; \
         give --state"
    )]
    NoState,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by its name without the dashes.
    Flag(String),
    /// An environment variable, by its name.
    Variable(String),
    /// A place in the TOML file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Variable(name) => f.write_str(name),
            Origin::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
        }
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion
        .map(|key| format!("; did you mean {key}?"))
        .unwrap_or_default()
}
