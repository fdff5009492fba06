//! Which subjects are being looked up, and which were of late: calls ask, the reader answers.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

/// How long it is remembered that nobody knows a subject.
const MISS: Duration = Duration::from_secs(1);

/// Subjects that are known at a time. While there are more, further ones are not looked up.
const KNOWN: usize = 10_000;

/// What is known of subjects that no route matches.
#[derive(Default)]
pub(super) struct Lookups {
    known: Mutex<HashMap<String, Lookup>>,
    ended: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lookup {
    Open,
    /// It was over at that time.
    Over(Instant),
}

impl Lookups {
    /// Whether it may be that a subject is known, since it is being looked up or cannot be; if it
    /// was not of late, `begin` has it looked up if that is possible.
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
        if known.len() < KNOWN && begin() {
            known.insert(subject.to_owned(), Lookup::Open);
        }
        true
    }

    /// It has been looked up: what there was is a route by now.
    pub(super) fn end(&self, subject: String, now: Instant) {
        if let Entry::Occupied(mut entry) = self.known.lock().entry(subject) {
            entry.insert(Lookup::Over(now));
        }
        self.ended.notify_waiters();
    }

    /// It could not be looked up: nothing is known of it.
    pub(super) fn give_up(&self, subject: &str) {
        self.known.lock().remove(subject);
        self.ended.notify_waiters();
    }

    /// Waits for the end of any look-up.
    pub(super) fn ended(&self) -> Notified<'_> {
        self.ended.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_remembered_for_a_while() {
        let (lookups, now) = (Lookups::default(), Instant::now());
        let begin = |can, now| lookups.is_open("a:1", now, || can);
        assert!(begin(false, now), "it could not begin");
        assert!(begin(true, now));
        assert!(begin(false, now + MISS), "it has begun");
        lookups.end("a:1".to_owned(), now);
        assert!(!begin(true, now + MISS / 2), "it is over");
        assert!(begin(true, now + MISS));
        lookups.give_up("a:1");
        assert!(begin(true, now + MISS), "nothing is known");
    }

    #[test]
    fn no_more_subjects_are_known_than_there_is_room_for() {
        let (lookups, now) = (Lookups::default(), Instant::now());
        let begins = |number: usize, now| {
            let mut has_begun = false;
            let is_open = lookups.is_open(&format!("a:{number}"), now, || {
                has_begun = true;
                true
            });
            assert!(is_open);
            has_begun
        };
        assert!((0..KNOWN).all(|number| begins(number, now)));
        assert!(!begins(KNOWN, now), "there is no room");
        lookups.end("a:7".to_owned(), now);
        assert!(!begins(KNOWN, now), "the miss takes it");
        assert!(begins(KNOWN, now + MISS));
    }
}
