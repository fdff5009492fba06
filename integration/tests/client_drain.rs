//! A client that drains while it is used: what it has taken is answered, and nothing else is
//! taken.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{CallError, Certainty, Client, Code};
use nano_integration::{Node, until, warm};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

/// Callers that call without pause until they fail: how many calls were answered, and how
/// the last one failed.
fn callers(client: &Client) -> Vec<JoinHandle<(u64, CallError)>> {
    let callers = (0..32).map(|caller: u64| {
        let client = client.clone();
        tokio::spawn(async move {
            let slow = json!({"Do": "sleep", "Ms": 50 + 10 * caller});
            let mut answered = 0;
            loop {
                match client.act::<_, Value>("a:1", &slow).await {
                    Ok(_) => answered += 1,
                    Err(failure) => return (answered, failure),
                }
            }
        })
    });
    callers.collect()
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
        let callers = callers(&client);
        until("the load to run", async || {
            (count(&node).await.0 > before + 100).then_some(())
        })
        .await;
        client.drain().await;
        let mut answered = 0;
        for caller in callers {
            // Whoever drains waits for all; nobody is left that could wait for long.
            let ended = timeout(Duration::from_secs(10), caller).await;
            let (by_caller, failure) = ended.unwrap().unwrap();
            answered += by_caller;
            assert_eq!(failure.code, Code::ConnectionLost, "{failure}");
            assert_eq!(failure.certainty, Certainty::NotSent, "{failure}");
            assert_eq!(failure.message, "the client is leaving");
        }
        let (begun, stopped) = count(&node).await;
        assert_eq!(
            (begun - before, stopped),
            (answered, 0),
            "direct: {is_direct}"
        );
    }
}
