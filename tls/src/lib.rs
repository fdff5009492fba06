//! Who may connect: the authority, the identities it vouches for, and mutual TLS 1.3 between them.
//!
//! PEM files come in, rustls configurations go out. An [`Authority`] issues [`Bundle`]s, one a
//! party. [`Credentials`] hold the bundle that a party has at the moment, which is replaced as
//! files change and certificates end; they make the server's and the client's side of connections,
//! and each side learns the other's [`Identity`] from the single URI in its certificate. [`set_up`] does all of it for
//! a node that was told nothing, and a [`Secret`] gives whoever holds it an authority without any
//! files. The files own the state.
//!
//! The cryptography is aws-lc-rs, named wherever rustls asks and never taken from the process.

mod authority;
mod bundle;
mod config;
mod credentials;
mod error;
mod fingerprint;
mod folder;
mod identity;
mod leaf;
mod ledger;
mod revocation;
mod secret;
mod setup;
mod summary;
mod trusted;
mod validity;

pub use authority::{Authority, LEAF_LIFETIME, Revoke};
pub use bundle::Bundle;
pub use config::{ALPN, Expect, peer_identity, peer_validity};
pub use credentials::{Credentials, Distrust, OWN_LIFETIME, Source, keep};
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use folder::read_private;
pub use identity::{Identity, Kind, Name, TRUST_DOMAIN, short_name};
pub use secret::{ClusterKey, SECRET_VARIABLE, Secret, SecretSource};
pub use setup::{LocalTls, authority_dir, client_dir, node_dir, set_up};
pub use summary::Summary;
pub use trusted::Role;
pub use validity::{Validity, use_for};
