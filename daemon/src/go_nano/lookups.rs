//! Which subjects are being looked up, and which were of late: calls ask, the reader answers.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long it is remembered that nobody knows a subject.
const MISS: Duration = Duration::from_secs(1);

/// Subjects that are known at a time. While there are more, further ones are not looked up.
const KNOWN: usize = 10_000;

/// What is known of subjects that no route matches.
#[derive(Default)]
pub(super) struct Lookups {
    known: Mutex<HashMap<String, Lookup>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lookup {
    Open,
    /// It was over at that time.
    Over(Instant),
}

impl Lookups {
    /// Whether a subject is being looked up; if that is not known, `begin` has it looked up if it
    /// can.
    pub(super) fn is_open(
        &self,
        subject: &str,
        now: Instant,
        begin: impl FnOnce() -> bool,
    ) -> bool {
        let mut known = self.known.lock();
        match known.get(subject) {
            Some(Lookup::Open) => return true,
            Some(Lookup::Over(at)) if now < *at + MISS => return false,
            _ => {}
        }
        if known.len() >= KNOWN {
            known.retain(|_, lookup| match lookup {
                Lookup::Open => true,
                Lookup::Over(at) => now < *at + MISS,
            });
        }
        let begins = known.len() < KNOWN && begin();
        if begins {
            known.insert(subject.to_owned(), Lookup::Open);
        }
        begins
    }

    /// It has been looked up: what there was is a route by now.
    pub(super) fn end(&self, subject: String, now: Instant) {
        if let Entry::Occupied(mut entry) = self.known.lock().entry(subject) {
            entry.insert(Lookup::Over(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_remembered_for_a_while() {
        let (lookups, now) = (Lookups::default(), Instant::now());
        let begin = |can, now| lookups.is_open("a:1", now, || can);
        assert!(!begin(false, now), "it could not begin");
        assert!(begin(true, now));
        assert!(begin(false, now + MISS), "it has begun");
        lookups.end("a:1".to_owned(), now);
        assert!(!begin(true, now + MISS / 2), "it is over");
        assert!(begin(true, now + MISS));
    }

    #[test]
    fn no_more_subjects_are_known_than_there_is_room_for() {
        let (lookups, now) = (Lookups::default(), Instant::now());
        let open = |number: usize, now| lookups.is_open(&format!("a:{number}"), now, || true);
        assert!((0..KNOWN).all(|number| open(number, now)));
        assert!(!open(KNOWN, now), "there is no room");
        lookups.end("a:7".to_owned(), now);
        assert!(!open(KNOWN, now), "the miss takes it");
        assert!(open(KNOWN, now + MISS));
    }
}
