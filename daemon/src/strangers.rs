//! Log lines about connections that are not let in. Whoever can reach the node can cause them,
//! thousands a second, so only some get a line and the next line counts the others.

use std::{
    fmt::Display,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Lines in each [`PERIOD`].
const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// Those of all data threads.
#[derive(Default)]
pub struct Strangers {
    told: Mutex<Told>,
    all: AtomicU64,
}

/// What was logged of late.
#[derive(Default)]
struct Told {
    /// When the present period began.
    since: Option<Instant>,
    lines: u32,
    /// Those who got no line since the last one.
    untold: u64,
}

impl Strangers {
    /// Logs that a connection was not let in, unless too many were just now.
    pub fn tell(&self, peer: SocketAddr, what: &str, why: &dyn Display) {
        self.all.fetch_add(1, Relaxed);
        match self.told.lock().admit(Instant::now()) {
            Some(0) => tracing::info!(%peer, "{what}: {why}"),
            Some(untold) => tracing::info!(%peer, untold, "{what}: {why}"),
            None => tracing::debug!(%peer, "{what}: {why}"),
        }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.all.load(Relaxed)
    }
}

impl Told {
    /// Whether one more gets a line, and how many before it got none.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now >= since + PERIOD) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES {
            self.untold += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_some_lines_and_the_next_line_counts_the_rest() {
        let mut told = Told::default();
        let begin = Instant::now();
        let lines = (0..100).filter_map(|_| told.admit(begin));
        assert_eq!(lines.collect::<Vec<_>>(), [0; LINES as usize]);
        let later = begin + PERIOD;
        assert_eq!(told.admit(later), Some(90));
        assert_eq!(told.admit(later), Some(0));
    }
}
