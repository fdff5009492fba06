//! The two pure halves of a link against naive models, and what only this module can see.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

mod body;
mod inbound;
mod outbound;
mod room;

use bytes::Bytes;

use crate::{
    CallId,
    frame::{FrameError, Kind, Splitter},
};

/// The frames that a peer reads from what QUIC was handed.
fn replay(chunks: &[Bytes]) -> Vec<(Kind, CallId)> {
    let mut frames = Vec::new();
    let mut splitter = Splitter::default();
    for chunk in chunks {
        splitter
            .push(chunk.clone(), |frame| {
                frames.push((frame.kind.unwrap(), CallId::from_u64(frame.id)));
                Ok::<_, FrameError>(())
            })
            .unwrap();
    }
    frames
}
