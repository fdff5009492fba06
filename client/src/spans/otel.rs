//! Spans of calls and of handlers, made by the global tracer of `opentelemetry`: whatever provider
//! the program has set gets them, and none are made where it has set none. A call whose context says
//! that it is not sampled has no spans.

use std::borrow::Cow;

use nano_routing::Pattern;
use nano_wire::{Failure, Trace};
use opentelemetry::{
    Context as Scope, KeyValue,
    context::{FutureExt, WithContext},
    global::{self, BoxedSpan},
    trace::{
        Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
        TraceId, TraceState, Tracer,
    },
};

use crate::{
    Body, Context,
    origin::{Origin, Passed},
};

/// The name of the tracer.
const TRACER: &str = "nano-client";

/// The span of a call that this process makes. One that is dropped was given up.
pub(crate) struct CallSpan(Option<BoxedSpan>);

impl CallSpan {
    /// Begins it, and has the call carry it.
    pub(crate) fn begin(origin: &mut Origin) -> Self {
        if origin.trace.is_some_and(|trace| !trace.is_sampled()) {
            return Self(None);
        }
        let parent = parent(origin.trace, origin.passed.as_deref(), false);
        let span = start("nano call".into(), SpanKind::Client, &parent);
        if let Some(trace) = trace_of(span.span_context()) {
            origin.trace = Some(trace);
        }
        Self(Some(span))
    }

    /// Notes that an attempt has failed, by which the call may yet not have.
    pub(crate) fn attempt_failed(&mut self, failure: &Failure) {
        if let Some(span) = &mut self.0 {
            span.add_event("attempt failed", attributes(failure));
        }
    }

    /// Ends it.
    pub(crate) fn ended(mut self, result: &Result<Body, Failure>) {
        if let (Some(span), Err(failure)) = (&mut self.0, result) {
            span.set_attributes(attributes(failure));
            span.set_status(Status::error(failure.message.clone()));
        }
        // What is dropped with nothing in it was not given up.
        if let Some(mut span) = self.0.take() {
            span.end();
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", "cancelled"));
            span.set_status(Status::error("the call was given up"));
        }
    }
}

/// The span of a handler that runs. One that is dropped was stopped.
pub(crate) struct HandlerSpan(Option<Scope>);

impl HandlerSpan {
    /// Begins it, and has the calls that the handler makes be parts of it.
    pub(crate) fn begin(pattern: &Pattern, context: &mut Context) -> Self {
        if context.trace.is_some_and(|trace| !trace.is_sampled()) {
            return Self(None);
        }
        let parent = parent(context.trace, context.passed.as_deref(), true);
        let name = Cow::Owned(pattern.to_string());
        let mut span = start(name, SpanKind::Server, &parent);
        if let Some(trace) = trace_of(span.span_context()) {
            context.trace = Some(trace);
        }
        if span.is_recording() {
            let instance = context.session.instance.to_string();
            span.set_attribute(KeyValue::new("rpc.method", pattern.to_string()));
            span.set_attribute(KeyValue::new("nano.pattern", pattern.to_string()));
            span.set_attribute(KeyValue::new("nano.instance", instance));
        }
        Self(Some(parent.with_span(span)))
    }

    /// Makes it the current span of all that a future does.
    pub(crate) fn around<F: Future>(&self, handled: F) -> WithContext<F> {
        let scope = self.0.clone();
        handled.with_context(scope.unwrap_or_else(Scope::current))
    }

    /// Ends it.
    pub(crate) fn ended(mut self, result: &Result<Body, Failure>) {
        let Some(scope) = self.0.take() else { return };
        let span = scope.span();
        if let Err(failure) = result {
            attributes(failure)
                .into_iter()
                .for_each(|attribute| span.set_attribute(attribute));
            span.set_status(Status::error(failure.message.clone()));
        }
        span.end();
    }
}

impl Drop for HandlerSpan {
    fn drop(&mut self) {
        if let Some(scope) = &self.0 {
            let span = scope.span();
            span.set_attribute(KeyValue::new("error.type", "cancelled"));
            span.set_status(Status::error("the handler was stopped"));
            span.end();
        }
    }
}

/// A call is a part of the span that is current, if there is one.
pub(crate) fn within_current(origin: Origin) -> Origin {
    let scope = Scope::current();
    let span = scope.span();
    let Some(trace) = trace_of(span.span_context()) else {
        return origin;
    };
    let state = span.span_context().trace_state().header();
    let passed = match (&origin.passed, state.is_empty()) {
        (passed, true) => passed.clone(),
        (passed, false) => {
            let id = passed.as_deref().and_then(Passed::request_id);
            Passed::new(Some(state.as_bytes()), id.map(str::as_bytes))
        }
    };
    Origin {
        trace: Some(trace),
        passed,
        ..origin
    }
}

fn start(name: Cow<'static, str>, kind: SpanKind, parent: &Scope) -> BoxedSpan {
    let tracer = global::tracer(TRACER);
    let builder = SpanBuilder::from_name(name)
        .with_kind(kind)
        .with_attributes([KeyValue::new("rpc.system", "nano")]);
    tracer.build_with_context(builder, parent)
}

/// The scope of a span that the trace names, without what else may be current here.
fn parent(trace: Option<Trace>, passed: Option<&Passed>, is_remote: bool) -> Scope {
    let Some(trace) = trace else {
        return Scope::new();
    };
    let state = passed.map_or("", Passed::trace_state);
    let context = SpanContext::new(
        TraceId::from_bytes(trace.trace_id),
        SpanId::from_bytes(trace.parent_id),
        TraceFlags::new(trace.flags),
        is_remote,
        state.parse::<TraceState>().unwrap_or_default(),
    );
    Scope::new().with_remote_span_context(context)
}

fn trace_of(context: &SpanContext) -> Option<Trace> {
    context.is_valid().then(|| Trace {
        trace_id: context.trace_id().to_bytes(),
        parent_id: context.span_id().to_bytes(),
        flags: context.trace_flags().to_u8(),
    })
}

fn attributes(failure: &Failure) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("error.type", failure.code.name()),
        KeyValue::new("nano.certainty", failure.certainty.name()),
    ];
    let pattern = failure.pattern.clone();
    attributes.extend(pattern.map(|pattern| KeyValue::new("nano.pattern", pattern)));
    let instance = failure.instance.map(|id| id.to_string());
    attributes.extend(instance.map(|id| KeyValue::new("nano.instance", id)));
    attributes
}
