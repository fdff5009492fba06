//! HTTP load by wrk, which posts one message over and over.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nano_integration::go_nano::GoHttp;
use serde_json::json;
use tokio::process::Command;

use crate::{
    Result,
    load::{BODY_SIZE, Pace},
};

/// A script of wrk, and where it posts.
pub(crate) struct Wrk {
    script: PathBuf,
    address: String,
    message: String,
}

impl Wrk {
    /// Posts messages to `pattern` at `address`; the script is kept in `folder`.
    pub(crate) fn new(folder: &Path, address: &str, pattern: &str) -> Result<Self> {
        let script = folder.join("post.lua");
        let message = message(pattern);
        let text = SCRIPT.replace("MESSAGE", &message);
        fs::write(&script, text).map_err(|error| format!("cannot write {script:?}: {error}"))?;
        Ok(Self {
            script,
            address: address.to_owned(),
            message,
        })
    }

    /// Posts the message once, since wrk does not look at answers: each is to be an echo.
    pub(crate) async fn check(&self) -> Result<()> {
        let sent = self.message.clone();
        let answer = GoHttp::default().post(&self.address, "/", sent).await?;
        if answer.status != 200 || answer.body != self.message.as_bytes() {
            return Err(format!(
                "{} was no echo of {}: {answer:?}",
                self.address, self.message
            )
            .into());
        }
        Ok(())
    }

    /// The command of one round, which wrk counts in whole seconds. It cannot end after so many
    /// calls, so a round of a few takes one of them.
    pub(crate) fn command(&self, pace: Pace) -> Command {
        let connections = pace.in_flight;
        let seconds = match pace.calls {
            Some(_) => 1,
            None => pace.millis.div_ceil(1000),
        };
        let mut command = Command::new("wrk");
        command
            .args(["--threads", &connections.min(2).to_string()])
            .args(["--connections", &connections.to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .args(["--timeout", "10s"])
            .arg("--script")
            .arg(&self.script)
            .arg(format!("http://{}/", self.address));
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
        '{"calls":%d,"calls_per_s":%.1f,"p50_us":%.1f,"p99_us":%.1f,"failures":%d}\n',
        summary.requests, summary.requests / summary.duration * 1e6,
        latency:percentile(50), latency:percentile(99), failures))
end
"#;

/// A message of [`BODY_SIZE`] bytes.
fn message(pattern: &str) -> String {
    let with = |fill: &str| json!({"Fill": fill, "Pattern": pattern}).to_string();
    let room = BODY_SIZE.saturating_sub(with("").len());
    with(&"x".repeat(room))
}
