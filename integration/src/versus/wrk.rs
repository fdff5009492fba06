//! HTTP load by wrk, which posts one message over and over.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tokio::process::Command;

use crate::{Result, load::BODY_SIZE};

/// A script of wrk, and where it posts.
pub(crate) struct Wrk {
    script: PathBuf,
    url: String,
}

impl Wrk {
    /// Posts messages to `pattern` at `address`; the script is kept in `folder`.
    pub(crate) fn new(folder: &Path, address: &str, pattern: &str) -> Result<Self> {
        let script = folder.join("post.lua");
        let text = SCRIPT.replace("MESSAGE", &message(pattern));
        fs::write(&script, text).map_err(|error| format!("cannot write {script:?}: {error}"))?;
        Ok(Self {
            script,
            url: format!("http://{address}/"),
        })
    }

    /// The command of one round.
    pub(crate) fn command(&self, connections: usize, seconds: u64) -> Command {
        let mut command = Command::new("wrk");
        command
            .args(["--threads", &connections.min(2).to_string()])
            .args(["--connections", &connections.to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .args(["--timeout", "10s"])
            .arg("--script")
            .arg(&self.script)
            .arg(&self.url);
        command
    }
}

/// Ends what wrk prints for people with a line of [`Figures`](crate::load::Figures).
const SCRIPT: &str = r#"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[MESSAGE]]

function done(summary, latency)
    local errors = summary.errors
    local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    io.write(string.format(
        '{"calls":%d,"calls_per_s":%.1f,"p99_us":%.1f,"failures":%d}\n',
        summary.requests, summary.requests / summary.duration * 1e6,
        latency:percentile(99), failures))
end
"#;

/// A message of [`BODY_SIZE`] bytes.
fn message(pattern: &str) -> String {
    let with = |fill: &str| json!({"Fill": fill, "Pattern": pattern}).to_string();
    let room = BODY_SIZE.saturating_sub(with("").len());
    with(&"x".repeat(room))
}
