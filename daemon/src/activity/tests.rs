//! The most that may be told comes in, and pages of it that fit go out.

use bytes::BytesMut;
use nano_wire::{
    Certainty, Code,
    activity::{Activity, BOUNDS, Figures, Of, PatternActivity, State},
    frame::FRAME_LIMIT,
    message::Control,
};

use super::page;

/// Bytes of the longest pattern.
const LONGEST: usize = 1024;

/// More than the meters hold of the shortest patterns.
const PATTERNS: usize = 700;

/// Pages that the library reads of one answer.
const PAGES: usize = 64;

/// Figures with every failure and every state that there is, all as high as can be.
fn highest() -> Figures {
    let failures = Code::all().flat_map(|code| {
        let each = Certainty::all();
        each.map(move |certainty| (code, certainty, u64::MAX))
    });
    Figures {
        refused: u64::MAX,
        failures: failures.collect(),
        buckets: vec![u64::MAX; BOUNDS.len() + 1],
        micros: u64::MAX,
        in_flight: u64::MAX,
        instances: State::ALL.map(|state| (state, u32::MAX)).to_vec(),
    }
}

#[test]
fn each_page_of_the_most_figures_fits_into_a_frame() {
    let of = |number| Of::Pattern(format!("n:{number:0width$}", width = LONGEST - 2));
    let all = (0..PATTERNS).map(|number| PatternActivity {
        of: of(number),
        figures: highest(),
    });
    let mut rest = Activity {
        patterns: all.collect(),
        ..Activity::default()
    };
    let mut pages = 0;
    let mut told = Vec::new();
    while !rest.patterns.is_empty() {
        let page = page(rest.clone());
        rest.patterns.drain(..page.patterns.len());
        assert_eq!(page.more, !rest.patterns.is_empty());
        told.extend(page.patterns.iter().map(|pattern| pattern.of.clone()));
        let mut bytes = BytesMut::new();
        Control::Activity(page).append(0, &mut bytes);
        assert!(bytes.len() <= FRAME_LIMIT, "{} bytes", bytes.len());
        pages += 1;
    }
    assert!(told.into_iter().eq((0..PATTERNS).map(of)));
    assert!(pages <= PAGES, "{pages} pages");
}
