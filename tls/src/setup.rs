//! A node that was told nothing: its folder comes in, its bundle goes out.
//!
//! The folder owns the state and belongs to the node: `authority/`, and under it the bundles
//! `node/` for itself and `client/` for the library to find. Each step either finds its result in
//! place or makes it, and a result appears whole; so whatever a kill left, the next start goes on
//! from there.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::credentials::FIRST_RENEWAL;
use crate::folder::Folder;
use crate::{Authority, Bundle, Error, Kind, Name, Result, TRUST_DOMAIN};

/// What a node got from its own folder.
#[derive(Debug)]
pub struct LocalTls {
    /// The node's own bundle, `node/local`.
    pub node: Bundle,
}

/// Makes in `dir` whatever is missing of an authority and of the bundles `node/local` and
/// `client/local`, which live for `lifetime`, and renews a bundle whose life is so far over that it
/// is time, that is of another authority, or that is revoked. A file that is there but broken is
/// an error, never overwritten.
pub fn set_up(dir: &Path, lifetime: Duration) -> Result<LocalTls> {
    // Two nodes that start at once must not make two authorities.
    let _alone = Folder::open(dir)?;
    let authority = Authority::load_or_create(&authority_dir(dir), TRUST_DOMAIN)?;
    let node = current(&authority, &node_dir(dir), Kind::Node, lifetime)?;
    current(&authority, &client_dir(dir), Kind::Client, lifetime)?;
    Ok(LocalTls { node })
}

/// Where [`set_up`] keeps the authority.
pub fn authority_dir(tls_dir: &Path) -> PathBuf {
    tls_dir.join("authority")
}

/// Where [`set_up`] puts the bundle of the node.
pub fn node_dir(tls_dir: &Path) -> PathBuf {
    tls_dir.join("node")
}

/// Where [`set_up`] puts the bundle that local clients use.
pub fn client_dir(tls_dir: &Path) -> PathBuf {
    tls_dir.join("client")
}

/// The bundle in `dir`, issued when it is not there or not fit. One that lives for longer than is
/// wanted by now is not.
fn current(authority: &Authority, dir: &Path, kind: Kind, lifetime: Duration) -> Result<Bundle> {
    let now = SystemTime::now();
    match Bundle::load(dir) {
        Ok(bundle)
            if bundle.trusted_pem() == (authority.ca_pem(), authority.crl_pem())
                && bundle.validity().contains(now)
                && bundle.validity().left(now) <= lifetime
                && now < bundle.validity().after(FIRST_RENEWAL)
                && bundle.is_good(now) =>
        {
            return Ok(bundle);
        }
        // The last two are what a writer leaves that is killed between its files.
        Ok(_) | Err(Error::Missing { .. } | Error::KeyMismatch { .. }) => {}
        Err(error) => return Err(error),
    }
    authority.issue_into(dir, &Name::new(kind, "local")?, lifetime)
}
