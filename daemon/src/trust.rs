//! Whom a node trusts and who trusts it: its configuration comes in, credentials and, where there
//! is a cluster's secret, the key between nodes go out. The files and the secret own the state;
//! the credentials follow the files as long as the node runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use nano_tls::{ClusterKey, Credentials, Kind, Name, Secret, SecretSource, Source};

use crate::config::Config;

/// What makes a node a member.
pub struct Trust {
    /// Its certificates, and whom it trusts.
    pub credentials: Arc<Credentials>,
    /// The key of what nodes sign for each other; none without the cluster's secret.
    pub cluster_key: Option<ClusterKey>,
}

/// Why a node has nothing to show or to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Its certificates or the cluster's secret cannot be used.
    #[error(transparent)]
    Tls(#[from] nano_tls::Error),
    /// Its certificate is not a node's.
    #[error("the certificate in {} is that of {found}, not of a node", folder.display())]
    Identity {
        /// Where it was read.
        folder: PathBuf,
        /// Whose it is.
        found: String,
    },
}

impl Trust {
    /// The site's certificates if there are any, else those of the cluster's secret, else those
    /// of an authority that the node makes in `own`, a folder of its own.
    ///
    /// # Errors
    ///
    /// If what the configuration names cannot be used, or the folder not written.
    pub fn load(config: &Config, own: &Path) -> Result<Self, TrustError> {
        let secret = config.cluster_secret.as_ref();
        let secret = secret.map(SecretSource::load).transpose()?;
        let lifetime = config.certificate_lifetime;
        let credentials = Credentials::open(match (&config.tls, &secret) {
            (Some(folder), _) => Source::Folder(folder.clone()),
            (None, Some(secret)) => Source::Secret {
                secret: SecretSource::Given(secret.clone()),
                name: name(config),
                lifetime,
            },
            (None, None) => Source::Own {
                folder: own.to_owned(),
                lifetime,
            },
        })?;
        let current = credentials.current();
        if let (Some(folder), false) = (&config.tls, current.identity().kind() == Kind::Node) {
            return Err(TrustError::Identity {
                folder: folder.clone(),
                found: current.identity().to_string(),
            });
        }
        tracing::info!(identity = %current.identity(), authority = %current.fingerprint(), "certificates");
        let cluster_key = secret.as_ref().map(Secret::cluster_key);
        Ok(Self {
            credentials,
            cluster_key,
        })
    }
}

fn name(config: &Config) -> Name {
    config.name.clone().unwrap_or_else(|| {
        let machine = rustix::system::uname();
        Name::nearest(Kind::Node, &machine.nodename().to_string_lossy())
    })
}
