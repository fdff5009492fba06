//! What a party shows and whom it trusts at this moment: files and the clock come in, rustls and
//! sessions ask. Owns the [`Bundle`] that is in use.
//!
//! A bundle is replaced whole, when its files have changed or when it is time for a new certificate
//! where the party issues its own. Connections that there are go on; a handshake uses what is there
//! when it needs it. One that cannot be used leaves the old one in place.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::bundle;
use crate::folder::Stamp;
use crate::{
    Bundle, Error, Name, Result, Role, SecretSource, authority_dir, node_dir, peer_validity,
    set_up, use_for,
};

/// How long certificates live that a party issues to itself, unless told otherwise: a day.
pub const OWN_LIFETIME: Duration = DAY;

/// Where a party's certificates come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Somebody else puts them into this folder, and renews them there.
    Folder(PathBuf),
    /// The party is its own authority, in this folder.
    Own {
        /// The folder.
        folder: PathBuf,
        /// How long certificates live.
        lifetime: Duration,
    },
    /// The party holds the cluster's secret.
    Secret {
        /// Where that is.
        secret: SecretSource,
        /// Who the party is.
        name: Name,
        /// How long certificates live.
        lifetime: Duration,
    },
}

/// What a party shows and whom it trusts at this moment.
pub struct Credentials {
    source: Option<Source>,
    current: ArcSwap<Bundle>,
    seen: Mutex<Seen>,
    /// Told when others are trusted than before; since when they are, if there were others.
    trust: watch::Sender<Option<Instant>>,
    /// Told when another certificate is shown than before.
    leaf: watch::Sender<()>,
}

/// What was found when the source was looked at last.
struct Seen {
    stamps: Vec<Option<Stamp>>,
    /// When the party is to issue itself another certificate, if it does.
    renew_at: Option<SystemTime>,
    /// What was wrong, which is said once.
    trouble: Option<String>,
    /// When somebody was warned last.
    warned: Option<SystemTime>,
}

/// Why a peer is not to be trusted any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Its certificate has ended.
    Expired,
    /// It would not be let in any more, for this reason.
    Refused(String),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("the certificate has ended"),
            Self::Refused(reason) => write!(f, "the certificate is not trusted any more: {reason}"),
        }
    }
}

impl Credentials {
    /// What there is at the source.
    pub fn open(source: Source) -> Result<Arc<Self>> {
        // Before it is read: what changes meanwhile is seen at the next look.
        let stamps = source.stamps();
        let bundle = source.load()?;
        let renew_at = source.renew_at(&bundle);
        Ok(Arc::new(Self::new(Some(source), bundle, stamps, renew_at)))
    }

    /// A bundle that is in use for good.
    pub fn fixed(bundle: Bundle) -> Arc<Self> {
        Arc::new(Self::new(None, bundle, Vec::new(), None))
    }

    /// The bundle that is in use.
    pub fn current(&self) -> Arc<Bundle> {
        self.current.load_full()
    }

    /// Takes over what has changed at the source, and renews what is to be renewed. What cannot
    /// be used is said once, and changes nothing. Whether there is another bundle now.
    pub fn look(&self, now: SystemTime) -> bool {
        let has_changed = self.has_changed(now);
        let is_new = has_changed && self.reload(now);
        self.warn(now);
        is_new
    }

    /// As [`look`](Self::look), whether anything seems to have changed or not.
    pub fn reload(&self, now: SystemTime) -> bool {
        let Some(source) = &self.source else {
            return false;
        };
        let mut seen = self.seen.lock();
        seen.stamps = source.stamps();
        match self.replace(source, now) {
            Ok(is_new) => {
                if is_new {
                    seen.renew_at = source.renew_at(&self.current());
                }
                seen.trouble = None;
                is_new
            }
            Err(error) => {
                let trouble = Some(error.to_string());
                if seen.trouble != trouble {
                    tracing::error!(%error, "certificates are not replaced, the old ones stay");
                    seen.trouble = trouble;
                }
                false
            }
        }
    }

    /// Whether what was found at the source last could not be used, so that the old stays.
    pub fn is_in_trouble(&self) -> bool {
        self.seen.lock().trouble.is_some()
    }

    /// Waits until a connection is to have another one in its place, which was made while this
    /// party `has` shown that, and with a peer that has shown these certificates, its own first:
    /// because the party has another certificate by now, or one of the two ends.
    pub async fn outdates(self: Arc<Self>, has: Arc<Bundle>, chain: Vec<CertificateDer<'static>>) {
        let mut leaf = self.leaf.subscribe();
        let own = has.validity();
        let both = peer_validity(&chain).map_or(own, |peer| own.and(&peer));
        let left = both.left(SystemTime::now());
        if self.current().serial() == has.serial() {
            let used = use_for(left, fastrand::f64());
            tokio::select! {
                () = sleep(used) => return,
                // The sender is this one's own.
                _ = leaf.changed() => {}
            }
        }
        // Not all parties at the same time whose certificates were replaced at the same time.
        sleep(SPREAD.min(left / 10).mul_f64(fastrand::f64())).await;
    }

    /// Waits until a peer that showed these certificates, its own first, in this role is not to be
    /// trusted any longer.
    pub async fn distrusts(
        self: Arc<Self>,
        chain: Vec<CertificateDer<'static>>,
        role: Role,
    ) -> Distrust {
        let mut trust = self.trust.subscribe();
        let is_recent = |at: Instant| at.elapsed() < SETTLED;
        if trust.borrow().is_some_and(is_recent) {
            // It may have been since the handshake.
            trust.mark_changed();
        }
        loop {
            let now = SystemTime::now();
            let left = match peer_validity(&chain) {
                Ok(validity) if validity.contains(now) => validity.left(now),
                _ => return Distrust::Expired,
            };
            tokio::select! {
                // The clock may be set meanwhile.
                () = sleep((left + PAST_END).min(LONGEST_WAIT)) => {}
                // The sender is this one's own.
                _ = trust.changed() => {
                    let trusted = Arc::clone(&self.current().trusted);
                    if let Err(error) = trusted.check(&chain, role, SystemTime::now()) {
                        return Distrust::Refused(error.to_string());
                    }
                }
            }
        }
    }

    fn new(
        source: Option<Source>,
        bundle: Bundle,
        stamps: Vec<Option<Stamp>>,
        renew_at: Option<SystemTime>,
    ) -> Self {
        Self {
            source,
            current: ArcSwap::from_pointee(bundle),
            seen: Mutex::new(Seen {
                stamps,
                renew_at,
                trouble: None,
                warned: None,
            }),
            trust: watch::Sender::new(None),
            leaf: watch::Sender::new(()),
        }
    }

    fn replace(&self, source: &Source, now: SystemTime) -> Result<bool> {
        let old = self.current();
        let new = source.load()?;
        if new.identity() != old.identity() {
            return Err(Error::OtherIdentity {
                found: new.identity().to_string(),
                own: old.identity().to_string(),
            });
        }
        if !new.validity().contains(now) {
            let is_early = now < new.validity().not_before;
            return Err(Error::NotValid {
                identity: new.identity().clone(),
                when: if is_early { "yet" } else { "any more" },
            });
        }
        let has_other_trust = !new.trusted.is_same(&old.trusted);
        let has_other_leaf = new.serial() != old.serial();
        if !has_other_trust && !has_other_leaf {
            return Ok(false);
        }
        tracing::info!(
            identity = %new.identity(),
            authority = %new.fingerprint(),
            days = new.validity().left(now).as_secs() / DAY.as_secs(),
            "certificates replaced"
        );
        self.current.store(Arc::new(new));
        if has_other_trust {
            self.trust.send_replace(Some(Instant::now()));
        }
        if has_other_leaf {
            self.leaf.send_replace(());
        }
        Ok(true)
    }

    /// Whether a look is worth it, which a few questions about files tell.
    fn is_due(&self, now: SystemTime) -> bool {
        self.has_changed(now) || !self.endings(now).is_empty()
    }

    fn has_changed(&self, now: SystemTime) -> bool {
        let Some(source) = &self.source else {
            return false;
        };
        let seen = self.seen.lock();
        seen.renew_at.is_some_and(|at| at <= now) || source.stamps() != seen.stamps
    }

    /// Says what is about to end.
    fn warn(&self, now: SystemTime) {
        for (what, end) in self.endings(now) {
            let identity = self.current();
            let identity = identity.identity();
            let days = end.duration_since(now).unwrap_or_default().as_secs() / DAY.as_secs();
            tracing::warn!(%identity, days, "{what} is about to end: renew it, or nobody is let in");
            self.seen.lock().warned = Some(now);
        }
    }

    /// What is about to end; nothing if that was said within the last day.
    fn endings(&self, now: SystemTime) -> Vec<(&'static str, SystemTime)> {
        let warned = self.seen.lock().warned;
        if warned.is_some_and(|warned| now < warned + DAY) {
            return Vec::new();
        }
        let current = self.current();
        let (validity, list) = (current.validity(), current.next_revocations());
        let certificate = validity.is_ending(now).then_some(validity.not_after);
        let list = list.filter(|end| *end < now + LIST_WARNING);
        let certificate = certificate.map(|end| ("the certificate", end));
        let list = list.map(|end| ("the revocation list", end));
        certificate.into_iter().chain(list).collect()
    }
}

/// Looks at the source of credentials every now and then, as long as somebody else holds them.
pub async fn keep(credentials: Weak<Credentials>) {
    while let Some(held) = credentials.upgrade() {
        let now = SystemTime::now();
        if held.is_due(now) {
            let looked = spawn_blocking(move || held.look(now)).await;
            if let Err(error) = looked {
                tracing::error!(%error, "certificates were not looked at");
            }
        } else {
            drop(held);
        }
        sleep(LOOK).await;
    }
}

impl Source {
    fn load(&self) -> Result<Bundle> {
        match self {
            Self::Folder(folder) => Bundle::load(folder),
            Self::Own { folder, lifetime } => Ok(set_up(folder, *lifetime)?.node),
            Self::Secret {
                secret,
                name,
                lifetime,
            } => secret.load()?.bundle(name, *lifetime),
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        match self {
            Self::Folder(folder) => bundle::stamps(folder),
            Self::Own { folder, .. } => {
                let folders = [authority_dir(folder), node_dir(folder)];
                folders.iter().flat_map(|dir| bundle::stamps(dir)).collect()
            }
            Self::Secret { secret, .. } => match secret {
                SecretSource::Given(_) => Vec::new(),
                SecretSource::File(file) => vec![Stamp::of(file)],
            },
        }
    }

    /// Not of all parties at the same time.
    fn renew_at(&self, bundle: &Bundle) -> Option<SystemTime> {
        let spread = LAST_RENEWAL - FIRST_RENEWAL;
        let part = FIRST_RENEWAL + spread * fastrand::f64();
        match self {
            Self::Folder(_) => None,
            Self::Own { .. } | Self::Secret { .. } => Some(bundle.validity().after(part)),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current().fmt(f)
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Pause between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Within how long connections are replaced that were made with another certificate.
const SPREAD: Duration = Duration::from_secs(10);

/// How much of a certificate's life is over when its holder issues itself another one.
pub(crate) const FIRST_RENEWAL: f64 = 0.60;
const LAST_RENEWAL: f64 = 0.66;

/// Longer than a handshake and a greeting take.
const SETTLED: Duration = Duration::from_secs(60);

/// Longest wait for the end of a peer's certificate, after which the clock is asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Certificates name whole seconds, and the last one counts.
const PAST_END: Duration = Duration::from_millis(1);

/// How long before its end a revocation list is worth a warning.
const LIST_WARNING: Duration = DAY;
