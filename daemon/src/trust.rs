//! Whom a node trusts and who trusts it: its configuration comes in, certificates and, where there
//! is a cluster's secret, the key between nodes go out. The files and the secret own the state.

use std::path::{Path, PathBuf};

use nano_tls::{Bundle, ClusterKey, Kind, Name, Secret, SecretSource};

use crate::config::Config;

/// What makes a node a member.
pub struct Trust {
    /// Its certificates, and the authorities of its peers'.
    pub bundle: Bundle,
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
        let bundle = match (&config.tls, &secret) {
            (Some(folder), _) => of_site(folder)?,
            (None, Some(secret)) => of_secret(secret, config)?,
            (None, None) => nano_tls::set_up(own)?.node,
        };
        tracing::info!(identity = %bundle.identity(), authority = %bundle.fingerprint(), "certificates");
        let cluster_key = secret.as_ref().map(Secret::cluster_key);
        Ok(Self {
            bundle,
            cluster_key,
        })
    }
}

fn of_site(folder: &Path) -> Result<Bundle, TrustError> {
    let bundle = Bundle::load(folder)?;
    if bundle.identity().kind() != Kind::Node {
        return Err(TrustError::Identity {
            folder: folder.to_owned(),
            found: bundle.identity().to_string(),
        });
    }
    Ok(bundle)
}

fn of_secret(secret: &Secret, config: &Config) -> nano_tls::Result<Bundle> {
    let name = config.name.clone().unwrap_or_else(|| {
        let machine = rustix::system::uname();
        Name::nearest(Kind::Node, &machine.nodename().to_string_lossy())
    });
    secret.bundle(name)
}
