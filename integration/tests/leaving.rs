//! Leaving and coming back, of services and nodes, under load.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{CallError, Certainty, Client, Code, Service};
use nano_integration::{Load, Node, nanod, until};
use serde_json::{Value, json};

async fn name(client: &Client) -> Result<String, CallError> {
    let answer: Value = client.act("a:1", &json!({"Do": "name"})).await?;
    Ok(answer["Name"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_service_costs_no_call() {
    let node = Node::start().await;
    let mut leaving = node.service("leaving").pattern("a:1").start().await;
    let client = node.client().await;
    let load = Load::start(&client, 16, &json!({"Do": "sleep", "Ms": 5}));
    load.runs(100).await;
    for round in 0..3 {
        let staying = node.service("staying").pattern("a:1").start().await;
        load.runs(200).await;
        assert!(leaving.process.terminate().await.success(), "round {round}");
        load.runs(200).await;
        leaving = staying;
    }
    assert_eq!(load.end().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_has_left_is_no_route() {
    let node = Node::start().await;
    let mut service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    assert_eq!(name(&client).await.unwrap(), "one");
    service.process.terminate().await;
    let failure = name(&client).await.unwrap_err();
    assert_eq!(
        (failure.code, failure.certainty),
        (Code::NoRoute, Certainty::NotSent)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_has_its_routes() {
    let mut node = Node::start().await;
    let service = node.service("one").pattern("a:1").start().await;
    let mut gone = node.service("gone").pattern("gone").start().await;
    gone.process.kill().await;
    service.freeze();
    node.process.kill().await;
    let node = node.start_again().await;
    // Known, but not back yet: not "no such route".
    for pattern in ["a:1", "gone"] {
        let response = node.http().post(&json!({"Pattern": pattern})).await;
        assert_eq!(response.status, 503, "{pattern}");
        assert_eq!(response.header("nano-error"), Some("no_instance"));
        assert_eq!(response.header("nano-certainty"), Some("not_sent"));
    }
    service.thaw();
    until("the service to be back", async || {
        let message = json!({"Pattern": "a:1", "Do": "name"});
        (node.http().post(&message).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_return_within_the_grace_is_gone() {
    let mut node = Node::builder().flag("--grace-ms", 300).start().await;
    let mut service = node.service("one").pattern("a:1").start().await;
    service.process.kill().await;
    node.process.kill().await;
    let node = node.start_again().await;
    let gone = async || {
        let status = node.http().post(&json!({"Pattern": "a:1"})).await.status;
        assert!(status == 503 || status == 404, "{status}");
        (status == 404).then_some(())
    };
    until("the grace to end", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_returns_within_the_grace_keeps_its_route() {
    let mut node = Node::builder().flag("--grace-ms", 2_000).start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    node.process.kill().await;
    let node = node.start_again().await;
    let client = node.client().await;
    until("the service to be back", async || name(&client).await.ok()).await;
    // A pattern that no one holds tells when the grace of the restart is over.
    let marker = Service::builder().on("marker", |_, _: Value| async { Ok(()) });
    drop(marker.start(node.options()).await.unwrap());
    until("the grace to end", async || {
        let status = node.http().post(&json!({"Pattern": "marker"})).await.status;
        (status == 404).then_some(())
    })
    .await;
    assert_eq!(name(&client).await.unwrap(), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_registration_survives_a_kill() {
    let mut node = Node::start().await;
    let mut services = Vec::new();
    for number in 0..20 {
        let pattern = format!("kept:{number}");
        let builder = Service::builder().on(&pattern, |_, _: Value| async { Ok(()) });
        services.push(builder.start(node.options()).await.unwrap());
    }
    node.process.kill().await;
    drop(services);
    let node = node.start_again().await;
    for number in 0..20 {
        let message = json!({"Pattern": format!("kept:{number}")});
        assert_eq!(node.http().post(&message).await.status, 503, "{number}");
    }
    assert_eq!(
        node.http()
            .post(&json!({"Pattern": "kept:20"}))
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_stop_fails_no_call_that_it_accepted() {
    let mut node = Node::start().await;
    let _asked = node.service("asked").pattern("asked").start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let options = node.options().connect_timeout(Duration::from_millis(200));
    let client = Client::connect(options).await.unwrap();
    // Handlers that call in turn are the hard case: their calls are accepted calls' own.
    let inner = json!({"Do": "sleep", "Ms": 20});
    let task = json!({"Do": "ask", "Subject": "asked", "Message": inner});
    let load = Load::start(&client, 64, &task);
    let http = node.http();
    let slow = tokio::spawn(async move {
        let message = json!({"Pattern": "a:1", "Do": "sleep", "Ms": 300});
        http.post(&message).await
    });
    load.runs(300).await;
    assert!(node.process.terminate().await.success());
    assert_eq!(slow.await.unwrap().status, 200);
    for failure in load.end().await {
        assert_eq!(failure.certainty, Certainty::NotSent, "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_in_its_time_and_says_so_to_who_still_waits() {
    let mut node = Node::builder().flag("--drain-ms", 300).start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let held = tokio::spawn({
        let client = client.clone();
        async move { client.act::<_, Value>("a:1", &json!({"Do": "hold"})).await }
    });
    until("the handler to begin", async || {
        let count: Value = client.act("a:1", &json!({"Do": "count"})).await.unwrap();
        (count["Begun"] == 1).then_some(())
    })
    .await;
    assert!(node.process.terminate().await.success());
    let failure = held.await.unwrap().unwrap_err();
    assert_eq!(failure.code, Code::ConnectionLost);
    assert_eq!(failure.certainty, Certainty::MaybeExecuted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_is_refused_the_folder_and_the_ports() {
    let node = Node::start().await;
    let refused = async |arguments: &[&str]| {
        let mut command = nanod();
        command.args(arguments).stderr(std::process::Stdio::piped());
        let output = command.output().await.unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let any = nano_integration::ANY;
    let (http, quic) = (node.http.to_string(), node.quic.to_string());
    let state = node.state().display().to_string();
    let admin = node.admin.unwrap().to_string();
    let said = refused(&["--state", &state, "--http", any, "--quic", any]).await;
    assert!(said.contains(&state) && said.contains("in use"), "{said}");
    assert!(said.contains(&node.process.pid().to_string()), "{said}");

    let other = tempfile::tempdir().unwrap();
    let other = other.path().display().to_string();
    let said = refused(&["--state", &other, "--http", &http, "--quic", any]).await;
    assert!(said.contains(&http) && said.contains("--http"), "{said}");
    let said = refused(&["--state", &other, "--http", any, "--quic", &quic]).await;
    assert!(said.contains(&quic) && said.contains("--quic"), "{said}");
    let free = ["--state", &other, "--http", any, "--quic", any];
    let said = refused(&[&free[..], &["--admin", &admin]].concat()).await;
    assert!(said.contains(&admin) && said.contains("--admin"), "{said}");
    assert_eq!(
        node.http().post(&json!({"Pattern": "a:1"})).await.status,
        404
    );
}
