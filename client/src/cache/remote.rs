//! An instance that is called without a node: in comes where it is, out goes a connection with
//! it while there is one. It is dialled when a call wants it, by one task at a time, which
//! owns the connection's control stream.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use nano_routing::{Figures, Pattern};
use nano_tls::Identity;
use nano_wire::InstanceId;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    peer::PeerLink,
    session::{Session, direct},
};

/// Pause after the first failed attempt to reach an instance; doubled up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// Patterns whose figures are kept whether they are in use or not.
const FEW: usize = 16;

/// One instance. Its connection lasts as long as somebody holds it.
pub(crate) struct Remote {
    pub(crate) instance: InstanceId,
    /// What its calls tell of it, by pattern.
    figures: Mutex<PatternFigures>,
    /// What its certificate has to say; `None` if no certificate can.
    identity: Option<Identity>,
    link: ArcSwapOption<PeerLink>,
    way: Mutex<Way>,
    gone: CancellationToken,
    _tell_when_gone: DropGuard,
}

/// How far it is reached.
#[derive(Default)]
struct Way {
    address: Option<String>,
    /// A task dials it, or has reached it.
    is_attended: bool,
    failures: u32,
    not_before: Option<Instant>,
}

/// What calls tell of an instance. What nobody looks at any more is dropped before there is
/// twice as much as what somebody did.
#[derive(Default)]
struct PatternFigures {
    by_pattern: HashMap<Pattern, Arc<Figures>>,
    in_use: usize,
}

impl PatternFigures {
    fn of(&mut self, pattern: &Pattern) -> Arc<Figures> {
        if let Some(figures) = self.by_pattern.get(pattern) {
            return Arc::clone(figures);
        }
        if self.by_pattern.len() >= 2 * self.in_use.max(FEW) {
            self.by_pattern
                .retain(|_, figures| Arc::strong_count(figures) > 1);
            self.in_use = self.by_pattern.len();
        }
        let figures = Arc::default();
        self.by_pattern
            .insert(pattern.clone(), Arc::clone(&figures));
        figures
    }
}

impl Remote {
    pub(super) fn new(instance: InstanceId, identity: &str) -> Self {
        let gone = CancellationToken::new();
        Self {
            instance,
            figures: Mutex::default(),
            identity: Identity::parse_uri(identity).ok(),
            link: ArcSwapOption::empty(),
            way: Mutex::default(),
            _tell_when_gone: gone.clone().drop_guard(),
            gone,
        }
    }

    /// Whether it is the party of this identity.
    pub(super) fn has_identity(&self, identity: &str) -> bool {
        self.identity().as_deref() == Some(identity)
    }

    /// What the calls of a pattern tell of it.
    pub(super) fn figures(&self, pattern: &Pattern) -> Arc<Figures> {
        self.figures.lock().of(pattern)
    }

    #[cfg(test)]
    pub(super) fn patterns(&self) -> usize {
        self.figures.lock().by_pattern.len()
    }

    /// Where it can be dialled, if it can. A new address is worth an attempt at once.
    pub(super) fn is_at(&self, address: Option<String>) {
        let mut way = self.way.lock();
        if way.address != address {
            way.address = address;
            way.failures = 0;
            way.not_before = None;
        }
    }

    /// The identity that its certificate has to have.
    pub(super) fn identity(&self) -> Option<String> {
        self.identity.as_ref().map(Identity::to_string)
    }

    /// Where it can be dialled, if it can.
    pub(super) fn address(&self) -> Option<String> {
        self.way.lock().address.clone()
    }

    /// Whether there is a connection with it.
    pub(super) fn is_connected(&self) -> bool {
        self.link.load().is_some()
    }

    /// The connection with it; where there is none, it is dialled for later calls.
    pub(crate) fn link(self: &Arc<Self>, session: &Arc<Session>) -> Option<Arc<PeerLink>> {
        let link = self.link.load_full();
        if link.is_none() {
            self.dial(session);
        }
        link
    }

    /// Whether it owes a sign of life.
    pub(super) fn is_silent(&self) -> bool {
        let link = self.link.load();
        link.as_ref().is_some_and(|link| link.is_silent())
    }

    /// Calls go out by a connection from now on.
    pub(crate) fn publish(&self, link: &Arc<PeerLink>) {
        self.link.store(Some(Arc::clone(link)));
    }

    /// They no longer do.
    pub(crate) fn withdraw(&self) {
        self.link.store(None);
    }

    /// The task that dialled it ends. The way has held if it was one for long, or until the
    /// instance left; one that breaks again and again is tried ever more rarely.
    pub(crate) fn unattended(&self, has_held: bool) {
        let mut way = self.way.lock();
        way.is_attended = false;
        if has_held {
            way.failures = 0;
        }
        let pause = FIRST.saturating_mul(1 << way.failures.min(16)).min(LONGEST);
        way.failures += u32::from(!has_held);
        way.not_before = Some(Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0));
    }

    fn dial(self: &Arc<Self>, session: &Arc<Session>) {
        let mut way = self.way.lock();
        let is_early = way.not_before.is_some_and(|at| Instant::now() < at);
        if way.is_attended || is_early {
            return;
        }
        let (Some(address), Some(identity)) = (way.address.clone(), self.identity.clone()) else {
            return;
        };
        way.is_attended = true;
        let target = direct::Target {
            instance: self.instance,
            identity,
            address,
            gone: self.gone.clone(),
            remote: Arc::downgrade(self),
        };
        session.io.spawn(direct::call(Arc::clone(session), target));
    }
}
