//! The spans of a test: those that nodes export to a collector, decoded by OpenTelemetry's own types,
//! and those of this process, which the SDK keeps.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use nano_integration::{ANY, Collector, RedisCertificates, until};
use opentelemetry::global;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use parking_lot::Mutex;
use prost::Message;

/// Where the spans of a test come together.
pub(crate) struct Spans {
    pub(crate) collector: Collector,
    exported: Exported,
    own: InMemorySpanExporter,
}

/// With the name of the service.
type Exported = Arc<Mutex<Vec<(String, Span)>>>;

impl Spans {
    /// A collector that has none yet.
    pub(crate) async fn start() -> Self {
        let exported = Exported::default();
        Self {
            collector: Collector::start(ANY, keep(&exported)).await,
            exported,
            own: own().clone(),
        }
    }

    /// One with TLS.
    pub(crate) async fn start_encrypted(certificates: &RedisCertificates) -> Self {
        let exported = Exported::default();
        let take = keep(&exported);
        Self {
            collector: Collector::start_encrypted(certificates, ANY, take).await,
            exported,
            own: own().clone(),
        }
    }

    /// All spans of a trace that are known by now, with the names of their services.
    pub(crate) fn of(&self, trace: &[u8]) -> Vec<(String, Span)> {
        let own = self.own.get_finished_spans().expect("spans are kept");
        let own = own.into_iter().map(|span| ("test".to_owned(), span.into()));
        let exported = self.exported.lock().clone().into_iter();
        let all = exported.chain(own);
        all.filter(|(_, span)| span.trace_id == trace).collect()
    }

    /// The spans of a trace, from its root down: there are so many, each the parent of the next.
    pub(crate) async fn chain(
        &self,
        trace: &[u8],
        root: &[u8],
        length: usize,
    ) -> Vec<(String, Span)> {
        let mut left = until("the spans of the trace", async || {
            let spans = self.of(trace);
            (spans.len() >= length).then_some(spans)
        })
        .await;
        let mut chain: Vec<(String, Span)> = Vec::new();
        let mut parent = root.to_vec();
        while let Some(at) = left
            .iter()
            .position(|(_, span)| span.parent_span_id == parent)
        {
            let next = left.remove(at);
            parent = next.1.span_id.clone();
            chain.push(next);
        }
        assert!(left.is_empty(), "these have other parents: {left:#?}");
        assert_eq!(chain.len(), length, "{chain:#?}");
        chain
    }

    /// How many spans nodes have exported.
    pub(crate) fn exported(&self) -> usize {
        self.exported.lock().len()
    }

    /// The traces of the spans that nodes have exported.
    pub(crate) fn exported_traces(&self) -> Vec<Vec<u8>> {
        let exported = self.exported.lock();
        exported
            .iter()
            .map(|(_, span)| span.trace_id.clone())
            .collect()
    }
}

/// An attribute as text.
pub(crate) fn text<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    match value(&span.attributes, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// An attribute as a number.
pub(crate) fn number(span: &Span, key: &str) -> Option<i64> {
    match value(&span.attributes, key)? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn keep(exported: &Exported) -> impl Fn(Bytes) + Send + Sync + 'static {
    let exported = Arc::clone(exported);
    move |body| {
        let request = ExportTraceServiceRequest::decode(body);
        let request = request.expect("what a node exports is OTLP");
        exported.lock().extend(spans_of(request));
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> Vec<(String, Span)> {
    let mut spans = Vec::new();
    for resource_spans in request.resource_spans {
        let resource = resource_spans.resource.unwrap_or_default();
        let service = match value(&resource.attributes, "service.name") {
            Some(Value::StringValue(name)) => name.clone(),
            other => panic!("a service has a name, not {other:?}"),
        };
        let of_scopes = resource_spans.scope_spans.into_iter();
        let found = of_scopes.flat_map(|scope_spans| scope_spans.spans);
        spans.extend(found.map(|span| (service.clone(), span)));
    }
    spans
}

/// The exporter of this process, as a program sets one for itself and the library.
fn own() -> &'static InMemorySpanExporter {
    static OWN: OnceLock<InMemorySpanExporter> = OnceLock::new();
    OWN.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder();
        let provider = provider.with_simple_exporter(exporter.clone()).build();
        global::set_tracer_provider(provider);
        exporter
    })
}
