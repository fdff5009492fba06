//! What was acknowledged lasts, and a disk that fails costs no call.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    time::Duration,
};

use nano_client::{Client, Code, ConnectError, Service};
use nano_integration::{Node, Registrar, until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Which of the patterns a node knows. None of them has an instance that is up.
async fn known(client: &Client, patterns: BTreeSet<String>) -> BTreeSet<String> {
    let mut calls = JoinSet::new();
    for pattern in patterns {
        let client = client.clone();
        calls.spawn(async move {
            let failure = client
                .act::<_, Value>(&pattern, &json!({}))
                .await
                .unwrap_err();
            match failure.code {
                Code::NoInstance => Some(pattern),
                Code::NoRoute => None,
                _ => panic!("{pattern}: {failure}"),
            }
        });
    }
    calls.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_kills_lose_nothing_acknowledged_and_invent_nothing() {
    const ROUNDS: u64 = 100;
    const SERVICES: u64 = 3;
    let mut node = Node::builder().flag("--grace-ms", 3_600_000).start().await;
    let (mut asked, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        let mut services = JoinSet::new();
        for service in 0..SERVICES {
            let registrar = Registrar::connect(&node).await;
            services.spawn(registrar.register_until_the_end(format!("kill:{round}.{service}")));
        }
        // Another moment each time: from before the first commit to after many.
        tokio::time::sleep(Duration::from_micros(round * 400)).await;
        node.process.kill().await;
        // Each ends when its connection does; the node that is gone cannot tell it so.
        node = node.start_again().await;
        for registered in services.join_all().await {
            asked.extend(registered.asked);
            acknowledged.extend(registered.acknowledged);
        }
    }
    assert!(
        acknowledged.len() > 1_000,
        "only {} were acknowledged",
        acknowledged.len()
    );
    let client = node.client().await;
    let never = asked.iter().map(|pattern| format!("{pattern}x")).collect();
    assert_eq!(known(&client, never).await, BTreeSet::new());
    let known = known(&client, asked).await;
    let lost: Vec<_> = acknowledged.difference(&known).collect();
    assert_eq!(lost, Vec::<&String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_registrations_and_costs_no_call() {
    let node = Node::builder().disk(8 * 1024 * 1024).start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let client = node.client().await;
    let filler = node.state().join("filler");
    fill(&filler);
    let register = async |pattern: &str| {
        let builder = Service::builder().on(pattern, |_, _: Value| async { Ok("served") });
        let options = node.options().connect_timeout(Duration::from_secs(1));
        builder.start(options).await
    };
    let mut refused = 0;
    let mut number = 0;
    // What is left of the disk's last block may take a few more.
    while refused < 3 {
        match register(&format!("late:{number}")).await {
            Ok(_) => assert!(number < 1_000, "the disk is full, but no one minds"),
            Err(ConnectError::Registration { failure, .. }) => {
                assert_eq!(failure.code, Code::Overloaded, "{failure}");
                assert!(
                    failure.message.contains("cannot be made durable"),
                    "{failure}"
                );
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        let answer: Value = client.act("a:1", &json!({"Do": "name"})).await.unwrap();
        assert_eq!(answer["Name"], "one");
        number += 1;
    }
    fs::remove_file(&filler).unwrap();
    let served = until("registrations to be taken again", async || {
        register("late").await.ok()
    })
    .await;
    let answer: String = client.act("late", &json!({})).await.unwrap();
    assert_eq!(answer, "served");
    drop(served);
}

/// Writes until nothing more fits.
fn fill(path: &std::path::Path) {
    let mut file = File::create(path).unwrap();
    for size in [64 * 1024, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
