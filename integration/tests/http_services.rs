//! Services that register over HTTP: how a node finds out whether it can reach them, and how
//! several nodes keep their routes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use nano_client::{Certainty, Client, Code, Context, HandlerError, Policy, Service};
use nano_integration::{
    ANY, Cluster, Node, Response,
    go_nano::{GoAnswer, GoHttp, GoService},
    until,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

async fn ask(node: &Node, subject: &str) -> Response {
    node.http().post(&json!({"Pattern": subject})).await
}

/// Waits until a subject is answered with a status.
async fn answered(node: &Node, subject: &str, status: u16) -> Response {
    until("the status to be answered", async || {
        let response = ask(node, subject).await;
        (response.status == status).then_some(response)
    })
    .await
}

/// Registers a service, which need not be there.
async fn register(node: &Node, pattern: &str, address: &str) {
    let body = json!({"Pattern": pattern, "ServiceAddress": address}).to_string();
    let request = format!(
        "POST /register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(node.http().send(&request).await.status, 200);
}

/// Waits until a node shows a pattern.
async fn shows(client: &Client, pattern: &str) {
    until("the pattern to be shown", async || {
        let explained = client.explain(pattern).await.ok()?.node.ok()?;
        explained.winner.map(drop)
    })
    .await;
}

async fn killed_and_back(mut node: Node) -> Node {
    node.process.kill().await;
    node.start_again().await
}

async fn states(client: &Client) -> Vec<String> {
    let mut list = client.routes(None).unwrap();
    let mut states = Vec::new();
    while let Some(page) = list.next_page().await.unwrap() {
        states.extend(page.iter().map(|route| route.state.to_string()));
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_out_of_reach_is_not_called_and_comes_back_by_itself() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    answered(&node, "a:1", 200).await;
    let gone = service.restart().await;
    let refused = answered(&node, "a:1", 503).await;
    assert_eq!(refused.header("nano-error"), Some("no_instance"));
    assert_eq!(refused.header("nano-certainty"), Some("not_sent"));
    assert!(refused.header("retry-after").is_some());
    let back = gone.listen_as("back");
    let answer = answered(&node, "a:1", 200).await;
    assert_eq!(answer.json()["Name"], "back");
    drop(back);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_given_up_only_after_long() {
    let lost_after = ["--http-route-lost-after-ms", "400"];
    let node = Node::builder().flag(lost_after[0], lost_after[1]);
    let node = node.start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    answered(&node, "a:1", 200).await;
    drop(service);
    answered(&node, "a:1", 404).await;
    // It is gone from the disk, too.
    let node = killed_and_back(node).await;
    assert_eq!(ask(&node, "a:1").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_costs_no_route_and_no_grace() {
    let node = Node::builder().flag("--grace-ms", 0).start().await;
    let _one = GoService::named(node.http, "a:1", "one").await;
    let _two = GoService::named(node.http, "a:1", "two").await;
    let node = killed_and_back(node).await;
    for name in ["one", "two"] {
        until("both to be called", async || {
            let answer = ask(&node, "a:1").await;
            (answer.status == 200 && answer.json()["Name"] == name).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_service_is_certain_to_have_run_only_what_it_may_have() {
    let node = Node::start().await;
    let service = GoService::start(node.http, "a:1", |message| match message["Do"].as_str() {
        Some("hang") => GoAnswer::Hang,
        _ => GoAnswer::Ok(json!({})),
    })
    .await;
    answered(&node, "a:1", 200).await;
    let handled = service.handled();
    let hang = json!({"Pattern": "a:1", "Do": "hang"});
    let soon = "Nano-Timeout-Ms: 200\r\nAccept: */*\r\n";
    let late = node.http().post_with(&hang, soon).await;
    assert_eq!(late.status, 504);
    assert_eq!(late.header("nano-certainty"), Some("maybe_executed"));
    let client = node.client().await;
    let calling = client.clone();
    let call = tokio::spawn(async move {
        let message = json!({"Do": "hang"});
        calling.act::<_, Value>("a:1", &message).await.unwrap_err()
    });
    until("the call to arrive", async || {
        (service.handled() == handled + 2).then_some(())
    })
    .await;
    drop(service);
    let failure = call.await.unwrap();
    assert_eq!(failure.code, Code::ConnectionLost, "{failure}");
    assert_eq!(failure.certainty, Certainty::MaybeExecuted, "{failure}");
    until("the service to be missed", async || {
        let failure = client.act::<_, Value>("a:1", &json!({})).await.unwrap_err();
        assert_eq!(failure.certainty, Certainty::NotSent, "{failure}");
        (failure.code == Code::NoInstance).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_limited_and_statuses_are_failures_to_the_library() {
    let node = Node::builder().flag("--max-body", "64KiB").start().await;
    let _service = GoService::start(node.http, "a:1", |message| {
        let size = message["Size"].as_u64().unwrap_or(0) as usize;
        let body = match size {
            0 => r#"{"Cold": true}"#.to_owned(),
            size => format!("\"{}\"", "x".repeat(size)),
        };
        let status = message["Status"].as_u64().unwrap_or(200) as u16;
        GoAnswer::Raw(status, body.into())
    })
    .await;
    answered(&node, "a:1", 200).await;
    let large = json!({"Pattern": "a:1", "Size": 70_000});
    let refused = node.http().post(&large).await;
    assert_eq!(refused.status, 413);
    assert_eq!(refused.header("nano-certainty"), Some("executed"));
    let client = node.client().await;
    let whole: String = client.act("a:1", &json!({"Size": 60_000})).await.unwrap();
    assert_eq!(whole.len(), 60_000);
    let teapot = json!({"Status": 418});
    let failure = client.act::<_, Value>("a:1", &teapot).await.unwrap_err();
    assert_eq!(failure.code, Code::HandlerFailed, "{failure}");
    assert_eq!(failure.certainty, Certainty::Executed, "{failure}");
    assert!(failure.message.contains("418"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_frees_the_service() {
    let node = Node::start().await;
    let permits = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&permits);
    let service = GoService::start(node.http, "a:1", move |_| {
        GoAnswer::Wait(Arc::clone(&waits), json!({}))
    })
    .await;
    let client = node.client().await;
    until("the service to be found", async || {
        (states(&client).await == ["ready"]).then_some(())
    })
    .await;
    let body = json!({"Pattern": "a:1"}).to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let held = node.http().open(&request).await;
    until("the call to arrive", async || {
        (service.handled() == 1).then_some(())
    })
    .await;
    drop(held);
    until("the node to have no call in flight", async || {
        let status = client.status().await.unwrap();
        (status.in_flight == 0).then_some(())
    })
    .await;
    permits.add_permits(100);
    answered(&node, "a:1", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_calls_it_and_one_takes_it_over() {
    let mut cluster = Cluster::start(3).await;
    let service = GoService::named(cluster.nodes[0].http, "a:1", "one").await;
    for node in &cluster.nodes {
        answered(node, "a:1", 200).await;
    }
    // Registered at a second node, it is still one instance.
    register(&cluster.nodes[1], "a:1", &service.address.to_string()).await;
    let client = cluster.client(2).await;
    assert_eq!(states(&client).await, ["ready"]);
    cluster.nodes[0].process.kill().await;
    cluster.nodes[1].process.kill().await;
    // Both are forgotten, and the route is not.
    until("the nodes to be forgotten", async || {
        let status = client.status().await.unwrap();
        (status.nodes == 0).then_some(())
    })
    .await;
    assert_eq!(ask(&cluster.nodes[2], "a:1").await.status, 200);
    // It is the last node's own by then, also after a start without the others.
    until("the route to be taken over", async || {
        let explained = client.explain("a:1").await.ok()?.node.ok()?;
        let listed = explained.winner?.listed;
        (listed.len() == 1 && listed[0].source.name() == "http").then_some(())
    })
    .await;
    let last = killed_and_back(cluster.nodes.remove(2)).await;
    answered(&last, "a:1", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_of_another_machine_is_left_alone() {
    // All are on one machine here, so a node that tried would reach the service.
    let mut cluster = Cluster::start_with(3, |number, node| {
        node.flag(
            "--advertise",
            ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:2"][number],
        )
    })
    .await;
    let [near, far, beside] = [0, 1, 2];
    let service = GoService::named(cluster.nodes[near].http, "a:1", "one").await;
    answered(&cluster.nodes[near], "a:1", 200).await;
    answered(&cluster.nodes[beside], "a:1", 200).await;
    // Routes come in the order in which they were registered: who has this has the other.
    register(&cluster.nodes[near], "b:1", "10.255.255.1:9").await;
    let client = cluster.client(far).await;
    shows(&client, "b:1").await;
    assert_eq!(ask(&cluster.nodes[far], "a:1").await.status, 404);

    cluster.nodes[near].process.kill().await;
    cluster.nodes[beside].process.kill().await;
    let accepted = service.accepted();
    cluster.nodes[far].process.says("is not taken over").await;
    assert_eq!(ask(&cluster.nodes[far], "a:1").await.status, 404);
    assert_eq!(service.accepted(), accepted);
    // The other route was for all, and is its own now.
    shows(&client, "b:1").await;
    cluster.start_again(near).await;
    answered(&cluster.nodes[near], "a:1", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_services_are_limited() {
    let node = Node::builder().flag("--max-connections", 8).start().await;
    let permits = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&permits);
    let service = GoService::start(node.http, "a:1", move |_| {
        GoAnswer::Wait(Arc::clone(&waits), json!({"Name": "late"}))
    });
    let service = service.await;
    until("the service to be reached", async || {
        (service.accepted() > 0).then_some(())
    })
    .await;
    let client = node.client().await;
    let calls = (0..20).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.act::<_, Value>("a:1", &json!({})).await })
    });
    let calls: Vec<_> = calls.collect();
    until("as many calls as there are connections", async || {
        (service.handled() == 8).then_some(())
    })
    .await;
    until("the others to fail", async || {
        let ended = calls.iter().filter(|call| call.is_finished()).count();
        (ended == 12).then_some(())
    })
    .await;
    permits.add_permits(100);
    let (mut answered, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => {
                assert_eq!(answer["Name"], "late");
                answered += 1;
            }
            Err(error) => {
                assert_eq!(error.code, Code::Overloaded, "{error}");
                assert_eq!(error.certainty, Certainty::NotSent, "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((answered, refused), (8, 12));
    assert_eq!(service.handled(), 8);
    let answer: Value = client.act("a:1", &json!({})).await.unwrap();
    assert_eq!(answer["Name"], "late", "connections are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_of_the_library_reaches_it_whole() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    let client = node.client().await;
    let text = "x".repeat(1 << 20);
    let answer: Value = client.act("a:1", &json!({"Text": text})).await.unwrap();
    assert_eq!(answer["Name"], "one");
    let received: Value = serde_json::from_slice(&service.last().unwrap().body).unwrap();
    assert_eq!(received["Pattern"], "a:1");
    assert_eq!(received["Text"], text);

    // What is no object has no room for a Pattern, which is seen when all of it is there.
    let refused = client.act::<_, Value>("a:1", &json!([text])).await;
    let error = refused.unwrap_err();
    assert_eq!(error.code, Code::BadRequest);
    assert_eq!(error.certainty, Certainty::NotSent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_of_the_subject_that_it_is_sent_to() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    let client = node.client().await;
    let same = json!({"pattern": "a:1"});
    assert!(client.act::<_, Value>("a:1", &same).await.is_ok());
    let handled = service.handled();
    let other = json!({"Pattern": "a:1,b:2"});
    let refused = client.act::<_, Value>("a:1", &other).await;
    let error = refused.unwrap_err();
    assert_eq!(error.code, Code::BadRequest, "{error}");
    assert_eq!(error.certainty, Certainty::NotSent, "{error}");
    assert_eq!(service.handled(), handled);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_service_of_nanod_refuses_is_passed_on() {
    let node = Node::start().await;
    let waits = Arc::new(Semaphore::new(0));
    let begun = Arc::new(AtomicUsize::new(0));
    let (held, counted) = (Arc::clone(&waits), Arc::clone(&begun));
    let wait = move |_: Context, _: Value| {
        let held = Arc::clone(&held);
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            held.acquire().await.expect("it stays open").forget();
            Ok::<_, HandlerError>(json!({}))
        }
    };
    let policy = Policy {
        max_concurrent: Some(1),
        ..Policy::default()
    };
    let builder = Service::builder().policy(policy).on("a:1", wait);
    let elsewhere = Node::start().await;
    let builder = builder.http(ANY);
    let service = builder.start(elsewhere.options()).await.unwrap();
    let body = json!({"Pattern": "a:1", "ServiceAddress": service.http().unwrap()});
    let http = GoHttp::default();
    let registered = http.post(node.http, "/register", body.to_string()).await;
    assert_eq!(registered.unwrap().status, 200);
    let client = node.client().await;
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.act::<_, Value>("a:1", &json!({})).await }
    });
    until("the first call to be handled", async || {
        (begun.load(Ordering::SeqCst) == 1).then_some(())
    })
    .await;
    let refused = client.act::<_, Value>("a:1", &json!({})).await.unwrap_err();
    assert_eq!(refused.code, Code::Overloaded, "{refused}");
    assert_eq!(refused.certainty, Certainty::Refused, "{refused}");
    waits.add_permits(10);
    assert!(first.await.unwrap().is_ok());
}
