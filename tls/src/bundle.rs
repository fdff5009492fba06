//! What one party needs: `ca.pem`, `cert.pem` and `key.pem` come in, a checked [`Bundle`] goes
//! out, and the other way round. The files own the state; a bundle is a copy that never changes.
//!
//! The files may be the site's own: `ca.pem` with several authorities, `cert.pem` with a chain.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::provider;
use crate::fingerprint::Fingerprint;
use crate::folder::{self, Access, Entry, Folder};
use crate::leaf::Leaf;
use crate::shown::{Renewed, Shown};
use crate::{Authority, Error, Identity, Name, Result};

/// One party's certificate with its key, and the authorities it trusts.
pub struct Bundle {
    pem: PemTexts,
    leaf: Leaf,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) shown: Arc<Shown>,
    fingerprints: Vec<Fingerprint>,
}

impl Bundle {
    /// The bundle whose files are in `dir`. While a writer replaces them it waits, so that it
    /// never returns a mix of the old and the new.
    pub fn load(dir: &Path) -> Result<Self> {
        for _ in 1..ATTEMPTS {
            let (pem, settled) = PemTexts::read(dir)?;
            match Self::parse(dir, pem) {
                Err(Error::KeyMismatch { .. }) => {}
                bundle if settled => return bundle,
                _ => {}
            }
            thread::sleep(PAUSE);
        }
        // No writer takes this long: the last one was killed, or the pair never was one. What is
        // there is all there will be.
        let (pem, _) = PemTexts::read(dir)?;
        Self::parse(dir, pem)
    }

    /// Writes the files into `dir`, replacing those of an older bundle; other files stay.
    pub fn write(&self, dir: &Path) -> Result<()> {
        Folder::open(dir)?.replace(&[
            Entry {
                name: KEY_FILE,
                text: &self.pem.key,
                access: Access::Secret,
            },
            Entry {
                name: CERT_FILE,
                text: &self.pem.cert,
                access: Access::Public,
            },
            Entry {
                name: LAST_FILE,
                text: &self.pem.ca,
                access: Access::Public,
            },
        ])
    }

    /// Who the party is.
    pub fn identity(&self) -> &Identity {
        &self.leaf.identity
    }

    /// When the party's certificate expires.
    pub fn not_after(&self) -> SystemTime {
        self.leaf.not_after
    }

    /// What tells the party's authority from any other: of the certificates in `ca.pem` the
    /// first one's.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprints[0]
    }

    /// Those of all the authorities that the party trusts, which are several while one is
    /// replaced; its own comes first.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// A bundle that issues itself a new certificate, for new connections, whenever half of the
    /// old one's life is over. Its files would hold the first.
    pub(crate) fn renewing(authority: Authority, name: Name, lifetime: Duration) -> Result<Self> {
        let renewed = Renewed::new(authority, name, lifetime)?;
        let first = renewed.at(SystemTime::now());
        Ok(Self {
            pem: first.pem.clone(),
            leaf: first.leaf.clone(),
            roots: Arc::clone(&first.roots),
            fingerprints: first.fingerprints.clone(),
            shown: Arc::new(Shown::Renewed(Box::new(renewed))),
        })
    }

    /// A bundle that is in no folder yet.
    pub(crate) fn from_pem(pem: PemTexts) -> Result<Self> {
        Self::parse(Path::new(""), pem)
    }

    /// The authorities' certificates, as text.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.pem.ca
    }

    /// Whether the certificate's life has begun, and no more than half of it is over.
    pub(crate) fn is_in_first_half(&self, now: SystemTime) -> bool {
        let Leaf {
            not_before,
            not_after,
            ..
        } = self.leaf;
        let life = not_after.duration_since(not_before).unwrap_or_default();
        (not_before..=not_before + life / 2).contains(&now)
    }

    /// Checks what the files say; `dir` is where an error says they are.
    fn parse(dir: &Path, pem: PemTexts) -> Result<Self> {
        let (ca_path, cert_path, key_path) =
            (dir.join(CA_FILE), dir.join(CERT_FILE), dir.join(KEY_FILE));

        let (roots, fingerprints) =
            parse_roots(&pem.ca).map_err(|error| error.in_file(ca_path, FIX))?;
        let chain = parse_certificates(&pem.cert)
            .map_err(|error| error.in_file(cert_path.as_path(), FIX))?;
        let leaf = chain
            .first()
            .ok_or(Error::NoCertificate)
            .and_then(Leaf::parse)
            .map_err(|error| error.in_file(cert_path.as_path(), FIX))?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes())
            .map_err(pem_error("private key"))
            .and_then(|key| {
                let key = provider().key_provider.load_private_key(key);
                key.map_err(|error| Error::Key(error.to_string()))
            })
            .map_err(|error| error.in_file(key_path.as_path(), FIX))?;

        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that cannot tell its public half is taken at its word, as rustls does.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                return Err(Error::KeyMismatch {
                    certificate: cert_path,
                    key: key_path,
                });
            }
        }
        Ok(Self {
            pem,
            leaf,
            roots: Arc::new(roots),
            shown: Arc::new(Shown::Fixed(Arc::new(certified))),
            fingerprints,
        })
    }
}

/// Without the key.
impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("identity", &self.leaf.identity)
            .field("not_after", &self.leaf.not_after)
            .finish_non_exhaustive()
    }
}

/// The three files, as text.
#[derive(Clone, PartialEq)]
pub(crate) struct PemTexts {
    pub(crate) ca: String,
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl PemTexts {
    /// The files, and whether they are of one write: they are when no writer was between its
    /// files at some moment, and all of them read the same before that moment and after it.
    fn read(dir: &Path) -> Result<(Self, bool)> {
        let before = Self::read_once(dir)?;
        let is_unsettled = folder::is_unsettled(dir, LAST_FILE);
        let after = Self::read_once(dir)?;
        let settled = !is_unsettled && before == after;
        Ok((after, settled))
    }

    fn read_once(dir: &Path) -> Result<Self> {
        Ok(Self {
            ca: folder::read(&dir.join(CA_FILE), Access::Public, MISSING)?,
            cert: folder::read(&dir.join(CERT_FILE), Access::Public, MISSING)?,
            key: folder::read(&dir.join(KEY_FILE), Access::Secret, MISSING)?,
        })
    }
}

/// The authorities, and their fingerprints, of which there is at least one.
fn parse_roots(pem: &str) -> Result<(RootCertStore, Vec<Fingerprint>)> {
    let certificates = parse_certificates(pem)?;
    let fingerprints = certificates.iter().map(Fingerprint::of).collect();
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| Error::Certificate(error.to_string()))?;
    }
    Ok((roots, fingerprints))
}

/// At least one certificate.
fn parse_certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(pem_error("certificate"))?;
    if certificates.is_empty() {
        return Err(pem_error("certificate")(
            rustls_pki_types::pem::Error::NoItemsFound,
        ));
    }
    Ok(certificates)
}

fn pem_error(what: &'static str) -> impl FnOnce(rustls_pki_types::pem::Error) -> Error {
    move |error| Error::Pem {
        what,
        why: error.to_string(),
    }
}

const CA_FILE: &str = "ca.pem";
const CERT_FILE: &str = "cert.pem";
const KEY_FILE: &str = "key.pem";
/// The file that a writer puts in place last.
const LAST_FILE: &str = CA_FILE;

const MISSING: &str = "a bundle is ca.pem, cert.pem and key.pem; issue one with `nanod tls issue`, \
                       or put the site's files there";
const FIX: &str = "put the right file there, or issue the folder anew with `nanod tls issue`";

/// A writer is between two renames for microseconds; this many tries wait for a tenth of a second.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(5);
