//! The heartbeat: when the next one is due, and since when none came back.

use std::time::Duration;

use super::{command::Ticket, settings::Settings};

#[derive(Debug)]
pub(super) struct Beat {
    /// The own boot's counter; rises with each use.
    counter: u64,
    flight: Option<Flight>,
    last: Option<Duration>,
    /// A listing is wanted soon.
    hurries: bool,
    listed: Option<Duration>,
    away_since: Option<Duration>,
}

/// A beat that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) ticket: Ticket,
    pub(super) issued: Duration,
    /// What [`Own::writes`](super::own::Own::writes) said when it was issued.
    pub(super) writes: (u64, bool),
}

impl Beat {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            counter: 0,
            flight: None,
            last: None,
            hurries: false,
            listed: None,
            away_since: Some(now),
        }
    }

    pub(super) fn hurry(&mut self) {
        self.hurries = true;
    }

    pub(super) fn away_since(&self) -> Option<Duration> {
        self.away_since
    }

    pub(super) fn next_counter(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn next_wake(&self, settings: &Settings) -> Option<Duration> {
        let pause = if self.hurries {
            settings.hurry
        } else {
            settings.beat
        };
        match (self.flight, self.last) {
            (Some(_), _) => None,
            (None, Some(last)) => Some(last + pause),
            (None, None) => Some(Duration::ZERO),
        }
    }

    pub(super) fn sent(&mut self, flight: Flight) {
        self.last = Some(flight.issued);
        self.flight = Some(flight);
        self.hurries = false;
    }

    /// What was in flight.
    pub(super) fn answered(&mut self, ticket: Ticket) -> Option<Flight> {
        self.flight.take_if(|flight| flight.ticket == ticket)
    }

    pub(super) fn failed(&mut self, now: Duration) {
        self.away_since.get_or_insert(now);
    }

    /// A listing came; whether it is the first one after an outage.
    pub(super) fn listed(&mut self, now: Duration, settings: &Settings) -> bool {
        self.away_since = None;
        let before = self.listed.replace(now);
        before.is_none_or(|before| now > before + settings.outage)
    }
}
