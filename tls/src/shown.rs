//! What a party shows of itself: a handshake begins, a certificate with its key goes out.
//!
//! Either the one of a bundle's files, or, where the party holds the authority, one that it issues
//! to itself and replaces when half of its life is over. There is no timer: the handshake that
//! finds the old one too old makes the new one, which takes less than a millisecond.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{Authority, Bundle, Name, Result};

/// What a party shows of itself.
#[derive(Debug)]
pub(crate) enum Shown {
    /// The same to everybody.
    Fixed(Arc<CertifiedKey>),
    /// What the party issued to itself last.
    Renewed(Box<Renewed>),
}

/// A party that issues its own certificates.
pub(crate) struct Renewed {
    authority: Authority,
    name: Name,
    lifetime: Duration,
    current: ArcSwap<Bundle>,
}

impl Renewed {
    pub(crate) fn new(authority: Authority, name: Name, lifetime: Duration) -> Result<Self> {
        let first = authority.issue(&name, lifetime)?;
        Ok(Self {
            authority,
            name,
            lifetime,
            current: ArcSwap::from_pointee(first),
        })
    }

    /// The certificate to show at this time.
    pub(crate) fn at(&self, now: SystemTime) -> Arc<Bundle> {
        let current = self.current.load_full();
        if current.is_in_first_half(now) {
            return current;
        }
        match self.authority.issue(&self.name, self.lifetime) {
            Ok(next) => {
                let next = Arc::new(next);
                self.current.store(Arc::clone(&next));
                next
            }
            // The next handshake tries again; the old one is good for half of its life yet.
            Err(_) => current,
        }
    }
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed")
            .field("current", &self.current.load())
            .finish_non_exhaustive()
    }
}

impl Shown {
    fn now(&self) -> Arc<CertifiedKey> {
        match self {
            Self::Fixed(certified) => Arc::clone(certified),
            Self::Renewed(renewed) => renewed.at(SystemTime::now()).shown.now(),
        }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_certificate_is_shown_for_half_of_its_life_and_then_replaced() {
        let authority = Authority::create("nano.local").unwrap();
        let renewed = Renewed::new(authority, "node/a".parse().unwrap(), DAY).unwrap();
        let now = SystemTime::now();
        let first = renewed.at(now);
        assert!(Arc::ptr_eq(&first, &renewed.at(now + DAY * 2 / 5)));
        let second = renewed.at(now + DAY * 3 / 5);
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(first.identity(), second.identity());
        assert!(Arc::ptr_eq(&second, &renewed.at(now)));
    }

    #[test]
    fn a_certificate_of_a_clock_that_was_ahead_is_replaced() {
        let authority = Authority::create("nano.local").unwrap();
        let renewed = Renewed::new(authority, "node/a".parse().unwrap(), DAY).unwrap();
        let now = SystemTime::now();
        let first = renewed.at(now);
        assert!(!Arc::ptr_eq(&first, &renewed.at(now - DAY)));
    }
}
