//! One authority for several nodes, and for those who connect to any of them.

use std::{path::PathBuf, sync::Arc};

use nano_tls::{Authority as Issuer, Bundle, Expect, LEAF_LIFETIME, Name, TRUST_DOMAIN};
use tempfile::TempDir;

/// Folders with certificates of one authority; gone with the last clone.
#[derive(Clone)]
pub struct Authority(Arc<Issued>);

struct Issued {
    folder: TempDir,
    issuer: Issuer,
}

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
        let authority = Self(Arc::new(Issued { folder, issuer }));
        for (name, party) in [
            ("node/test", "node"),
            ("service/test", "service"),
            ("service/other", "other"),
            ("client/test", "client"),
        ] {
            authority.write(name, party);
        }
        authority
    }

    /// What a party shows: a `node`, a `service`, an `other` one, or a `client`.
    #[must_use]
    pub fn folder(&self, kind: &str) -> PathBuf {
        self.0.folder.path().join(kind)
    }

    /// What a party of a name, such as `service/math`, shows.
    #[must_use]
    pub fn named(&self, name: &str) -> PathBuf {
        let folder = name.replace('/', "-");
        if !self.folder(&folder).exists() {
            self.write(name, &folder);
        }
        self.folder(&folder)
    }

    /// TLS of a party of a name that expects a peer.
    ///
    /// # Panics
    ///
    /// If it cannot be configured.
    #[must_use]
    pub fn tls(&self, name: &str, expect: Expect) -> rustls::ClientConfig {
        let bundle = Bundle::load(&self.named(name));
        let tls = bundle.and_then(|own| own.client_config(expect));
        tls.expect("TLS can be configured")
    }

    fn write(&self, name: &str, folder: &str) {
        let name: Name = name.parse().expect("a name");
        let bundle = self.0.issuer.issue(&name, LEAF_LIFETIME);
        let written = bundle.and_then(|bundle| bundle.write(&self.folder(folder)));
        written.expect("certificates can be issued");
    }
}
