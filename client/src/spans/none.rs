//! Where the library is built without the feature `otel`: contexts travel, and no spans are made.

use nano_routing::Pattern;
use nano_wire::Failure;

use crate::{Body, Context, origin::Origin};

/// None of a call.
pub(crate) struct CallSpan;

impl CallSpan {
    pub(crate) fn begin(_: &mut Origin) -> Self {
        Self
    }

    pub(crate) fn attempt_failed(&mut self, _: &Failure) {}

    pub(crate) fn ended(self, _: &Result<Body, Failure>) {}
}

/// None of a handler.
pub(crate) struct HandlerSpan;

impl HandlerSpan {
    pub(crate) fn begin(_: &Pattern, _: &mut Context) -> Self {
        Self
    }

    pub(crate) fn around<F: Future>(&self, handled: F) -> F {
        handled
    }

    pub(crate) fn ended(self, _: &Result<Body, Failure>) {}
}

/// A call is a part of what its origin says.
pub(crate) fn within_current(origin: Origin) -> Origin {
    origin
}
