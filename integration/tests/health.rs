//! `nanod health`, as a container's health check runs it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::process::{Output, Stdio};

use nano_client::Client;
use nano_integration::{ANY, Node, nanod, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command};

/// How it ends, and all that it says.
async fn run(command: &mut Command) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    (status.code().unwrap(), said)
}

async fn health(arguments: &[&str]) -> (i32, String) {
    run(nanod().arg("health").args(arguments)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_healthy_while_it_is_ready() {
    let mut node = Node::start().await;
    let admin = node.admin.unwrap().to_string();
    let ready = (0, "ready\n".to_owned());
    assert_eq!(health(&["--admin", &admin]).await, ready);
    assert_eq!(
        run(nanod().arg("health").env("NANO_ADMIN", &admin)).await,
        ready
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nanod.toml");
    std::fs::write(&file, format!("admin = {admin:?}\n")).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(health(&["--config", file]).await, ready);

    // A call that is in flight keeps a node that stops from ending.
    let _service = node.service("one").pattern("a:1").start().await;
    let client = Client::connect(node.options().direct(false)).await.unwrap();
    let holding = tokio::spawn(async move {
        let hold = json!({"Do": "hold"});
        client.act::<_, Value>("a:1", &hold).await
    });
    let asking = node.client().await;
    nano_integration::until_status(&asking, "the call", |status| status.in_flight == 1).await;
    node.process.signal(Signal::TERM);
    let said = until("the node to be no more ready", async || {
        let (code, said) = health(&["--admin", &admin]).await;
        (code == 1).then_some(said)
    })
    .await;
    assert!(
        said.contains("is not ready") && said.contains("stopping"),
        "{said}"
    );
    node.process.kill().await;
    holding.abort();
    let (code, said) = health(&["--admin", &admin]).await;
    assert_eq!(code, 1);
    assert!(
        said.contains("no answer") && said.contains(&admin),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_admin_listener_is_not_taken_for_one() {
    let node = Node::start().await;
    let (code, said) = health(&["--admin", &node.http.to_string()]).await;
    assert_eq!(code, 1);
    assert!(
        said.contains("does not answer as an admin listener"),
        "{said}"
    );

    // The system takes connections for it, and nobody answers.
    let silent = TcpListener::bind(ANY).await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (code, said) = health(&["--admin", &address, "--timeout-ms", "200"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("no answer"), "{said}");

    let (code, said) = health(&["--admin", "off"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("off"), "{said}");
    let (code, said) = health(&["--admin", "nowhere"]).await;
    assert_eq!(code, 2);
    assert!(said.contains("--admin"), "{said}");
}
