//! W3C trace context in its text forms (<https://www.w3.org/TR/trace-context/>): `traceparent` and
//! `tracestate` come in, what a call carries goes out, and the other way round.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::Trace;

/// Longest `tracestate` that is passed on, in bytes.
pub const TRACE_STATE_LIMIT: usize = 512;

/// Most members of a `tracestate`.
const MEMBERS: usize = 32;

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// A text that is no `traceparent`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no traceparent, which is 00-TRACE-SPAN-FLAGS in 32, 16 and 2 lower-case hexadecimal digits, \
     the first two not all zero"
)]
pub struct TraceError;

impl Trace {
    /// The flag of calls whose spans are to be recorded.
    pub const SAMPLED: u8 = 1;
    /// The flag of traces whose ids are random.
    pub const RANDOM: u8 = 2;

    /// The beginning of a new trace, with random ids.
    #[must_use]
    pub fn begin(is_sampled: bool) -> Self {
        let sampled = if is_sampled { Self::SAMPLED } else { 0 };
        Self {
            trace_id: fastrand::u128(1..).to_be_bytes(),
            parent_id: Self::span_id(),
            flags: Self::RANDOM | sampled,
        }
    }

    /// A new id for a span.
    #[must_use]
    pub fn span_id() -> [u8; 8] {
        fastrand::u64(1..).to_be_bytes()
    }

    /// Whether spans of the call are to be recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// Whether neither of its ids is the one that means none.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.trace_id != [0; 16] && self.parent_id != [0; 8]
    }
}

/// As a `traceparent` of version 00; flags that this version does not know are left out, as W3C has
/// it.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace = u128::from_be_bytes(self.trace_id);
        let span = u64::from_be_bytes(self.parent_id);
        let flags = self.flags & (Self::SAMPLED | Self::RANDOM);
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

impl FromStr for Trace {
    type Err = TraceError;

    /// Reads a `traceparent`, of later versions what version 00 has.
    fn from_str(text: &str) -> Result<Self, TraceError> {
        parse(text.as_bytes()).ok_or(TraceError)
    }
}

fn parse(text: &[u8]) -> Option<Trace> {
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let [version] = hex(&known[..2])?;
    let may_go_on = version != 0 && rest.first() == Some(&b'-');
    if version == 0xff || !(rest.is_empty() || may_go_on) {
        return None;
    }
    if [2, 35, 52].iter().any(|at| known[*at] != b'-') {
        return None;
    }
    let trace = Trace {
        trace_id: hex(&known[3..35])?,
        parent_id: hex(&known[36..52])?,
        flags: hex::<1>(&known[53..])?[0],
    };
    trace.is_valid().then_some(trace)
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// One `tracestate` of the headers of that name: whole members from the left, as many as there may
/// be. `None` if nothing of it can be passed on.
#[must_use]
pub fn trace_state<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    let mut found: Option<Cow<'a, [u8]>> = None;
    for header in headers {
        if !header
            .iter()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        {
            return None;
        }
        match &mut found {
            None => found = Some(Cow::Borrowed(header)),
            // What is longer is cut off below, and more of it is of no use.
            Some(before) if before.len() > TRACE_STATE_LIMIT => break,
            Some(before) => {
                let before = before.to_mut();
                before.push(b',');
                before.extend_from_slice(header);
            }
        }
    }
    let found = found?;
    let length = bounded(&found);
    if length == 0 {
        return None;
    }
    Some(match found {
        Cow::Borrowed(header) => Cow::Borrowed(&header[..length]),
        Cow::Owned(mut header) => {
            header.truncate(length);
            Cow::Owned(header)
        }
    })
}

/// How much of a `tracestate` is passed on.
fn bounded(state: &[u8]) -> usize {
    let ends = state.iter().enumerate().filter(|(_, byte)| **byte == b',');
    let ends = ends.map(|(at, _)| at).chain([state.len()]);
    let whole = ends
        .take(MEMBERS)
        .take_while(|end| *end <= TRACE_STATE_LIMIT);
    whole.last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn state(headers: &[&str]) -> Option<String> {
        let headers = headers.iter().map(|header| header.as_bytes());
        let state = trace_state(headers)?.into_owned();
        Some(String::from_utf8(state).expect("it is ASCII"))
    }

    #[test]
    fn a_traceparent_is_read_and_written() {
        let trace: Trace = TEXT.parse().expect("it is one");
        assert_eq!(trace.to_string(), TEXT);
        assert!(trace.is_sampled());
        for begun in [Trace::begin(true), Trace::begin(false)] {
            assert_eq!(begun.to_string().parse(), Ok(begun));
        }
        assert!(Trace::begin(true).is_sampled() && !Trace::begin(false).is_sampled());
    }

    #[test]
    fn what_a_later_version_adds_is_left_out() {
        let trace: Trace = TEXT.parse().expect("it is one");
        let later = TEXT.replacen("00", "cc", 1);
        for text in [later.clone(), format!("{later}-what-is-new")] {
            assert_eq!(text.parse(), Ok(trace), "{text}");
        }
        let flags: Trace = TEXT.replace("-01", "-ff").parse().expect("it is one");
        assert_eq!(flags.to_string(), TEXT.replace("-01", "-03"));
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let zero_trace = TEXT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32));
        let zero_span = TEXT.replace("b7ad6b7169203331", &"0".repeat(16));
        for text in [
            "",
            "00",
            &TEXT[..54],
            &format!("{TEXT}-"),
            &format!("{TEXT}0"),
            &TEXT.replacen("00", "ff", 1),
            &format!("{}.x", TEXT.replacen("00", "01", 1)),
            &TEXT.to_uppercase(),
            &TEXT.replace('-', "_"),
            &TEXT.replace("0af", "0ag"),
            &TEXT.replace("0af", "+af"),
            &TEXT.replace("0a", "ä"),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(text.parse::<Trace>(), Err(TraceError), "{text}");
        }
    }

    #[test]
    fn a_tracestate_is_joined_and_bounded_at_its_members() {
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[""]), None);
        assert_eq!(state(&["a=1"]).as_deref(), Some("a=1"));
        assert_eq!(state(&["a=1", "b=2,c=3"]).as_deref(), Some("a=1,b=2,c=3"));
        assert_eq!(state(&["a=ä"]), None);
        assert_eq!(state(&["a=1", "b=\u{7}"]), None);
        let long = format!("a={}", "x".repeat(TRACE_STATE_LIMIT));
        assert_eq!(state(&[&long]), None);
        assert_eq!(state(&["b=1", &long]).as_deref(), Some("b=1"));
        let exact = &long[..TRACE_STATE_LIMIT];
        assert_eq!(state(&[exact, "b=1"]).as_deref(), Some(exact));
        let many = vec!["a=1"; 2 * MEMBERS].join(",");
        let most = vec!["a=1"; MEMBERS].join(",");
        assert_eq!(state(&[&many]), Some(most));
    }
}
