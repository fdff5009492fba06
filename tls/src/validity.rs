//! How long a certificate lasts: its two ends and a time come in, what is to be done about it goes
//! out. Values without state; nothing here looks at a clock.

use std::time::{Duration, SystemTime};

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// Whether it is valid.
    pub fn contains(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// What is left of it; nothing once it is over.
    pub fn left(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }

    /// Whether so little is left that somebody should see to it: 30 days or a third of all of it,
    /// whichever is less.
    pub fn is_ending(&self, now: SystemTime) -> bool {
        self.left(now) < WARNING.min(self.length() / 3)
    }

    /// When so much of it is over, from 0 to 1.
    pub(crate) fn after(&self, part: f64) -> SystemTime {
        self.not_before + self.length().mul_f64(part)
    }

    /// The part of it that both have.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// All of it.
    pub fn length(&self) -> Duration {
        let length = self.not_after.duration_since(self.not_before);
        length.unwrap_or_default()
    }
}

/// How long a connection is used before another one takes its place, whose certificates may last
/// longer: until three quarters of the time are over that is left to this one, or up to nine
/// tenths as `random`, from 0 to 1, has it. Where nobody renews anything, each further connection
/// has a quarter at most of what the last one had.
pub fn use_for(left: Duration, random: f64) -> Duration {
    left.mul_f64(0.75 + 0.15 * random)
        .clamp(SHORTEST_USE, LONGEST_USE)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const WARNING: Duration = DAY.saturating_mul(30);

/// What is left is over before another connection would be worth it.
const SHORTEST_USE: Duration = Duration::from_secs(1);

/// Timers do not last for centuries, and authorities do.
const LONGEST_USE: Duration = DAY.saturating_mul(365);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn days(days: u32) -> Validity {
        Validity {
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + DAY * days,
        }
    }

    #[test]
    fn an_end_is_near_at_thirty_days_or_a_third_whichever_is_less() {
        let year = days(360);
        assert!(!year.is_ending(year.not_after - DAY * 31));
        assert!(year.is_ending(year.not_after - DAY * 29));
        let short = days(3);
        assert!(!short.is_ending(UNIX_EPOCH + DAY * 19 / 10));
        assert!(short.is_ending(UNIX_EPOCH + DAY * 21 / 10));
        assert!(short.is_ending(short.not_after + DAY));
    }

    #[test]
    fn connections_are_replaced_before_their_end_and_not_all_at_once() {
        assert_eq!(use_for(DAY, 0.0), DAY * 3 / 4);
        assert_eq!(use_for(DAY, 1.0), DAY * 9 / 10);
        assert_eq!(use_for(Duration::ZERO, 0.5), SHORTEST_USE);
        assert_eq!(use_for(DAY * 100_000, 0.5), LONGEST_USE);
    }

    #[test]
    fn what_two_have_in_common_ends_with_the_first() {
        let later = Validity {
            not_before: UNIX_EPOCH + DAY,
            not_after: UNIX_EPOCH + DAY * 9,
        };
        let common = days(3).and(&later);
        assert_eq!(common.not_before, later.not_before);
        assert_eq!(common.left(UNIX_EPOCH + DAY * 2), DAY);
        assert!(!common.contains(UNIX_EPOCH));
    }
}
