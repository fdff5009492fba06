//! An instance that becomes slow, and one that is fast again, among others that are well; and
//! what callers hear when nobody is left.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nano_client::{Client, Service};
use nano_integration::{Load, Node, PATIENCE, ServiceProcess, until, warm};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const INSTANCES: usize = 4;

/// What a call takes, and what it takes at one that is 50 times slower.
const WELL: u64 = 5;
const SLOW: u64 = 50 * WELL;

/// Calls over which shares are counted.
const WINDOW: u64 = 1_000;

/// A service of `a:1` whose calls take as long as it is told.
struct Instance {
    millis: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
    _service: Service,
}

impl Instance {
    async fn start(node: &Node) -> Self {
        let millis = Arc::new(AtomicU64::new(WELL));
        let begun = Arc::new(AtomicU64::new(0));
        let (delay, counter) = (Arc::clone(&millis), Arc::clone(&begun));
        let service = Service::builder().on("a:1", move |_, _: Value| {
            counter.fetch_add(1, Ordering::Relaxed);
            let delay = Duration::from_millis(delay.load(Ordering::Relaxed));
            async move {
                sleep(delay).await;
                Ok(())
            }
        });
        Self {
            millis,
            begun,
            _service: service.start(node.options()).await.unwrap(),
        }
    }

    fn takes(&self, millis: u64) {
        self.millis.store(millis, Ordering::Relaxed);
    }
}

fn begun(instances: &[Instance]) -> Vec<u64> {
    let begun = instances.iter().map(|it| it.begun.load(Ordering::Relaxed));
    begun.collect()
}

/// The share that the first instance has of the next calls.
async fn share_of_first(instances: &[Instance]) -> f64 {
    let before = begun(instances);
    until("calls to be counted", async || {
        let since: Vec<u64> = begun(instances)
            .into_iter()
            .zip(&before)
            .map(|(now, before)| now - before)
            .collect();
        let all: u64 = since.iter().sum();
        (all >= WINDOW).then(|| since[0] as f64 / all as f64)
    })
    .await
}

async fn is_avoided_while_it_is_slow(is_direct: bool) {
    let node = Node::start().await;
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        instances.push(Instance::start(&node).await);
    }
    let options = node.options().direct(is_direct);
    let client = Client::connect(options).await.unwrap();
    if is_direct {
        warm(&client, "a:1", INSTANCES).await;
    }
    let load = Load::start(&client, 16, &json!({}));
    load.runs(1_000).await;
    let fair = share_of_first(&instances).await;
    assert!(fair > 0.15, "{fair}");

    instances[0].takes(SLOW);
    sleep(Duration::from_secs(1)).await;
    let slow = share_of_first(&instances).await;
    assert!(slow < 0.05, "{slow}");

    instances[0].takes(WELL);
    let since = Instant::now();
    let mut shares = Vec::new();
    while shares.last().is_none_or(|share| *share < 0.15) {
        assert!(since.elapsed() < Duration::from_secs(10), "{shares:?}");
        shares.push(share_of_first(&instances).await);
    }
    assert_eq!(load.end().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_avoids_an_instance_while_it_is_slow() {
    is_avoided_while_it_is_slow(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_avoids_an_instance_while_it_is_slow() {
    is_avoided_while_it_is_slow(true).await;
}

/// From when it is known that nobody is left, calls fail long before their deadline.
async fn all_fail_at_once(call: impl AsyncFn() -> String) {
    until("the losses to be seen", async || {
        (call().await == "no_instance").then_some(())
    })
    .await;
    for _ in 0..20 {
        let since = Instant::now();
        assert_eq!(call().await, "no_instance");
        let waited = since.elapsed();
        assert!(waited < PATIENCE / 6, "{waited:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_instances_gone_callers_hear_of_it_at_once() {
    // As long as this takes they may return.
    let node = Node::builder().flag("--grace-ms", 600_000).start().await;
    let mut services: Vec<ServiceProcess> = Vec::new();
    for name in ["one", "two", "three"] {
        services.push(node.service(name).pattern("a:1").start().await);
    }
    let direct = node.client().await;
    warm(&direct, "a:1", 3).await;
    let switched = Client::connect(node.options().direct(false)).await.unwrap();
    for service in &mut services {
        service.process.kill().await;
    }
    let by_library = async |client: &Client| {
        let patient = client.with_timeout(PATIENCE);
        let answer = patient.act::<_, Value>("a:1", &json!({})).await;
        answer.unwrap_err().code.to_string()
    };
    let http = node.http();
    let by_http = async || {
        let response = http.post(&json!({"Pattern": "a:1"})).await;
        response.header("nano-error").unwrap().to_owned()
    };
    all_fail_at_once(async || by_library(&direct).await).await;
    all_fail_at_once(async || by_library(&switched).await).await;
    all_fail_at_once(by_http).await;
}
