//! A fleet of go-nano that changes to nodes while it runs, and back.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nano_integration::{
    Node, Redis,
    go_nano::{GoCaller, GoHttp, GoServer, GoService},
    until,
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

/// Callers that ask a service again and again, each at one of the servers that there are.
struct Callers {
    servers: watch::Sender<Servers>,
    answered: Arc<AtomicUsize>,
    /// Which servers each of them asks at the moment.
    asks: Vec<Arc<AtomicUsize>>,
    end: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

/// Whom to ask, and how often that has changed.
#[derive(Clone, Default)]
struct Servers {
    change: usize,
    addresses: Vec<SocketAddr>,
}

impl Callers {
    /// For each subject a program like curl and two of go-nano's own.
    fn start(addresses: Vec<SocketAddr>, subjects: &[(&'static str, &'static str)]) -> Self {
        let mut callers = Self {
            servers: watch::Sender::new(Servers {
                change: 0,
                addresses,
            }),
            answered: Arc::default(),
            asks: Vec::new(),
            end: Arc::default(),
            tasks: Vec::new(),
        };
        for (number, (subject, name)) in subjects.iter().enumerate() {
            for index in 0..3 {
                let task = callers.call(number + index, index > 0, subject, name);
                callers.tasks.push(tokio::spawn(task));
            }
        }
        callers
    }

    /// Calls until the end: what went wrong.
    fn call(
        &mut self,
        index: usize,
        acts: bool,
        subject: &'static str,
        name: &'static str,
    ) -> impl Future<Output = Vec<String>> + use<> {
        let (answered, end) = (Arc::clone(&self.answered), Arc::clone(&self.end));
        let servers = self.servers.subscribe();
        let http = GoHttp::default();
        let asks = Arc::new(AtomicUsize::new(0));
        self.asks.push(Arc::clone(&asks));
        async move {
            let mut failures = Vec::new();
            let mut known: Option<(SocketAddr, GoCaller)> = None;
            while !end.load(Ordering::Relaxed) {
                let server = {
                    let servers = servers.borrow();
                    asks.store(servers.change, Ordering::Relaxed);
                    servers.addresses[index % servers.addresses.len()]
                };
                let answer = if acts {
                    // Its own program is started anew where its server is another.
                    if known.as_ref().is_none_or(|(at, _)| *at != server) {
                        known = Some((server, GoCaller::new(server)));
                    }
                    let message = json!({"Pattern": subject, "ServiceRequest": true});
                    known.as_ref().unwrap().1.act(&message, subject).await
                } else {
                    let message = json!({"Pattern": subject}).to_string();
                    let answer = http.post(server, "/", message).await;
                    answer.map(|answer| answer.body)
                };
                let named = answer.as_ref().ok().and_then(|answer| {
                    let answer: Value = serde_json::from_slice(answer).ok()?;
                    Some(answer["Name"].as_str()?.to_owned())
                });
                match named {
                    Some(named) if named == name => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => failures.push(format!("{subject} at {server}: {answer:?}")),
                }
            }
            failures
        }
    }

    /// Has them ask others, and waits until nobody asks those of before.
    async fn move_to(&self, addresses: Vec<SocketAddr>) {
        self.servers.send_modify(|servers| {
            servers.change += 1;
            servers.addresses = addresses;
        });
        let change = self.servers.borrow().change;
        until("the callers to move", async || {
            let mut asks = self.asks.iter().map(|asks| asks.load(Ordering::Relaxed));
            asks.all(|asks| asks == change).then_some(())
        })
        .await;
        self.run().await;
    }

    /// Waits until many more calls were answered.
    async fn run(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + 300;
        until("the callers to be answered", async || {
            (self.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
        .await;
    }

    /// What went wrong.
    async fn end(self) -> Vec<String> {
        self.end.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for task in self.tasks {
            failures.extend(task.await.unwrap());
        }
        failures
    }
}

async fn node(redis: &Redis, name: &str) -> Node {
    Node::builder()
        .variable("NANO_CLUSTER_SECRET", "what-every-party-of-the-test-knows")
        .flag("--name", name)
        .flag("--redis", redis.url())
        .flag("--redis-go-nano-keys", "mirror")
        .start()
        .await
}

/// Waits until a server answers a subject.
async fn answers(server: SocketAddr, subject: &str, name: &str) {
    let http = GoHttp::default();
    until("the service to be called", async || {
        let message = json!({"Pattern": subject}).to_string();
        let answer = http.post(server, "/", message).await.ok()?;
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        (answer["Name"] == name).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_changes_to_nodes_and_back_without_a_failed_call() {
    let redis = Redis::start().await;
    let go = [GoServer::start(&redis).await, GoServer::start(&redis).await];
    let _sum = GoService::named(go[0].address, "role:math,cmd:sum", "sum").await;
    let _zero = GoService::named(go[1].address, "role:math,cmd:zero", "zero").await;
    let subjects = [("role:math,cmd:sum", "sum"), ("role:math,cmd:zero", "zero")];
    let callers = Callers::start(go.iter().map(|server| server.address).collect(), &subjects);
    callers.run().await;

    // Nodes beside the servers.
    let mut nodes = [node(&redis, "one").await, node(&redis, "two").await];
    for node in &nodes {
        for (subject, name) in subjects {
            answers(node.http, subject, name).await;
        }
    }
    callers.run().await;

    // Some callers go to a node; what registers there the servers know too.
    callers.move_to(vec![go[0].address, nodes[0].http]).await;
    let _late = GoService::named(nodes[0].http, "role:late", "late").await;
    answers(nodes[1].http, "role:late", "late").await;
    answers(go[0].address, "role:late", "late").await;
    answers(go[1].address, "role:late", "late").await;

    // All do, and the servers end.
    callers
        .move_to(nodes.iter().map(|node| node.http).collect())
        .await;
    drop(go);
    callers.run().await;
    for (subject, name) in subjects {
        answers(nodes[0].http, subject, name).await;
    }

    // And back.
    let back = GoServer::start(&redis).await;
    for (subject, name) in [subjects[0], subjects[1], ("role:late", "late")] {
        answers(back.address, subject, name).await;
    }
    callers.move_to(vec![back.address]).await;
    for node in &mut nodes {
        assert!(node.process.terminate().await.success());
    }
    callers.run().await;
    let failures = callers.end().await;
    assert!(
        failures.is_empty(),
        "{}: {:?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
}
