//! The program's commands, as a newcomer types them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    process::{Output, Stdio},
    time::Instant,
};

use nano_client::{Client, Options};
use nano_integration::{ANY, Demo, Http, Node, PATIENCE, Process, nanod, until};
use serde_json::{Value, json};
use tokio::process::Command;

async fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().await.unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_messages_travel_and_its_curl_lines_work() {
    let mut demo =
        Process::start(nanod().args(["demo", "--http", ANY, "--quic", ANY, "--admin", ANY]));
    let mut lines = Vec::new();
    loop {
        let line = demo.line().await.expect("the demo stays");
        if line.contains("Ctrl-C") {
            break;
        }
        lines.push(line);
    }
    let shown = lines.join("\n");
    for answer in [
        r#"{"Result":3}"#,
        r#"{"Result":true}"#,
        r#"{"Result":0}"#,
        "no_route",
    ] {
        assert!(shown.contains(answer), "{shown}");
    }
    let curls: Vec<_> = lines
        .iter()
        .filter(|line| line.trim().starts_with("curl -X POST"))
        .collect();
    let expected = [
        (r#"{"Result":3}"#, "200"),
        (r#"{"Result":true}"#, "200"),
        (r#"{"Result":0}"#, "200"),
        ("no_route", "404"),
    ];
    assert_eq!(curls.len(), expected.len(), "{shown}");
    for (curl, (answer, status)) in curls.iter().zip(expected) {
        let line = format!("{curl} --silent --write-out ' %{{http_code}}'");
        let output = run(Command::new("sh").args(["-c", &line])).await;
        let output = said(&output.stdout);
        assert!(
            output.contains(answer) && output.ends_with(status),
            "{curl}: {output}"
        );
    }
    let others = lines
        .iter()
        .filter(|line| line.trim().starts_with("curl http"));
    for (curl, end) in others.zip(["# EOF\n", "readyz check passed\n"]) {
        let output = run(Command::new("sh").args(["-c", &format!("{curl} --silent")])).await;
        let output = said(&output.stdout);
        assert!(output.ends_with(end), "{curl}: {output}");
    }
    demo.signal(rustix::process::Signal::INT);
    assert!(demo.ended().await.success());
}

/// What is still to be seen of the demo's load.
const PICTURE: [&str; 5] = [
    "calls of all patterns",
    "declined cards",
    "calls that take long",
    "calls of no pattern",
    "an instance that is out",
];

/// Whether a period shows each of these.
fn picture(period: &Value) -> [bool; 5] {
    let patterns = period["patterns"].as_array().unwrap();
    let of = |name: &str| patterns.iter().find(|one| one["pattern"] == name);
    let number = |name: &str, what: &str| of(name).and_then(|one| one[what].as_f64());
    let is_called = |name: &&str| number(name, "calls_per_s") > Some(0.0);
    let busy = [
        "role:math,cmd:positive",
        "role:math,cmd:sum",
        "role:shop,cmd:cart",
        "role:shop,cmd:search",
        "role:shop,cmd:stock",
    ];
    let out = of("role:shop,cmd:stock").and_then(|one| one["instances"]["ejected"].as_u64());
    [
        busy.iter().all(is_called),
        number("role:shop,cmd:pay", "failures_per_s") > Some(0.0),
        number("role:shop,cmd:report", "in_flight") > Some(0.0),
        is_called(&"none"),
        out == Some(1),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_keeps_its_services_busy() {
    let mut demo = Demo::start().await;
    let address = demo.page.trim_start_matches("http://");
    let page = Http::at(address.trim_end_matches('/').parse().unwrap());
    assert_eq!(page.get("/").await.status, 200);
    let mut top = Process::start(nanod().args(&demo.top).arg("--json"));
    let mut seen = [false; 5];
    // The instance is given few calls, and has to fail several.
    let end = Instant::now() + 4 * PATIENCE;
    while seen != [true; 5] {
        let missing = PICTURE.iter().zip(seen).filter(|(_, seen)| !seen);
        let missing: Vec<_> = missing.map(|(what, _)| what).collect();
        assert!(Instant::now() < end, "not seen: {missing:?}");
        let period = top.line().await.expect("nanod top stays");
        let shown = picture(&serde_json::from_str(&period).unwrap());
        seen = std::array::from_fn(|at| seen[at] || shown[at]);
    }
    demo.process.signal(rustix::process::Signal::INT);
    assert!(demo.process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_what_to_do_if_its_ports_are_taken() {
    let node = Node::start().await;
    let taken = node.http.to_string();
    let output = run(nanod().args(["demo", "--http", &taken, "--quic", ANY, "--admin", ANY])).await;
    assert!(!output.status.success());
    let said = said(&output.stderr);
    assert!(
        said.contains(&taken) && said.contains("nanod demo --http"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn call_prints_the_answer_or_the_failure() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let call = async |subject: &str, json: &str| {
        let mut command = nanod();
        command.args(["call", subject, json, "--timeout-ms", "300"]);
        command.args(["--node", &node.quic.to_string()]);
        command.arg("--state").arg(node.state());
        let output = run(&mut command).await;
        (
            output.status.code().unwrap(),
            said(&output.stdout),
            said(&output.stderr),
        )
    };
    let (code, out, _) = call("a:1", r#"{"Do":"name"}"#).await;
    assert_eq!(
        (code, out.as_str()),
        (0, "{\"Name\":\"one\",\"Tag\":null}\n")
    );
    let (code, _, err) = call("b:1", "{}").await;
    assert_eq!(code, 4);
    assert!(err.contains("no_route (not_sent)"), "{err}");
    let (code, _, err) = call("a:1", r#"{"Do":"hold"}"#).await;
    assert_eq!(code, 5);
    assert!(err.contains("deadline (maybe_executed)"), "{err}");
    let (code, out, err) = call("a:1", r#"{"Do":"fail"}"#).await;
    assert_eq!((code, out.as_str()), (6, "{\"Luck\":0}\n"));
    assert!(
        err.contains("handler_failed (executed): out of luck"),
        "{err}"
    );
    let (code, _, err) = call("a:1", "{").await;
    assert_eq!(code, 2);
    assert!(err.contains("JSON"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_the_configuration_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nanod.toml");
    std::fs::write(&file, "quic = \"nowhere\"\n\ngrase_ms = 1\n").unwrap();
    let mut command = nanod();
    command.args(["--http", "x", "--config"]).arg(&file);
    command.env("NANO_THREADS", "none");
    let output = run(&mut command).await;
    assert_eq!(output.status.code(), Some(2));
    let said = said(&output.stderr);
    for part in [
        "--http",
        "NANO_THREADS",
        "nanod.toml:1:8",
        "nanod.toml:3:1",
        "grace_ms",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_from_flag_environment_and_file_in_that_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nanod.toml");
    let in_file = folder.path().join("file.json");
    let in_env = folder.path().join("env.json");
    let in_flag = folder.path().join("flag.json");
    let text =
        format!("http = {ANY:?}\nquic = {ANY:?}\nadmin = {ANY:?}\nready_file = {in_file:?}\n");
    std::fs::write(&file, text).unwrap();
    let ready = async |command: &mut Command, path: &std::path::Path| {
        command.arg("--config").arg(&file);
        command.arg("--state").arg(folder.path().join("state"));
        let mut node = Process::start(command);
        until("the node to be ready", async || path.exists().then_some(())).await;
        assert!(node.terminate().await.success());
    };
    ready(&mut nanod(), &in_file).await;
    ready(nanod().env("NANO_READY_FILE", &in_env), &in_env).await;
    let mut flag = nanod();
    flag.env("NANO_READY_FILE", folder.path().join("none"))
        .arg("--ready-file")
        .arg(&in_flag);
    ready(&mut flag, &in_flag).await;
    assert!(!folder.path().join("none").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_made_by_hand_serve_node_service_and_client() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = run(nanod().args(["tls", "init", "--out"]).arg(at("ca"))).await;
    assert!(made.status.success(), "{}", said(&made.stderr));
    for (name, out) in [
        ("node/a", "node"),
        ("service/s", "service"),
        ("client/c", "client"),
    ] {
        let mut issue = nanod();
        issue.args(["tls", "issue", name, "--ca"]).arg(at("ca"));
        issue.arg("--out").arg(at(out));
        let issued = run(&mut issue).await;
        assert!(issued.status.success(), "{}", said(&issued.stderr));
        assert!(said(&issued.stdout).contains(&format!("/{name}")));
    }
    let again = run(nanod().args(["tls", "init", "--out"]).arg(at("ca"))).await;
    assert!(!again.status.success(), "an authority is never overwritten");

    let node = Node::builder()
        .flag("--tls", at("node").display())
        .start()
        .await;
    let _service = node
        .service("one")
        .pattern("a:1")
        .tls(at("service"))
        .start()
        .await;
    let options = Options::default().node(node.quic).tls(at("client"));
    let client = Client::connect(options).await.unwrap();
    let answer: Value = client.act("a:1", &json!({"Do": "name"})).await.unwrap();
    assert_eq!(answer["Name"], "one");

    // A client's certificate makes no node.
    let mut command = nanod();
    command
        .args(["--http", ANY, "--quic", ANY, "--admin", ANY, "--tls"])
        .arg(at("client"));
    command.arg("--state").arg(at("other"));
    let output = run(&mut command).await;
    assert!(!output.status.success());
    assert!(
        said(&output.stderr).contains("not of a node"),
        "{}",
        said(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn help_names_every_setting() {
    let help = said(&run(nanod().arg("--help")).await.stdout);
    for part in [
        "--http",
        "--quic",
        "--admin",
        "--state",
        "--config",
        "--threads",
        "--tls",
        "--ready-file",
        "NANO_HTTP",
        "demo",
        "call",
    ] {
        assert!(help.contains(part), "{part} is missing:\n{help}");
    }
}
