//! A node that is given more calls than it takes: those that it takes are none the worse.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::time::Duration;

use nano_client::{Client, Code};
use nano_integration::Node;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Calls in flight that the node takes.
const MOST: usize = 16;

/// Calls that each caller has answered.
const CALLS: usize = 10;

/// How long calls took: those that were answered, and those that were refused.
#[derive(Default)]
struct Took {
    answered: Vec<Duration>,
    refused: Vec<Duration>,
}

/// So many callers that call without pause.
async fn calls(client: &Client, callers: usize) -> Took {
    let callers = (0..callers).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut took = Took::default();
            while took.answered.len() < CALLS {
                let since = Instant::now();
                let slow = json!({"Do": "sleep", "Ms": 100});
                match client.act::<_, Value>("a:1", &slow).await {
                    Ok(_) => took.answered.push(since.elapsed()),
                    Err(failure) => {
                        assert_eq!(failure.code, Code::Overloaded, "{failure}");
                        took.refused.push(since.elapsed());
                        // Whoever is refused is told when to come back.
                        let pause = failure.retry_after_ms.unwrap();
                        sleep(Duration::from_millis(pause.into())).await;
                    }
                }
            }
            took
        })
    });
    let mut all = Took::default();
    for caller in callers.collect::<Vec<_>>() {
        let took = caller.await.unwrap();
        all.answered.extend(took.answered);
        all.refused.extend(took.refused);
    }
    all
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_what_a_node_takes_are_refused_and_slow_down_no_others() {
    let node = Node::builder().flag("--max-calls", MOST).start().await;
    let _one = node.service("one").pattern("a:1").start().await;
    // The node's limits are of the calls that go through it; a retry would hide a refusal.
    let mut options = node.options().direct(false);
    options.retry.percent = 0;
    options.retry.per_second = 0;
    let client = Client::connect(options).await.unwrap();
    let within = calls(&client, MOST).await;
    assert_eq!(within.refused, [] as [Duration; 0]);
    let beyond = calls(&client, 2 * MOST).await;
    assert!(!beyond.refused.is_empty(), "the node took twice its limit");
    let within = median(within.answered);
    let (answered, refused) = (median(beyond.answered), median(beyond.refused));
    assert!(
        answered < 3 * within,
        "{answered:?}, without overload {within:?}"
    );
    assert!(
        refused < within,
        "{refused:?}, while an answer takes {within:?}"
    );
}
