//! Traces over every hop: who is whose parent, what is passed on, what is exported and what is not.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

#[path = "traces/spans.rs"]
mod spans;

use std::{future::pending, net::TcpListener};

use nano_client::{Client, Context, HandlerError, Options, Policy, Service, Trace};
use nano_integration::{ANY, Cluster, Node, NodeBuilder, RedisCertificates, until};
use opentelemetry::{
    Context as Scope,
    context::FutureExt,
    global,
    trace::{TraceContextExt, Tracer},
};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::Instrument;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use spans::{Spans, number, text};

/// A context that an HTTP caller gives.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn headers(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{SPAN}-{flags}\r\ntracestate: v=1\r\nX-Request-Id: seven\r\n")
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let pairs = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn exporting(spans: &Spans) -> NodeBuilder {
    Node::builder().flag("--otlp-endpoint", spans.collector.url())
}

/// What a handler sees of its call.
fn seen(context: &Context) -> Value {
    json!({
        "Trace": context.trace().map(|trace| trace.to_string()),
        "RequestId": context.request_id(),
    })
}

/// A service of `inner:1`, which says what it sees, and of `outer:1`, which asks that one.
async fn service(options: Options) -> Service {
    let inner = |context: Context, _: Value| async move { Ok::<_, HandlerError>(seen(&context)) };
    let outer = |context: Context, message: Value| async move {
        let answer: Value = context.act("inner:1,more:2", &message).await?;
        Ok::<_, HandlerError>(answer)
    };
    let fail = |_: Context, _: Value| async { Err::<Value, _>(HandlerError::new("out of luck")) };
    let builder = Service::builder()
        .on("inner:1", inner)
        .on("outer:1", outer)
        .on("fail:1", fail);
    builder.start(options).await.unwrap()
}

/// A client that calls through its node.
async fn client(node: &Node) -> Client {
    Client::connect(node.options().direct(false)).await.unwrap()
}

/// The trace that a handler has seen.
fn trace_of(answer: &Value) -> Trace {
    answer["Trace"].as_str().unwrap().parse().unwrap()
}

fn names(chain: &[(String, Span)]) -> Vec<(&str, &str)> {
    let names = chain.iter();
    names
        .map(|(service, span)| (service.as_str(), span.name.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_is_one_trace_through_client_node_and_handler() {
    let spans = Spans::start().await;
    let node = exporting(&spans)
        .variable("OTEL_SERVICE_NAME", "the node")
        .start()
        .await;
    let service = service(node.options()).await;
    let client = client(&node).await;
    let root = global::tracer("test").start("root");
    let scope = Scope::current_with_span(root);
    let message = json!({"Left": 1});
    let call = client.act::<_, Value>("inner:1,any:0", &message);
    let answer = call.with_context(scope.clone()).await.unwrap();
    let root = scope.span().span_context().clone();
    scope.span().end();
    let chain = spans.chain(&root.trace_id().to_bytes(), &[], 4).await;
    let expected = [
        ("test", "root"),
        ("test", "nano call"),
        ("the node", "inner:1"),
        ("test", "inner:1"),
    ];
    assert_eq!(names(&chain), expected);
    let kinds: Vec<SpanKind> = chain.iter().map(|(_, span)| span.kind()).collect();
    let expected = [
        SpanKind::Internal,
        SpanKind::Client,
        SpanKind::Server,
        SpanKind::Server,
    ];
    assert_eq!(kinds, expected);
    let (of_node, of_handler) = (&chain[2].1, &chain[3].1);
    let instance = service.instance().to_string();
    for span in [of_node, of_handler] {
        assert_eq!(text(span, "rpc.system"), Some("nano"));
        assert_eq!(text(span, "nano.pattern"), Some("inner:1"));
        assert_eq!(text(span, "nano.instance"), Some(instance.as_str()));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    }
    assert_eq!(text(of_node, "network.protocol.name"), Some("quic"));
    assert_eq!(text(of_node, "nano.certainty"), Some("executed"));
    assert_eq!(number(of_node, "nano.request.bytes"), Some(10));
    // Bit 0 is sampled, bits 8 and 9 say that the parent is elsewhere.
    assert_eq!(of_node.flags & 0x301, 0x301);
    assert_eq!(trace_of(&answer).parent_id.to_vec(), of_handler.span_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_within_a_span_of_tracing_is_a_part_of_it() {
    let spans = Spans::start().await;
    let node = exporting(&spans).start().await;
    let _service = service(node.options()).await;
    let client = client(&node).await;
    let layer = tracing_opentelemetry::layer().with_tracer(global::tracer("test"));
    let _default = tracing_subscriber::registry().with(layer).set_default();
    let message = json!({});
    let outside: Value = client.act("inner:1", &message).await.unwrap();
    let call = client.act::<_, Value>("inner:1", &message);
    let within = call.instrument(tracing::info_span!("root")).await.unwrap();
    let (outside, within) = (trace_of(&outside), trace_of(&within));
    assert_ne!(outside.trace_id, within.trace_id);
    let chain = spans.chain(&within.trace_id, &[], 4).await;
    let expected = [
        ("test", "root"),
        ("test", "nano call"),
        ("nanod", "inner:1"),
        ("test", "inner:1"),
    ];
    assert_eq!(names(&chain), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_callers_trace_goes_on_through_what_its_handler_calls() {
    let spans = Spans::start().await;
    let node = exporting(&spans).start().await;
    let _service = service(node.options().direct(false)).await;
    let message = json!({"Pattern": "outer:1", "N": 1});
    let response = node.http().post_with(&message, &headers("01")).await;
    assert_eq!(response.status, 200);
    let answer = response.json();
    assert_eq!(answer["RequestId"], "seven");
    let chain = spans.chain(&bytes(TRACE), &bytes(SPAN), 5).await;
    let expected = [
        ("nanod", "outer:1"),
        ("test", "outer:1"),
        ("test", "nano call"),
        ("nanod", "inner:1"),
        ("test", "inner:1"),
    ];
    assert_eq!(names(&chain), expected);
    let (first, last) = (&chain[0].1, &chain[4].1);
    assert_eq!(text(first, "network.protocol.name"), Some("http"));
    assert_eq!(text(first, "nano.caller"), Some("client/http-local"));
    assert_eq!(number(first, "http.response.status_code"), Some(200));
    assert_eq!(last.trace_state, "v=1");
    assert_eq!(trace_of(&answer).parent_id.to_vec(), last.span_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_says_so_in_its_spans() {
    let spans = Spans::start().await;
    let node = exporting(&spans).start().await;
    let _service = service(node.options()).await;
    let http = node.http();
    let message = json!({"Pattern": "fail:1"});
    assert_eq!(http.post_with(&message, &headers("01")).await.status, 500);
    let chain = spans.chain(&bytes(TRACE), &bytes(SPAN), 2).await;
    assert_eq!(names(&chain), [("nanod", "fail:1"), ("test", "fail:1")]);
    for (_, span) in &chain {
        assert_eq!(text(span, "error.type"), Some("handler_failed"));
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Error);
    }
    assert_eq!(text(&chain[0].1, "nano.certainty"), Some("executed"));
    let trace = Trace::begin(true);
    let client = client(&node).await.with_trace(trace);
    let nobody = client.act::<_, Value>("nobody:1", &json!({})).await;
    assert!(nobody.is_err());
    let chain = spans.chain(&trace.trace_id, &trace.parent_id, 2).await;
    assert_eq!(
        names(&chain),
        [("test", "nano call"), ("nanod", "nano call")]
    );
    for (_, span) in &chain {
        assert_eq!(text(span, "error.type"), Some("no_route"));
        assert_eq!(text(span, "nano.certainty"), Some("not_sent"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_in_vain_is_told_in_the_span() {
    let spans = Spans::start().await;
    let node = exporting(&spans).start().await;
    let (begun, mut has_begun) = mpsc::channel(1);
    let never_ends = move |_: Context, _: Value| {
        let begun = begun.clone();
        async move {
            begun.send(()).await?;
            pending::<Result<Value, HandlerError>>().await
        }
    };
    let policy = Policy {
        max_concurrent: Some(1),
        ..Policy::default()
    };
    let builder = Service::builder().policy(policy).on("busy:1", never_ends);
    let _service = builder.start(node.options()).await.unwrap();
    let client = client(&node).await;
    let message = json!({});
    let _given_up_at_the_end =
        tokio::spawn(async move { client.act::<_, Value>("busy:1", &message).await });
    has_begun.recv().await.unwrap();
    let message = json!({"Pattern": "busy:1"});
    let refused = node.http().post_with(&message, &headers("01")).await;
    assert_eq!(refused.status, 503);
    let chain = spans.chain(&bytes(TRACE), &bytes(SPAN), 1).await;
    let span = &chain[0].1;
    assert_eq!(text(span, "error.type"), Some("overloaded"));
    assert!(span.events.len() > 1, "{:#?}", span.events);
    for event in &span.events {
        assert_eq!(event.name, "attempt failed");
        assert!(event.time_unix_nano <= span.end_time_unix_nano);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_over_two_nodes() {
    let spans = Spans::start().await;
    let url = spans.collector.url();
    let cluster = Cluster::start_with(2, |number, node| {
        node.flag("--otlp-endpoint", &url)
            .variable("OTEL_SERVICE_NAME", ["one", "two"][number])
    })
    .await;
    let _service = service(cluster.at(1)).await;
    let http = cluster.nodes[0].http();
    let message = json!({"Pattern": "inner:1"});
    until("the route to be known", async || {
        (http.post(&message).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(http.post_with(&message, &headers("01")).await.status, 200);
    let chain = spans.chain(&bytes(TRACE), &bytes(SPAN), 3).await;
    let expected = [("one", "inner:1"), ("two", "inner:1"), ("test", "inner:1")];
    assert_eq!(names(&chain), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_passed_on_without_spans() {
    let spans = Spans::start().await;
    let mut node = exporting(&spans).flag("--trace-sample", 1).start().await;
    let _service = service(node.options().direct(false)).await;
    let message = json!({"Pattern": "outer:1"});
    for _ in 0..10 {
        let answer = node.http().post_with(&message, &headers("00")).await.json();
        // No span on the way has taken the caller's place.
        let given = format!("00-{TRACE}-{SPAN}-00");
        assert_eq!(answer["Trace"], given);
        assert_eq!(answer["RequestId"], "seven");
    }
    let trace = Trace::begin(false);
    let client = client(&node).await;
    let untraced = client.with_trace(trace);
    let answer: Value = untraced.act("outer:1", &json!({})).await.unwrap();
    assert_eq!(trace_of(&answer), trace);
    // A stop exports what is left.
    assert!(node.process.terminate().await.success());
    assert_eq!(spans.exported(), 0);
    assert!(spans.of(&trace.trace_id).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_context_begins_a_trace_or_none() {
    let spans = Spans::start().await;
    let mut node = exporting(&spans).flag("--trace-sample", 1).start().await;
    let off = Node::start().await;
    let _at_node = service(node.options()).await;
    let _at_off = service(off.options()).await;
    let message = json!({"Pattern": "inner:1"});
    let lines = [
        format!("traceparent: 00-{TRACE}-{}-01\r\n", "0".repeat(16)),
        format!("traceparent: 00-{}-{SPAN}-01\r\n", "0".repeat(32)),
        format!("traceparent: 00-{TRACE}-{SPAN}-01-more\r\n"),
        format!("traceparent: ff-{TRACE}-{SPAN}-01\r\n"),
        format!("traceparent: 00-{}-{SPAN}-01\r\n", TRACE.to_uppercase()),
        format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n").repeat(2),
    ];
    let mut begun = Vec::new();
    for line in &lines {
        let given = format!("{line}tracestate: v=1\r\n");
        let answer = node.http().post_with(&message, &given).await.json();
        begun.push(trace_of(&answer));
        // A node that exports nothing passes nothing on, and its service begins as it likes.
        let answer = off.http().post_with(&message, &given).await.json();
        assert_ne!(trace_of(&answer).trace_id.to_vec(), bytes(TRACE), "{line}");
    }
    for (line, begun) in lines.iter().zip(begun) {
        assert!(
            begun.is_sampled() && begun.trace_id.to_vec() != bytes(TRACE),
            "{line}"
        );
        let chain = spans.chain(&begun.trace_id, &[], 2).await;
        assert_eq!(names(&chain), [("nanod", "inner:1"), ("test", "inner:1")]);
        assert_eq!(chain[1].1.trace_state, "", "{line}");
    }
    assert!(node.process.terminate().await.success());
    assert_eq!(spans.exported(), lines.len());
    assert!(!spans.exported_traces().contains(&bytes(TRACE)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_with_tls_is_known_by_its_authority() {
    let certificates = RedisCertificates::new();
    let spans = Spans::start_encrypted(&certificates).await;
    let url = spans.collector.url();
    let node = |authority: &str| {
        let node = Node::builder().flag("--otlp-endpoint", &url);
        let node = node.flag("--trace-sample", 1);
        let authority = certificates.path(authority).display().to_string();
        node.variable("OTEL_EXPORTER_OTLP_CERTIFICATE", authority)
    };
    let message = json!({"Pattern": "nobody:1"});
    for (authority, exported) in [("ca", 1), ("client", 1)] {
        let mut node = node(authority).start().await;
        assert_eq!(node.http().post(&message).await.status, 404);
        assert!(node.process.terminate().await.success());
        assert_eq!(spans.exported(), exported, "{authority}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_exports_what_is_left() {
    let spans = Spans::start().await;
    let mut node = exporting(&spans).flag("--trace-sample", 1).start().await;
    let message = json!({"Pattern": "nobody:1"});
    for _ in 0..100 {
        assert_eq!(node.http().post(&message).await.status, 404);
    }
    assert!(node.process.terminate().await.success());
    assert_eq!(spans.exported(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_or_hangs_costs_no_call() {
    let hangs = TcpListener::bind(ANY).unwrap();
    let gone = TcpListener::bind(ANY).unwrap().local_addr().unwrap();
    for collector in [gone, hangs.local_addr().unwrap()] {
        let mut node = Node::builder()
            .flag("--otlp-endpoint", format!("http://{collector}"))
            .flag("--trace-sample", 1)
            .start()
            .await;
        let _service = service(node.options()).await;
        let message = json!({"Pattern": "inner:1"});
        for _ in 0..50 {
            assert_eq!(node.http().post(&message).await.status, 200);
        }
        node.process.signal(rustix::process::Signal::TERM);
        let (status, said) = node.process.last_words().await;
        assert!(status.success(), "{said}");
        let lost: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("spans were lost"))
            .collect();
        assert_eq!(lost.len(), 1, "{said}");
        assert!(lost[0].contains("lost=50"), "{said}");
        assert!(
            said.matches("spans cannot be exported").count() <= 1,
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_export_is_said_at_the_start() {
    let wrong = Node::builder().flag("--otlp-endpoint", "http://user:hunter2@collector");
    let (_, said) = wrong.refused().await;
    assert!(
        said.contains("otlp_endpoint: the value (not shown)"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    let endpoint = "http://127.0.0.1:4317";
    let grpc = Node::builder()
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .variable("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let (_, said) = grpc.refused().await;
    assert!(said.contains("the node exports by http/protobuf"), "{said}");
    let authority = Node::builder()
        .variable("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")
        .flag("--otlp-endpoint", "https://127.0.0.1:4318");
    let (_, said) = authority.refused().await;
    assert!(said.contains("/nowhere/ca.pem"), "{said}");
}
