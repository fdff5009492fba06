//! Start, reload and stop of a node, as signals ask for them and a service manager hears of them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

use nano_client::{Body, Client, Code, Service};
use nano_integration::{Load, Node, NodeBuilder, Notices, PATIENCE, nanod, until};
use nix::sys::ptrace;
use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// A file of settings that a test changes.
struct Settings {
    folder: TempDir,
}

impl Settings {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Self { folder };
        settings.write("nanod.toml", text);
        settings
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        let private = Permissions::from_mode(0o600);
        fs::set_permissions(self.path(name), private).unwrap();
    }

    fn node(&self) -> NodeBuilder {
        Node::builder().flag("--config", self.path("nanod.toml").display())
    }
}

fn notifying(notices: &Notices) -> NodeBuilder {
    Node::builder().variable("NOTIFY_SOCKET", notices.address())
}

/// A client whose calls go through the node.
async fn through(node: &Node) -> Client {
    Client::connect(node.options().direct(false)).await.unwrap()
}

fn monotonic_us() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// The number behind `name=` in a notice.
fn number(notice: &str, name: &str) -> i64 {
    let value = notice.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_of_start_reload_and_stop() {
    let notices = Notices::new();
    let mut node = notifying(&notices).flag("--drain-ms", 1_500).start().await;
    let ready = notices.next().await;
    let serving = format!(
        "STATUS=serving HTTP on {} and QUIC on {}",
        node.http, node.quic
    );
    assert_eq!(ready, format!("READY=1\n{serving}\n"));

    let before = monotonic_us();
    node.process.signal(Signal::HUP);
    let reloading = notices.next().await;
    assert!(reloading.starts_with("RELOADING=1\n"), "{reloading}");
    let begun = number(&reloading, "MONOTONIC_USEC=");
    assert!((before..=monotonic_us()).contains(&begun), "{reloading}");
    assert_eq!(notices.next().await, ready);

    node.process.signal(Signal::TERM);
    let stopping = notices.next().await;
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    assert!(stopping.contains("within 1.5 s"), "{stopping}");
    let longest = number(&stopping, "EXTEND_TIMEOUT_USEC=");
    assert!(longest > 1_500_000, "{stopping}");
    assert!(node.process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_ready_without_its_redis() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let notices = Notices::new();
    let _node = notifying(&notices)
        .variable("NANO_CLUSTER_SECRET", "a-secret-of-this-test-alone")
        .flag(
            "--redis",
            format!("redis://{}", silent.local_addr().unwrap()),
        )
        .start()
        .await;
    notices.until("READY=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_refused_shows_in_the_status() {
    let settings = Settings::new("");
    let notices = Notices::new();
    let node = settings.node().variable("NOTIFY_SOCKET", notices.address());
    let node = node.start().await;
    let ready = notices.next().await;
    settings.write("nanod.toml", "drain_ms = 'long'\n\nloud = 1\n");
    node.process.signal(Signal::HUP);
    notices.until("RELOADING=1").await;
    let reloaded = notices.until("READY=1").await;
    assert!(
        reloaded.contains("did not take: configuration"),
        "{reloaded}"
    );
    // Each mistake, where it is.
    for part in [
        "drain_ms: \"long\" from",
        "nanod.toml:1:12",
        "nanod.toml:3:1",
    ] {
        node.process.says(part).await;
    }
    settings.write("nanod.toml", "");
    node.process.signal(Signal::HUP);
    notices.until("RELOADING=1").await;
    assert_eq!(notices.until("READY=1").await, ready);
}

/// After how long the watchdog would bark, and how long none of its food is to come when a node
/// does not deserve it.
const WATCHDOG: Duration = Duration::from_millis(400);
const HUNGER: Duration = Duration::from_secs(2);

async fn watched(notices: &Notices) -> Node {
    let node = notifying(notices).variable("WATCHDOG_USEC", WATCHDOG.as_micros());
    let node = node.start().await;
    for _ in 0..3 {
        notices.until("WATCHDOG=1").await;
    }
    node
}

async fn hungry(notices: &Notices) {
    notices.clear();
    let fed = timeout(HUNGER, notices.next()).await;
    assert_eq!(fed.ok(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_of_a_frozen_node_is_not_fed() {
    let notices = Notices::new();
    let node = watched(&notices).await;
    node.process.signal(Signal::STOP);
    until("all threads to stop", async || {
        node.process.has_stopped().then_some(())
    })
    .await;
    hungry(&notices).await;
    node.process.signal(Signal::CONT);
    notices.until("WATCHDOG=1").await;
}

/// Stops one thread of a child where it is, as a debugger does, until the sender is dropped.
fn hold(thread: i32) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (tell, held) = mpsc::channel();
    thread::spawn(move || {
        let thread = nix::unistd::Pid::from_raw(thread);
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        tell.send(()).unwrap();
        // When its tracer ends, it goes on.
        let _ = released.recv();
    });
    held.recv().unwrap();
    release
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_of_a_node_with_one_thread_that_hangs_is_not_fed() {
    let notices = Notices::new();
    let node = watched(&notices).await;
    let threads = fs::read_dir(format!("/proc/{}/task", node.process.pid())).unwrap();
    let mut threads = threads.map(|thread| thread.unwrap().path());
    let thread = threads.find(|thread| {
        let name = fs::read_to_string(thread.join("comm")).unwrap();
        name == "nano-data-1\n"
    });
    let thread = thread
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse();
    let held = hold(thread.unwrap());
    until("the thread to be missed", async || {
        node.process
            .said()
            .contains("do not go round")
            .then_some(())
    })
    .await;
    hungry(&notices).await;
    drop(held);
    notices.until("WATCHDOG=1").await;
}

/// Whether a handler of the service has begun.
async fn begun(client: &Client) -> Option<()> {
    let count: Value = client.act("a:1", &json!({"Do": "count"})).await.unwrap();
    (count["Begun"] == 1).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let mut node = Node::builder().flag("--drain-ms", 3_600_000).start().await;
        let _service = node.service("one").pattern("a:1").start().await;
        let client = through(&node).await;
        let held =
            tokio::spawn(
                async move { client.act::<_, Value>("a:1", &json!({"Do": "hold"})).await },
            );
        let counter = through(&node).await;
        until("the call to be in flight", async || {
            let count: Value = counter.act("a:1", &json!({"Do": "count"})).await.unwrap();
            (count["Begun"] == 1).then_some(())
        })
        .await;
        node.process.signal(Signal::TERM);
        node.process.says("stopping").await;
        assert!(!node.process.has_ended());
        node.process.signal(second);
        let (status, said) = node.process.last_words().await;
        assert_eq!(status.code(), Some(130), "{said}");
        assert!(said.contains("told to stop twice"), "{said}");
        held.abort();
    }
}

/// A connection that an HTTP client keeps.
struct Kept(TcpStream);

impl Kept {
    async fn to(node: &Node) -> Self {
        Self(TcpStream::connect(node.http).await.unwrap())
    }

    /// The status line of the answer to a call.
    async fn status(&mut self, message: &Value) -> String {
        let body = message.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let whole = async {
            loop {
                self.0.read_buf(&mut answer).await.unwrap();
                let text = String::from_utf8_lossy(&answer).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "));
                    if length.is_some_and(|length| length.parse() == Ok(body.len())) {
                        return head.lines().next().unwrap_or_default().to_owned();
                    }
                }
            }
        };
        timeout(PATIENCE, whole).await.unwrap()
    }
}

/// Has a node read all anew, and waits for a word about it.
async fn reload(node: &Node, words: &str) -> String {
    node.process.signal(Signal::HUP);
    node.process.says(words).await
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_under_load_without_losing_a_connection() {
    let settings = Settings::new("");
    let node = settings.node().start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = through(&node).await;
    let mut kept = Kept::to(&node).await;
    let name = json!({"Pattern": "a:1", "Do": "name"});
    let hold = json!({"Pattern": "a:1", "Do": "hold"});
    assert_eq!(kept.status(&name).await, "HTTP/1.1 200 OK");
    let load = Load::of_processes(&client, "a:1", 4);
    load.runs(50).await;

    let file = "log = 'info,nanod=debug'\ndeadline_ms = 50\nthreads = 1\nmax_connections = 9\n";
    settings.write("nanod.toml", file);
    let said = reload(&node, "no other certificates").await;
    for (part, place) in [
        ("deadline_ms = 50", "nanod.toml:2:15) from now on"),
        ("log = info,nanod=debug", "nanod.toml:1:7) from now on"),
        (
            "max_connections = 9",
            "nanod.toml:4:19) has changed, which takes a restart",
        ),
    ] {
        let line = said.lines().find(|line| line.contains(part));
        assert!(
            line.is_some_and(|line| line.contains(place)),
            "{part}:\n{said}"
        );
    }
    // A flag holds its value, whatever the file says.
    assert!(!said.contains("threads = "), "{said}");
    assert_eq!(kept.status(&hold).await, "HTTP/1.1 504 Gateway Timeout");

    settings.write("nanod.toml", "deadline_ms = 0");
    let said = reload(&node, "nanod.toml:1:15").await;
    assert!(said.contains("the configuration stays as it was"), "{said}");
    assert_eq!(kept.status(&hold).await, "HTTP/1.1 504 Gateway Timeout");

    load.runs(50).await;
    assert_eq!(load.end().await, []);
    assert_eq!(kept.status(&name).await, "HTTP/1.1 200 OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_changes_with_the_settings_or_not_at_all() {
    let settings = Settings::new("http_callers = 'token'");
    settings.write("closed.toml", "default = \"closed\"");
    let node = settings.node().start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let call = async || {
        let message = json!({"Pattern": "a:1", "Do": "name"});
        node.http().post(&message).await.status
    };
    assert_eq!(call().await, 200);
    let rules = |name: &str| format!("rules = {:?}\n", settings.path(name));
    settings.write("nanod.toml", &rules("closed.toml"));
    reload(&node, "closed.toml (").await;
    until("the rules to close", async || {
        (call().await == 403).then_some(())
    })
    .await;

    // Rules that are not there leave what there is, settings included.
    settings.write("nanod.toml", &rules("none.toml"));
    let said = reload(&node, "none.toml (").await;
    assert!(
        said.contains("is not taken, as rules or tokens are not"),
        "{said}"
    );
    assert_eq!(call().await, 403);
    settings.write("none.toml", "default = \"open\"");
    reload(&node, "none.toml (").await;
    until("the rules to open", async || {
        (call().await == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_the_drain_change_while_the_node_runs() {
    let settings = Settings::new("drain_ms = 3600000");
    let mut node = settings.node().start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = through(&node).await;
    let other = client.clone();
    let hold = json!({"Do": "hold"});
    let held = tokio::spawn(async move { other.act::<_, Value>("a:1", &hold).await });
    until("the call to be in flight", async || begun(&client).await).await;
    settings.write("nanod.toml", "drain_ms = 100\nmax_calls = 1");
    reload(&node, "no other certificates").await;
    let message = json!({"Pattern": "a:1", "Do": "name"});
    let response = node.http().post(&message).await;
    assert_eq!(response.header("nano-error"), Some("overloaded"));
    node.process.signal(Signal::TERM);
    let (status, said) = node.process.last_words().await;
    assert!(status.success());
    let failure = held.await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::ConnectionLost);
    assert!(said.contains("cutting off what is left"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_that_has_ended_is_not_waited_for() {
    let mut node = Node::builder().flag("--drain-ms", 3_000).start().await;
    let echo = Service::builder().on_raw("bench:echo", |_, body: Body| async move { Ok(body) });
    let _echo = echo.start(node.options()).await.unwrap();
    let mut bench = nanod();
    bench.args([
        "bench",
        "call",
        "--in-flight",
        "8",
        "--seconds",
        "1",
        "--json",
    ]);
    bench.args(["--node", &node.quic.to_string(), "--state"]);
    let output = bench.arg(node.state()).output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["calls"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["errors"], json!({}));
    node.process.signal(Signal::TERM);
    let (status, said) = node.process.last_words().await;
    assert!(status.success(), "{said}");
    assert!(!said.contains("the time to stop is over"), "{said}");
}
