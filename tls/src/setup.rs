//! A node that was told nothing: its folder comes in, its bundle goes out.
//!
//! The folder owns the state and belongs to the node: `authority/`, and under it the bundles
//! `node/` for itself and `client/` for the library to find. Each step either finds its result in
//! place or makes it, and a result appears whole; so whatever a kill left, the next start goes on
//! from there.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::folder::Folder;
use crate::{Authority, Bundle, Error, Kind, LEAF_LIFETIME, Name, Result, TRUST_DOMAIN};

/// What a node got from its own folder.
#[derive(Debug)]
pub struct LocalTls {
    /// The node's own bundle, `node/local`.
    pub node: Bundle,
}

/// Makes in `dir` whatever is missing of an authority and of the bundles `node/local` and
/// `client/local`, and renews a bundle that is past half of its life or of another authority. A
/// file that is there but broken is an error, never overwritten.
pub fn set_up(dir: &Path) -> Result<LocalTls> {
    // Two nodes that start at once must not make two authorities.
    let _alone = Folder::open(dir)?;
    let authority = Authority::load_or_create(&authority_dir(dir), TRUST_DOMAIN)?;
    let node = current(&authority, &node_dir(dir), Kind::Node)?;
    current(&authority, &client_dir(dir), Kind::Client)?;
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

/// The bundle in `dir`, issued when it is not there or not fit.
fn current(authority: &Authority, dir: &Path, kind: Kind) -> Result<Bundle> {
    match Bundle::load(dir) {
        Ok(bundle)
            if bundle.ca_pem() == authority.ca_pem()
                && bundle.is_in_first_half(SystemTime::now()) =>
        {
            return Ok(bundle);
        }
        // The last two are what a writer leaves that is killed between its files.
        Ok(_) | Err(Error::Missing { .. } | Error::KeyMismatch { .. }) => {}
        Err(error) => return Err(error),
    }
    let bundle = authority.issue(&Name::new(kind, "local")?, LEAF_LIFETIME)?;
    bundle.write(dir)?;
    Ok(bundle)
}
