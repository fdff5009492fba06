//! One authority for several nodes, and for those who connect to any of them.

use std::{path::PathBuf, sync::Arc};

use nano_tls::{Authority as Issuer, LEAF_LIFETIME, Name, TRUST_DOMAIN};
use tempfile::TempDir;

/// Folders with certificates of one authority; gone with the last clone.
#[derive(Clone)]
pub struct Authority(Arc<TempDir>);

impl Authority {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If the system has no place for temporary files.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it does I/O")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let issuer = Issuer::create(TRUST_DOMAIN).expect("an authority can be made");
        for (party, name) in [
            ("node", "node/test"),
            ("service", "service/test"),
            ("other", "service/other"),
            ("client", "client/test"),
        ] {
            let name: Name = name.parse().expect("a name");
            let bundle = issuer.issue(&name, LEAF_LIFETIME);
            let written = bundle.and_then(|bundle| bundle.write(&folder.path().join(party)));
            written.expect("certificates can be issued");
        }
        Self(Arc::new(folder))
    }

    /// What a party shows: a `node`, a `service`, an `other` one, or a `client`.
    #[must_use]
    pub fn folder(&self, party: &str) -> PathBuf {
        self.0.path().join(party)
    }
}
