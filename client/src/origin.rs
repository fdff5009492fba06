//! What a call inherits from the one that it is made for: in it comes with a handler's call, out it
//! goes with every call that the handler makes.

use std::sync::Arc;

use nano_wire::{Trace, message::Extensions, trace::TRACE_STATE_LIMIT};

/// Longest id of a request that is passed on, in bytes.
const REQUEST_ID_LIMIT: usize = 1024;

/// What a call inherits.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The trace that it is a part of, and the span that it is made in.
    pub(crate) trace: Option<Trace>,
    /// What is passed on unread.
    pub(crate) passed: Option<Arc<Passed>>,
    /// Hops that are left.
    pub(crate) hops: u8,
}

/// What callers give for those after them. Empty stands for none.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    trace_state: Box<[u8]>,
    request_id: Box<[u8]>,
}

impl Passed {
    /// What is there and not too long; `None` for nothing.
    pub(crate) fn new(trace_state: Option<&[u8]>, request_id: Option<&[u8]>) -> Option<Arc<Self>> {
        let bounded = |value: Option<&[u8]>, limit| {
            let value = value.filter(|value| value.len() <= limit);
            value.unwrap_or_default().into()
        };
        if trace_state.is_none() && request_id.is_none() {
            return None;
        }
        Some(Arc::new(Self {
            trace_state: bounded(trace_state, TRACE_STATE_LIMIT),
            request_id: bounded(request_id, REQUEST_ID_LIMIT),
        }))
    }

    /// Of a call that came by a link.
    pub(crate) fn of(extensions: &Extensions<'_>) -> Option<Arc<Self>> {
        Self::new(
            extensions.get(Extensions::TRACE_STATE),
            extensions.get(Extensions::REQUEST_ID),
        )
    }

    /// Has a call carry it.
    pub(crate) fn tell<'a>(&'a self, extensions: &mut Extensions<'a>) {
        let all = [
            (Extensions::TRACE_STATE, &self.trace_state),
            (Extensions::REQUEST_ID, &self.request_id),
        ];
        let given = all.into_iter().filter(|(_, value)| !value.is_empty());
        extensions
            .0
            .extend(given.map(|(number, value)| (number, &**value)));
    }

    /// The `tracestate`, as far as it is text.
    #[cfg(feature = "otel")]
    pub(crate) fn trace_state(&self) -> &str {
        std::str::from_utf8(&self.trace_state).unwrap_or_default()
    }

    /// The id of the request, if there is one that is text.
    pub(crate) fn request_id(&self) -> Option<&str> {
        let id = std::str::from_utf8(&self.request_id).ok()?;
        (!id.is_empty()).then_some(id)
    }
}
