//! A peer's stream: however it is cut, it holds the same frames and the same error, and whatever
//! its payloads hold is either refused or can be passed on.
//!
//! An input is the number of cuts, one byte for the length of each chunk, and the stream, whose
//! rest is the last chunk.

use bytes::Bytes;
use nano_wire::{
    CallHeader, Failure, ReplyHeader, codec,
    frame::{Frame, FrameError, Kind, PREFIX, Splitter},
    message::Control,
};

use super::roundtrip;

/// Reads the input's stream in one piece and in chunks, then every payload as every message.
pub fn frame(input: &[u8]) {
    let (sizes, stream) = sizes_and_stream(input);
    let whole = read([stream.clone()]);
    assert_eq!(read(chunks(stream.clone(), sizes)), whole);
    if let Ok(is_at_border) = whole.end {
        assert_eq!(is_at_border, whole.length() == stream.len());
    }
    for frame in &whole.frames {
        read_as_control(frame);
        read_as_header(&frame.payload);
    }
}

fn sizes_and_stream(input: &[u8]) -> (&[u8], Bytes) {
    let (count, rest) = input.split_first().unwrap_or((&0, &[]));
    let (sizes, stream) = rest.split_at(rest.len().min(usize::from(*count)));
    (sizes, Bytes::copy_from_slice(stream))
}

fn chunks(mut stream: Bytes, sizes: &[u8]) -> Vec<Bytes> {
    let mut chunks = Vec::with_capacity(sizes.len() + 1);
    for size in sizes {
        chunks.push(stream.split_to(stream.len().min(usize::from(*size))));
    }
    chunks.push(stream);
    chunks
}

/// What a [`Splitter`] made of a stream.
#[derive(PartialEq, Debug)]
struct Reading {
    frames: Vec<Owned>,
    /// Whether the stream ends with a whole frame, or what is wrong with it.
    end: Result<bool, FrameError>,
}

impl Reading {
    fn length(&self) -> usize {
        let lengths = self.frames.iter().map(|frame| PREFIX + frame.payload.len());
        lengths.sum()
    }
}

#[derive(PartialEq, Debug)]
struct Owned {
    kind: Option<Kind>,
    id: u64,
    payload: Vec<u8>,
}

fn read(chunks: impl IntoIterator<Item = Bytes>) -> Reading {
    let mut frames = Vec::new();
    let mut splitter = Splitter::default();
    let outcome = chunks.into_iter().try_for_each(|chunk| {
        splitter.push(chunk, |frame| {
            frames.push(Owned {
                kind: frame.kind,
                id: frame.id,
                payload: frame.payload.to_vec(),
            });
            Ok::<_, FrameError>(())
        })
    });
    Reading {
        frames,
        end: outcome.map(|()| splitter.is_at_border()),
    }
}

/// Reads the payload as that of the frame's own kind and of every other.
fn read_as_control(frame: &Owned) {
    for kind in Kind::ALL.map(Some).into_iter().chain([frame.kind]) {
        let frame = Frame {
            kind,
            id: frame.id,
            payload: &frame.payload,
        };
        if let Ok(Some(message)) = Control::parse(frame) {
            roundtrip::control(frame.id, &message);
        }
    }
}

fn read_as_header(payload: &[u8]) {
    if let Ok((header, _)) = codec::decode::<CallHeader<'_>>(payload) {
        roundtrip::header(&header, &roundtrip::encoded(&header));
    }
    if let Ok((header, _)) = codec::decode::<ReplyHeader<'_>>(payload) {
        roundtrip::header(&header, &roundtrip::encoded(&header));
    }
    if let Ok((failure, _)) = codec::decode::<Failure>(payload) {
        roundtrip::header(&failure, &roundtrip::encoded(&failure));
    }
}
