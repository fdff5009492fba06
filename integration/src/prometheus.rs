//! Prometheus as an operator runs it, on a port and in a folder of its own: rules and targets go in, alerts and
//! values come out.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Http, Process, redis_server::free_port, until};

/// A running server, which scrapes and evaluates each second. It keeps nothing over its end.
pub struct Prometheus {
    _process: Process,
    http: Http,
    _folder: TempDir,
}

/// An alert that is pending or firing.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// Its name is the label `alertname`.
    pub labels: BTreeMap<String, String>,
    /// Its texts, with labels and values in them.
    pub annotations: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: String,
}

/// A rule, as Prometheus has read it.
#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    /// `alerting` or `recording`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The alert's name, or the metric's that it records.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// Labels that it adds.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Texts of an alert, as templates.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A series' value at one time.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    /// Its labels; its name, if it has one, is `__name__`.
    pub metric: BTreeMap<String, String>,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    error: Option<String>,
    data: Option<Value>,
}

/// A program of Prometheus' package: the one that test.sh has unpacked, else that of the system.
fn program(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let unpacked = root.join("target/prometheus/usr/bin").join(name);
    match unpacked.exists() {
        true => Command::new(unpacked),
        false => Command::new(name),
    }
}

/// Runs Prometheus' own tool for rules in a folder: whether all was well, and what it said.
///
/// # Panics
///
/// If it is not there.
pub async fn promtool(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = program("promtool");
    let output = command.args(arguments).current_dir(folder).output().await;
    let output = output.expect("promtool is there; ./test.sh --install-only brings it");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

impl Prometheus {
    /// Starts one with a file of rules, which scrapes targets of the job `nanod`: what the label `instance` says, and
    /// where. Waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not start, or not in time.
    pub async fn start(rules: &str, targets: &[(&str, SocketAddr)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let write = |name: &str, text: &str| {
            let path: PathBuf = folder.path().join(name);
            fs::write(&path, text).expect("a temporary file can be written");
            path
        };
        write("rules.yml", rules);
        let config = write("prometheus.yml", &config(targets));
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = program("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        let mut process = Process::start(&mut command);
        let http = Http::at(address);
        until("Prometheus to be ready", async || {
            assert!(!process.has_ended(), "Prometheus ended before it was ready");
            let listens = tokio::net::TcpStream::connect(address).await.is_ok();
            let is_ready = listens && get(http, "/-/ready").await.0 == 200;
            is_ready.then_some(())
        })
        .await;
        Self {
            _process: process,
            http,
            _folder: folder,
        }
    }

    /// Its alerts that are pending or firing.
    pub async fn alerts(&self) -> Vec<Alert> {
        #[derive(Deserialize)]
        struct Data {
            alerts: Vec<Alert>,
        }
        self.ask::<Data>("/api/v1/alerts").await.alerts
    }

    /// Its rules.
    pub async fn rules(&self) -> Vec<Rule> {
        #[derive(Deserialize)]
        struct Data {
            groups: Vec<Group>,
        }
        #[derive(Deserialize)]
        struct Group {
            rules: Vec<Rule>,
        }
        let data: Data = self.ask("/api/v1/rules").await;
        data.groups
            .into_iter()
            .flat_map(|group| group.rules)
            .collect()
    }

    /// What an expression gives now.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    ///
    /// # Panics
    ///
    /// If it gives anything but an instant vector.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        #[derive(Deserialize)]
        struct Data {
            result: Vec<Sample>,
        }
        let path = format!("/api/v1/query?query={}", escaped(expression));
        let data: Data = self.try_ask(&path).await?;
        Ok(data.result)
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> T {
        let answered = self.try_ask(path).await;
        answered.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let (_, body) = get(self.http, path).await;
        let answer: Answer = serde_json::from_slice(&body).expect("Prometheus answers in JSON");
        match answer.data {
            Some(data) if answer.status == "success" => {
                Ok(serde_json::from_value(data).expect("the data is as its documents say"))
            }
            _ => Err(answer.error.unwrap_or_default()),
        }
    }
}

impl Alert {
    /// Whether it fires.
    #[must_use]
    pub fn is_firing(&self) -> bool {
        self.state == "firing"
    }

    /// Whether it has a label with a value.
    #[must_use]
    pub fn has(&self, label: &str, value: &str) -> bool {
        self.labels.get(label).is_some_and(|it| it == value)
    }
}

impl Sample {
    /// The value.
    ///
    /// # Panics
    ///
    /// If it is no number.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value.1.parse().expect("a value is a number")
    }
}

/// By HTTP/1.0, so that the body comes as it is.
async fn get(http: Http, path: &str) -> (u16, Vec<u8>) {
    let response = http.send(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
    (response.status, response.body)
}

fn config(targets: &[(&str, SocketAddr)]) -> String {
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n\
        rule_files: [rules.yml]\n\
        scrape_configs:\n- job_name: nanod\n  static_configs:\n"
        .to_owned();
    if targets.is_empty() {
        config += "  - targets: []\n";
    }
    for (name, address) in targets {
        config += &format!("  - {{targets: [\"{address}\"], labels: {{instance: {name}}}}}\n");
    }
    config
}

/// As a part of a query has to be.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
