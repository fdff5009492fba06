//! A browser as its users have it: Chromium without a window, told what to do by WebDriver. Steps of a
//! user come in; what the page holds then goes out.

use std::{
    env,
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustix::process::geteuid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::{PATIENCE, Process, until};

/// How Chromium is started: without a window, and without a word to anybody but the page's node.
const FLAGS: [&str; 9] = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
];

/// The keys that have no character, as WebDriver names them.
pub mod keys {
    /// Moves the focus on.
    pub const TAB: char = '\u{e004}';
    /// Presses what has the focus.
    pub const ENTER: char = '\u{e007}';
    /// Held with others.
    pub const SHIFT: char = '\u{e008}';
    /// Opens a branch.
    pub const RIGHT: char = '\u{e014}';
    /// Closes it.
    pub const LEFT: char = '\u{e012}';
    /// To the next row.
    pub const DOWN: char = '\u{e015}';
    /// To the one before.
    pub const UP: char = '\u{e013}';
}

/// A page in a browser of its own. Both its processes end with it.
pub struct Browser {
    driver: HttpClient<HttpConnector, Full<Bytes>>,
    /// The address of what is told to the driver of this page.
    session: String,
    // The driver goes first, so that it does not miss the browser.
    driver_process: Process,
    chromium: Process,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page, as a desktop shows it.
    ///
    /// # Panics
    ///
    /// If the browser or its driver does not start.
    pub async fn open(address: &str) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder can be made");
        let chromium = chromium(profile.path());
        let port = debugging_port(profile.path()).await;
        let (driver_process, at) = driver().await;
        let mut browser = Self {
            driver: HttpClient::builder(TokioExecutor::new()).build_http(),
            session: format!("http://{at}/session"),
            driver_process,
            chromium,
            _profile: profile,
        };
        let wanted = json!({
            "goog:chromeOptions": {"debuggerAddress": format!("127.0.0.1:{port}")},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let wanted = json!({"capabilities": {"alwaysMatch": wanted}});
        let opened = browser.command(Method::POST, "", wanted).await;
        let session = opened["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("http://{at}/session/{session}");
        browser.resize(1440, 900).await;
        browser.go(address).await;
        browser
    }

    /// Ends both processes, the browser as its users do.
    pub async fn close(mut self) {
        self.command(Method::DELETE, "", Value::Null).await;
        self.chromium.terminate().await;
        self.driver_process.terminate().await;
    }

    /// Goes to a page, and waits until it is loaded.
    pub async fn go(&self, address: &str) {
        self.command(Method::POST, "/url", json!({"url": address}))
            .await;
    }

    /// Runs JavaScript in the page: the body of a function, which returns a value.
    pub async fn run(&self, script: &str, arguments: Value) -> Value {
        let body = json!({"script": script, "args": arguments});
        self.command(Method::POST, "/execute/sync", body).await
    }

    /// The same, for one that calls its last argument with the value.
    pub async fn run_async(&self, script: &str, arguments: Value) -> Value {
        let body = json!({"script": script, "args": arguments});
        self.command(Method::POST, "/execute/async", body).await
    }

    /// Waits until an expression of JavaScript is neither false nor empty, and gives its value.
    ///
    /// # Panics
    ///
    /// If it is not in time.
    pub async fn until(&self, expression: &str) -> Value {
        let script = format!("return ({expression}) || null;");
        until(expression, async || {
            let value = self.run(&script, json!([])).await;
            (!value.is_null()).then_some(value)
        })
        .await
    }

    /// Waits until an element that a selector finds has text in it.
    pub async fn until_text(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        let found = format!(
            "[...document.querySelectorAll({selector})].some((one) => one.textContent.includes({text}))"
        );
        self.until(&found).await;
    }

    /// The text of the first element that a selector finds; empty if there is none.
    pub async fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.textContent ?? '';";
        let text = self.run(script, json!([selector])).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// How many elements a selector finds.
    pub async fn count(&self, selector: &str) -> u64 {
        let script = "return document.querySelectorAll(arguments[0]).length;";
        let count = self.run(script, json!([selector])).await;
        count.as_u64().unwrap_or_default()
    }

    /// Clicks an element as a pointer does.
    pub async fn click(&self, selector: &str) {
        let find = json!({"using": "css selector", "value": selector});
        let found = self.command(Method::POST, "/element", find).await;
        let id = found.as_object().and_then(|found| found.values().next());
        let id = id.and_then(Value::as_str).expect("an element has an id");
        let path = format!("/element/{id}/click");
        self.command(Method::POST, &path, json!({})).await;
    }

    /// Types a text, or presses keys one after another.
    pub async fn press(&self, keys: &str) {
        let steps = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|step| json!({"type": step, "value": key.to_string()}))
        });
        self.act(steps.collect()).await;
    }

    /// Presses a key while another one is held.
    pub async fn press_with(&self, held: char, key: char) {
        let step = |step, key: char| json!({"type": step, "value": key.to_string()});
        let steps = [
            step("keyDown", held),
            step("keyDown", key),
            step("keyUp", key),
            step("keyUp", held),
        ];
        self.act(steps.into()).await;
    }

    async fn act(&self, steps: Vec<Value>) {
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": steps});
        let body = json!({"actions": [keyboard]});
        self.command(Method::POST, "/actions", body).await;
    }

    /// Has the page as wide and high, in CSS pixels.
    pub async fn resize(&self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    /// Has the system ask for `light` or `dark`.
    pub async fn scheme(&self, name: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": name});
        let features = json!({"features": [feature]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// What is in sight, as PNG.
    ///
    /// # Panics
    ///
    /// If the browser draws nothing.
    pub async fn screenshot(&self) -> Vec<u8> {
        let drawn = self.command(Method::GET, "/screenshot", Value::Null).await;
        let drawn = drawn.as_str().map(|text| BASE64_STANDARD.decode(text));
        drawn.and_then(Result::ok).expect("a picture in base64")
    }

    /// What the console has said since it was asked last, each with its level.
    pub async fn console(&self) -> Vec<String> {
        let said = self
            .command(Method::POST, "/se/log", json!({"type": "browser"}))
            .await;
        let said = said.as_array().cloned().unwrap_or_default();
        said.iter()
            .map(|line| format!("{}: {}", line["level"], line["message"]))
            .collect()
    }

    /// A command of the `DevTools` protocol.
    async fn devtools(&self, name: &str, parameters: Value) -> Value {
        let body = json!({"cmd": name, "params": parameters});
        self.command(Method::POST, "/goog/cdp/execute", body).await
    }

    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        let path = format!("{}{path}", self.session);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request::builder().method(method).uri(&path);
        let request = request.body(Full::from(body)).expect("a path is valid");
        let exchange = async {
            let response = self.driver.request(request).await?;
            let status = response.status();
            Ok::<_, Box<dyn Error>>((status, response.into_body().collect().await?.to_bytes()))
        };
        let answered = timeout(2 * PATIENCE, exchange).await;
        let answered = answered.unwrap_or_else(|_| panic!("{path}: no answer of the driver"));
        let (status, body) = answered.unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut answer: Value = serde_json::from_slice(&body).expect("the driver speaks JSON");
        assert!(status.is_success(), "{path}: {answer}");
        answer["value"].take()
    }
}

/// The library that finds what keeps people out of a page: the file that `test.sh` has unpacked.
///
/// # Panics
///
/// If it is not there.
#[must_use]
pub fn axe() -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let file = workspace.expect("the crate lies in the workspace");
    let file = file.join("target/axe-core/package/axe.min.js");
    fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!(
            "./test.sh --install-only brings {}: {error}",
            file.display()
        )
    })
}

fn chromium(profile: &Path) -> Process {
    let mut command = Command::new(program("CHROMIUM", "chromium"));
    command
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank");
    if geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    Process::start(&mut command)
}

/// The port of its debugger, which it writes down when it listens.
async fn debugging_port(profile: &Path) -> u16 {
    let file = profile.join("DevToolsActivePort");
    until("the browser to listen", async || {
        fs::read_to_string(&file).ok()?.lines().next()?.parse().ok()
    })
    .await
}

async fn driver() -> (Process, SocketAddr) {
    let mut command = Command::new(program("CHROMEDRIVER", "chromedriver"));
    command.arg("--port=0");
    let mut process = Process::start(&mut command);
    loop {
        let line = process.line().await.expect("the driver says where it is");
        let port = line.split_once("successfully on port ");
        if let Some((_, port)) = port {
            let port = port.trim_end_matches('.').parse();
            let port: u16 = port.expect("a port is a number");
            return (process, SocketAddr::from(([127, 0, 0, 1], port)));
        }
    }
}

fn program(variable: &str, name: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| name.into(), PathBuf::from)
}
