//! A cluster's shared secret: who holds it belongs together, without any files of certificates.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
};

use nano_client::{Client, ConnectError, Options, Secret, Service};
use nano_integration::{ANY, Node, NodeBuilder, Process, nanod};
use serde_json::{Value, json};

const VARIABLE: &str = "NANO_CLUSTER_SECRET";
const SECRET: &str = "5e1f-a-secret-that-nobody-may-see";
const OTHER: &str = "another-secret-of-some-other-fleet";

fn holder() -> NodeBuilder {
    Node::builder()
        .variable(VARIABLE, SECRET)
        .flag("--log", "trace")
}

/// Nothing but where the node is and the secret.
fn knowing(node: &Node, secret: &str) -> Options {
    Options::default()
        .node(node.quic)
        .state("/nonexistent")
        .cluster_secret(Secret::new(secret).unwrap())
}

async fn serve(options: Options, name: &'static str) -> Service {
    let answer = move |_, _: Value| async move { Ok(json!({ "Name": name })) };
    let service = Service::builder().on("a:1", answer);
    service.start(options.name(name)).await.unwrap()
}

async fn run(command: &mut tokio::process::Command) -> Output {
    command.stdin(Stdio::null()).output().await.unwrap()
}

/// The authority whose fingerprint a node has said.
fn authority(said: &str) -> String {
    let (_, rest) = said.split_once("authority=").unwrap();
    rest.chars().take_while(char::is_ascii_hexdigit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_secret_belongs_to_every_node_that_holds_it() {
    let (mut one, mut other) = tokio::join!(holder().start(), holder().flag("--name", "b").start());
    for (node, name) in [(&one, "first"), (&other, "second")] {
        let service = serve(knowing(node, SECRET), name).await;
        let client = Client::connect(knowing(node, SECRET)).await.unwrap();
        let answer: Value = client.act("a:1", &json!({})).await.unwrap();
        assert_eq!(answer["Name"], name);
        assert!(!node.state().join("tls").exists(), "no key lies about");
        client.close().await;
        service.drain().await;
    }
    assert!(one.process.terminate().await.success());
    assert!(other.process.terminate().await.success());
    let (_, first) = one.process.last_words().await;
    let (_, second) = other.process.last_words().await;
    assert_eq!(authority(&first), authority(&second));
    assert_eq!(authority(&first).len(), 64, "{first}");
    assert!(second.contains("spiffe://nano.local/node/b"), "{second}");
    for said in [first, second] {
        assert!(said.contains("TRACE"), "nothing is held back");
        assert!(!said.contains(SECRET), "the secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_another_secret_is_told_what_to_do() {
    let node = holder().start().await;
    let error = Client::connect(knowing(&node, OTHER)).await.err().unwrap();
    let said = error.to_string();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{said}");
    assert!(said.contains("the same NANO_CLUSTER_SECRET"), "{said}");
    let service = Service::builder().on("a:1", |_, _: Value| async { Ok(()) });
    let error = service.start(knowing(&node, OTHER)).await.err().unwrap();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    let shown = format!("{said} {:?}", knowing(&node, OTHER));
    assert!(!shown.contains(OTHER) && !shown.contains(SECRET), "{shown}");

    let mut call = call(&node);
    let output = run(call.env(VARIABLE, OTHER)).await;
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("do not trust each other"), "{said}");
    assert!(!node.process.said().contains(OTHER));
}

fn call(node: &Node) -> tokio::process::Command {
    let mut command = nanod();
    command.args(["call", "a:1", "--node", &node.quic.to_string()]);
    command.args(["--state", "/nonexistent"]);
    command
}

fn secret_file(folder: &Path, text: &str, mode: u32) -> String {
    let path = folder.join("secret");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_in_a_file_is_the_same_for_node_library_and_commands() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(folder.path(), &format!("{SECRET}\n"), 0o600);
    let node = Node::builder()
        .flag("--cluster-secret-file", &file)
        .start()
        .await;
    let options = Options::default()
        .node(node.quic)
        .cluster_secret_file(&file);
    let _service = serve(options, "one").await;
    for (name, value) in [
        (VARIABLE, SECRET),
        ("NANO_CLUSTER_SECRET_FILE", file.as_str()),
    ] {
        let output = run(call(&node).env(name, value)).await;
        assert!(output.status.success(), "{name}: {output:?}");
    }
    let output = run(call(&node).args(["--cluster-secret-file", &file])).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_certificates_wins_over_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let site = nano_tls::Authority::create("example.org").unwrap();
    for name in ["node/a", "client/c"] {
        let bundle = site.issue(&name.parse().unwrap(), nano_tls::LEAF_LIFETIME);
        bundle.unwrap().write(&folder.path().join(name)).unwrap();
    }
    let node = holder()
        .flag("--tls", folder.path().join("node/a").display())
        .start()
        .await;
    let options = knowing(&node, SECRET).tls(folder.path().join("client/c"));
    Client::connect(options.clone()).await.unwrap();
    let secret = Secret::new(SECRET).unwrap();
    let error = Client::connect(options.cluster_secret(secret)).await;
    let error = error.err().unwrap();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_takes_the_secret_and_can_be_called_with_it() {
    let mut command = nanod();
    command.args(["demo", "--http", ANY, "--quic", ANY, "--admin", ANY]);
    let mut demo = Process::start(command.env(VARIABLE, SECRET));
    let line = demo.line().await.unwrap();
    let quic = line.trim_end_matches('.').rsplit(' ').next().unwrap();
    while !demo.line().await.unwrap().contains("Ctrl-C") {}
    let mut call = nanod();
    call.args(["call", "role:math,cmd:sum", r#"{"Left":1,"Right":2}"#]);
    let output = run(call.args(["--node", quic]).env(VARIABLE, SECRET)).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_secret_stops_a_node_and_a_command_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(folder.path(), SECRET, 0o644);
    let (status, said) = Node::builder()
        .flag("--cluster-secret-file", &file)
        .refused()
        .await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains(&file) && said.contains("chmod 600"), "{said}");

    let secret_file = ("NANO_CLUSTER_SECRET_FILE", file.as_str());
    for (variables, reason) in [
        (vec![(VARIABLE, "hush-hush")], "at least 16"),
        (vec![(VARIABLE, SECRET), secret_file], "twice"),
    ] {
        let mut node = Node::builder();
        for (name, value) in &variables {
            node = node.variable(name, value);
        }
        let (status, said) = node.refused().await;
        assert_eq!(status.code(), Some(2));
        let mut call = nanod();
        let output = run(call.args(["call", "a:1"]).envs(variables)).await;
        assert_eq!(output.status.code(), Some(2));
        for said in [said, String::from_utf8(output.stderr).unwrap()] {
            assert!(said.contains(reason), "{said}");
            assert!(!said.contains("hush") && !said.contains(SECRET), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_names_the_secret_and_does_not_show_it() {
    for arguments in [
        vec!["--help"],
        vec!["call", "--help"],
        vec!["bench", "call", "--help"],
    ] {
        let output = run(nanod().args(arguments).env(VARIABLE, SECRET)).await;
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("--cluster-secret-file"), "{help}");
        assert!(help.contains(VARIABLE) && !help.contains(SECRET), "{help}");
    }
}
