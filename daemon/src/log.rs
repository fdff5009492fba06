//! The log: in come lines of all parts, and a filter that says which of them are written, which may be
//! another one while the program runs. What writes them is the process's own, and so is this.

use std::sync::OnceLock;

use anstream::{AutoStream, ColorChoice};
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// The store's library logs each error that it also returns, and the node says what it
/// means. A filter that names the library wins over this.
const QUIET: &str = "sled=off";

/// The log of this process, once it has begun.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    filter: Mutex<String>,
    put: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

/// Why a filter is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It is none.
    #[error("{filter:?} is no filter of logs: {error}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        error: String,
    },
    /// The program has no log, or it cannot be changed.
    #[error("the log cannot be changed: {0}")]
    Fixed(String),
}

/// Begins to log to standard error, as the configuration says; with colours if that is a terminal and
/// NO_COLOR is not set.
///
/// # Errors
///
/// If its filter is none.
pub fn begin(config: &Config) -> Result<(), LogError> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(parse(&config.log)?)
        .with_writer(std::io::stderr)
        .with_ansi(AutoStream::choice(&std::io::stderr()) != ColorChoice::Never);
    macro_rules! begin {
        ($log:expr) => {{
            let log = $log.with_filter_reloading();
            let handle = log.reload_handle();
            log.try_init().map_err(fixed)?;
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }};
    }
    let log = Log {
        filter: Mutex::new(config.log.clone()),
        put: match config.log_format {
            LogFormat::Text => begin!(log),
            LogFormat::Json => begin!(log.json()),
        },
    };
    LOG.set(log).map_err(|_| fixed("it has begun before"))
}

/// The filter that is in force; none if there is no log.
#[must_use]
pub fn filter() -> Option<String> {
    LOG.get().map(|log| log.filter.lock().clone())
}

/// Puts another filter in its place.
///
/// # Errors
///
/// If it is none, or there is no log.
pub fn set_filter(filter: &str) -> Result<(), LogError> {
    let log = LOG.get().ok_or_else(|| fixed("it has not begun"))?;
    let parsed = parse(filter)?;
    let mut current = log.filter.lock();
    (log.put)(parsed).map_err(fixed)?;
    filter.clone_into(&mut current);
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| LogError::Filter {
        filter: filter.to_owned(),
        error: error.to_string(),
    })
}

fn fixed(why: impl ToString) -> LogError {
    LogError::Fixed(why.to_string())
}
