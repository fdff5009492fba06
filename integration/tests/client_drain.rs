//! A client that drains while it is used: what it has taken is answered, and nothing else is
//! taken.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use nano_client::{CallError, Certainty, Client, Code};
use nano_integration::{Cluster, Node, PATIENCE, ask, until, warm};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

/// Calls of a client, without pause, until it takes no more.
struct Calls {
    answered: Arc<AtomicU64>,
    callers: Vec<JoinHandle<CallError>>,
}

impl Calls {
    fn start(client: &Client) -> Self {
        let answered = Arc::new(AtomicU64::new(0));
        let callers = (0..32).map(|caller| {
            let (client, answered) = (client.clone(), Arc::clone(&answered));
            let slow = json!({"Do": "sleep", "Ms": 50 + 10 * caller});
            tokio::spawn(async move {
                loop {
                    match client.act::<_, Value>("a:1", &slow).await {
                        Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
                        Err(failure) => return failure,
                    };
                }
            })
        });
        Self {
            callers: callers.collect(),
            answered,
        }
    }

    async fn run(&self) {
        until("the load to run", async || {
            (self.answered.load(Ordering::Relaxed) > 100).then_some(())
        })
        .await;
    }

    /// Each has failed once the client took no more, and not before: how many were answered.
    async fn end(self) -> u64 {
        for caller in self.callers {
            // Whoever drains has waited for all of them.
            let failure = timeout(PATIENCE, caller).await.unwrap().unwrap();
            assert_eq!(failure.code, Code::ConnectionLost, "{failure}");
            assert_eq!(failure.certainty, Certainty::NotSent, "{failure}");
            assert_eq!(failure.message, "the client is leaving");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

async fn count(node: &Node) -> (u64, u64) {
    let message = json!({"Pattern": "a:1", "Do": "count"});
    let counted = node.http().post(&message).await.json();
    let of = |what: &str| counted[what].as_u64().unwrap();
    (of("Begun"), of("Stopped"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_drains_under_load_costs_no_call() {
    for is_direct in [false, true] {
        let node = Node::start().await;
        let _one = node.service("one").pattern("a:1").start().await;
        let options = node.options().direct(is_direct);
        let client = Client::connect(options).await.unwrap();
        if is_direct {
            warm(&client, "a:1", 1).await;
        }
        let before = count(&node).await.0;
        let calls = Calls::start(&client);
        calls.run().await;
        client.drain().await;
        let answered = calls.end().await;
        let (begun, stopped) = count(&node).await;
        assert_eq!(
            (begun - before, stopped),
            (answered, 0),
            "direct: {is_direct}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_drains_with_its_node_and_a_service_costs_no_call() {
    for (is_direct, leaving) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut cluster = Cluster::start(2).await;
        let [first, second] = [&cluster.nodes[0], &cluster.nodes[1]];
        let one = cluster.service(0, "one").or_at(&[second]).pattern("a:1");
        let two = cluster.service(1, "two").or_at(&[first]).pattern("a:1");
        let (one, _two) = (one.start().await, two.start().await);
        for node in cluster.clients().await {
            for name in ["one", "two"] {
                until("every node to know both", async || {
                    (ask(&node, "a:1").await.ok()? == name).then_some(())
                })
                .await;
            }
        }
        let options = cluster.any_of(&[0, 1]).direct(is_direct);
        let client = Client::connect(options).await.unwrap();
        if is_direct {
            warm(&client, "a:1", 2).await;
        }
        let calls = Calls::start(&client);
        calls.run().await;
        one.process.signal(Signal::TERM);
        cluster.nodes[leaving].process.signal(Signal::TERM);
        client.drain().await;
        calls.end().await;
        assert!(cluster.nodes[leaving].process.ended().await.success());
    }
}
