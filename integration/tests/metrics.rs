//! What a node counts: every scrape is read strictly, and says of calls what was done.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::collections::BTreeMap;

use nano_client::{Body, Client, Context, Service};
use nano_integration::{Cluster, Node, Scrape, go_nano::GoService, until};
use serde_json::{Value, json};

const CALLS: &str = "nanod_calls_total";
const FAILURES: &str = "nanod_call_failures_total";

/// A client whose calls go through the node, each once.
async fn client(node: &Node) -> Client {
    let mut options = node.options().direct(false);
    options.retry.percent = 0;
    options.retry.per_second = 0;
    Client::connect(options).await.unwrap()
}

async fn act(client: &Client, subject: &str, what: &str) -> Result<Value, &'static str> {
    let answer = client.act(subject, &json!({"Do": what})).await;
    answer.map_err(|failure| failure.code.name())
}

fn calls(scrape: &Scrape, pattern: &str) -> f64 {
    scrape
        .value(CALLS, &[("pattern", pattern)])
        .unwrap_or_default()
}

fn failures(scrape: &Scrape, pattern: &str, code: &str, certainty: &str) -> f64 {
    let labels = [
        ("pattern", pattern),
        ("code", code),
        ("certainty", certainty),
    ];
    scrape.value(FAILURES, &labels).unwrap_or_default()
}

/// The scrape in which something is so.
async fn until_scrape(node: &Node, what: &str, is_so: impl Fn(&Scrape) -> bool) -> Scrape {
    until(what, async || {
        let scrape = node.scrape().await;
        is_so(&scrape).then_some(scrape)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_pattern_and_by_how_they_failed() {
    let node = Node::start().await;
    let service = node.service("one").pattern("a:1").pattern("a:1,b:\"2\\");
    let _service = service.start().await;
    let client = client(&node).await;
    for _ in 0..5 {
        act(&client, "a:1,user:7", "name").await.unwrap();
    }
    act(&client, "a:1,b:\"2\\", "name").await.unwrap();
    for _ in 0..2 {
        assert_eq!(act(&client, "a:1", "fail").await, Err("handler_failed"));
    }
    for _ in 0..3 {
        assert_eq!(act(&client, "c:1", "name").await, Err("no_route"));
    }
    for (subject, status) in [("a:1", 200), ("c:1", 404)] {
        let message = json!({"Pattern": subject, "Do": "name"});
        assert_eq!(node.http().post(&message).await.status, status);
    }

    let scrape = node.scrape().await;
    let counted = ["a:1", "a:1,b:\"2\\", "none", "other"].map(|pattern| calls(&scrape, pattern));
    assert_eq!(counted, [8.0, 1.0, 4.0, 0.0]);
    assert_eq!(failures(&scrape, "a:1", "handler_failed", "executed"), 2.0);
    assert_eq!(failures(&scrape, "none", "no_route", "not_sent"), 4.0);
    assert_eq!(scrape.sum(FAILURES, &[]), 6.0);
    let of = [("pattern", "a:1")];
    let took = scrape.value("nanod_call_duration_seconds_count", &of);
    assert_eq!(took, Some(8.0));
    let sum = scrape.value("nanod_call_duration_seconds_sum", &of);
    assert!(sum.unwrap() > 0.0);
    let class = |class| scrape.value("nanod_http_responses_total", &[("class", class)]);
    let responses = ["2xx", "4xx", "5xx"].map(class);
    assert_eq!(responses, [Some(1.0), Some(1.0), Some(0.0)]);
    let labels = scrape.values_of(CALLS, "pattern");
    assert_eq!(labels.len(), 4, "what callers send is no label: {labels:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_show_and_those_given_up_or_refused_are_counted() {
    let node = Node::start().await;
    let service = node.service("one").pattern("a:1").max_concurrent(1);
    let _service = service.start().await;
    let client = client(&node).await;
    let held = client.clone();
    let held = tokio::spawn(async move { act(&held, "a:1", "hold").await });
    let of = [("pattern", "a:1")];
    until("the call to be in flight", async || {
        let status = client.status().await.unwrap();
        (status.in_flight == 1).then_some(())
    })
    .await;
    assert_eq!(act(&client, "a:1", "name").await, Err("overloaded"));
    let scrape = node.scrape().await;
    let in_flight = scrape.value("nanod_pattern_calls_in_flight", &of);
    assert_eq!(in_flight, Some(1.0));
    assert_eq!(scrape.value("nanod_calls_in_flight", &[]), Some(1.0));
    for direction in ["in", "out"] {
        let labels = [("direction", direction)];
        let calls = scrape.value("nanod_link_calls_in_flight", &labels);
        assert_eq!(calls, Some(1.0), "{direction}");
    }
    assert_eq!(failures(&scrape, "a:1", "overloaded", "not_sent"), 1.0);
    let took = scrape.value("nanod_call_duration_seconds_count", &of);
    assert_eq!(took, Some(0.0), "the instance was not given the other one");

    // The node tries that again by itself, as often as the budget lets it.
    let message = json!({"Pattern": "a:1", "Do": "name"});
    let refused = node
        .http()
        .post_with(&message, "Nano-Timeout-Ms: 500\r\n")
        .await;
    assert!(refused.status >= 500, "{}", refused.status);
    let scrape = node.scrape().await;
    let retries = scrape.value("nanod_http_retries_total", &[]).unwrap();
    assert!(retries > 0.0);
    let refused = failures(&scrape, "a:1", "overloaded", "not_sent");
    assert_eq!(refused, 1.0 + 1.0 + retries);

    held.abort();
    let scrape = until_scrape(&node, "the cancel to be counted", |scrape| {
        scrape.sum(FAILURES, &[("code", "cancelled")]) > 0.0
    })
    .await;
    assert_eq!(failures(&scrape, "a:1", "cancelled", "maybe_executed"), 1.0);
    assert_eq!(scrape.value("nanod_calls_in_flight", &[]), Some(0.0));
    let message = json!({"Pattern": "a:1", "Do": "hold"});
    let late = node
        .http()
        .post_with(&message, "Nano-Timeout-Ms: 100\r\n")
        .await;
    assert_eq!(late.status, 504);
    let scrape = node.scrape().await;
    assert!(scrape.sum(FAILURES, &[("code", "deadline")]) > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_services_over_http_are_counted_as_others() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    let answered = async |status: u16| {
        until("the status to be answered", async || {
            let message = json!({"Pattern": "a:1"});
            let response = node.http().post(&message).await;
            (response.status == status).then_some(())
        })
        .await;
    };
    answered(200).await;
    let client = client(&node).await;
    let before = node.scrape().await;
    act(&client, "a:1", "name").await.unwrap();
    answered(200).await;
    let scrape = node.scrape().await;
    assert_eq!(calls(&scrape, "a:1"), calls(&before, "a:1") + 2.0);
    drop(service.restart().await);
    answered(503).await;
    let scrape = node.scrape().await;
    let all = scrape.sum(FAILURES, &[("pattern", "a:1"), ("certainty", "not_sent")]);
    assert!(all > 0.0);
    let ready = [("pattern", "a:1"), ("state", "ready")];
    until_scrape(&node, "the instance not to be ready", |scrape| {
        scrape.value("nanod_pattern_instances", &ready) == Some(0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_between_nodes_counts_at_both_and_redis_shows() {
    let cluster = Cluster::start(2).await;
    let service = Service::builder().on("a:1", |_: Context, _: Value| async { Ok(json!({})) });
    let _service = service.start(cluster.at(0)).await.unwrap();
    let client = Client::connect(cluster.at(1).direct(false)).await.unwrap();
    until("the other node to know the route", async || {
        act(&client, "a:1", "name").await.ok()
    })
    .await;
    let count = async |node: usize| calls(&cluster.nodes[node].scrape().await, "a:1");
    let before = [count(0).await, count(1).await];
    for _ in 0..3 {
        act(&client, "a:1", "name").await.unwrap();
    }
    let after = [count(0).await, count(1).await];
    assert_eq!(after, before.map(|calls| calls + 3.0));

    let node = &cluster.nodes[1];
    let scrape = until_scrape(node, "the node to be in step", |scrape| {
        scrape.value("nanod_redis_in_step", &[]) == Some(1.0)
    })
    .await;
    assert_eq!(scrape.value("nanod_redis_away_seconds", &[]), Some(0.0));
    assert_eq!(scrape.value("nanod_cluster_nodes", &[]), Some(1.0));
    cluster.redis.freeze(true);
    until_scrape(node, "Redis to be away", |scrape| {
        let away = scrape.value("nanod_redis_away_seconds", &[]);
        away > Some(0.0) && scrape.value("nanod_redis_in_step", &[]) == Some(0.0)
    })
    .await;
    assert_eq!(node.admin().get("/readyz").await.status, 200);
    cluster.redis.freeze(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_registrations_and_connections_show() {
    let node = Node::start().await;
    let mut service = node
        .service("one")
        .pattern("a:1")
        .pattern("a:2")
        .start()
        .await;
    let client = client(&node).await;
    act(&client, "a:1", "name").await.unwrap();
    let scrape = node.scrape().await;
    let value = |name: &str| scrape.value(name, &[]).unwrap();
    for (name, expected) in [
        ("nanod_patterns", 2.0),
        ("nanod_patterns_metered", 1.0),
        ("nanod_instances", 1.0),
        ("nanod_sessions", 2.0),
        ("nanod_ready", 1.0),
        ("nanod_store_commit_failures_total", 0.0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    for name in [
        "nanod_store_commit_duration_seconds_count",
        "nanod_quic_packets_sent_total",
        "nanod_quic_received_bytes_total",
        "process_open_fds",
        "process_resident_memory_bytes",
    ] {
        assert!(value(name) > 0.0, "{name}");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs_f64();
    let started = now - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&started), "{started}");
    assert!(value("nanod_certificate_expiry_timestamp_seconds") > now);
    let patterns = scrape.value("nanod_quota_used", &[("resource", "patterns")]);
    assert_eq!(patterns, Some(2.0));
    assert_eq!(
        scrape
            .values_of("nanod_thread_delay_seconds", "thread")
            .len(),
        2
    );

    let (sent, received) = (
        value("nanod_quic_datagrams_sent_total"),
        value("nanod_quic_datagrams_received_total"),
    );
    service.process.kill().await;
    let lost = |scrape: &Scrape, state| {
        let labels = [("pattern", "a:1"), ("state", state)];
        scrape.value("nanod_pattern_instances", &labels) == Some(1.0)
    };
    let scrape = until_scrape(&node, "the loss to show", |scrape| lost(scrape, "lost")).await;
    let ready = [("pattern", "a:1"), ("state", "ready")];
    assert_eq!(scrape.value("nanod_pattern_instances", &ready), Some(0.0));
    // What the session has carried still counts.
    assert!(scrape.value("nanod_quic_datagrams_sent_total", &[]) >= Some(sent));
    assert!(scrape.value("nanod_quic_datagrams_received_total", &[]) >= Some(received));
    until_scrape(&node, "the patterns to be unserved", |scrape| {
        scrape.value("nanod_patterns_unserved", &[]) == Some(2.0)
    })
    .await;
}

/// More patterns than have series of their own.
const MANY: usize = 1500;

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_bounded_however_many_patterns_are_called() {
    let node = Node::start().await;
    let pattern = |number: usize| format!("role:account,id:{number:014}");
    let mut service = Service::builder();
    for number in 0..MANY {
        service = service.on_raw(&pattern(number), |_, body| async move { Ok(body) });
    }
    let _service = service.start(node.options()).await.unwrap();
    let client = client(&node).await;
    for number in 0..MANY {
        let answer = client.act_raw(&pattern(number), Body::json("{}")).await;
        answer.unwrap();
    }
    let response = node.admin().get("/metrics").await;
    assert!(response.body.len() < 1_000_000, "{}", response.body.len());
    let scrape = node.scrape().await;
    let metered = scrape.value("nanod_patterns_metered", &[]).unwrap();
    let labels = scrape.values_of(CALLS, "pattern");
    assert_eq!(labels.len() as f64, metered + 2.0, "other and none");
    assert!(metered > 300.0, "{metered}");
    assert_eq!(calls(&scrape, "other"), MANY as f64 - metered);
    assert_eq!(scrape.sum(CALLS, &[]), MANY as f64);
    // Those that have none of their own are shown by none.
    let of_instances = scrape.values_of("nanod_pattern_instances", "pattern");
    assert_eq!(of_instances.len() as f64, metered);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_older_format_gets_it() {
    let node = Node::start().await;
    let open = node.admin().get("/metrics").await;
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let admin = node.admin();
    let older = admin.get_with("/metrics", "Accept: text/plain\r\n").await;
    assert_eq!(
        older.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = String::from_utf8(older.body).unwrap();
    assert!(text.contains("# TYPE nanod_calls_total counter\n"));
    assert!(!text.contains("# EOF"));
}

/// The metrics of docs/metrics.md, with their types.
fn documented() -> BTreeMap<String, String> {
    let text = include_str!("../../docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").unwrap();
        let (kind, _) = rest.split_once(" | ").unwrap();
        (name.to_owned(), kind.to_owned())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_lists_every_metric_and_no_other() {
    let cluster = Cluster::start(1).await;
    let scraped = cluster.nodes[0].scrape().await.names();
    let mut documented = documented();
    // Only with a list of revoked certificates.
    let revocations = documented.remove("nanod_revocations_expiry_timestamp_seconds");
    assert_eq!(revocations.as_deref(), Some("gauge"));
    assert_eq!(scraped, documented);
}
