//! What one party needs: `ca.pem`, `cert.pem`, `key.pem` and perhaps `crl.pem` come in, a checked
//! [`Bundle`] goes out, and the other way round. The files own the state; a bundle is a copy that never changes.
//!
//! The files may be the site's own: `ca.pem` with several authorities, `cert.pem` with a chain.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::InconsistentKeys;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::provider;
use crate::fingerprint::Fingerprint;
use crate::folder::{self, Access, Entry, Folder, Stamp};
use crate::leaf::Leaf;
use crate::revocation::Revocations;
use crate::trusted::{Role, Trusted};
use crate::{Error, Identity, Result, Validity};

/// One party's certificate with its key, the authorities it trusts, and what they have revoked.
#[derive(Clone)]
pub struct Bundle {
    pem: PemTexts,
    leaf: Leaf,
    pub(crate) trusted: Arc<Trusted>,
    pub(crate) certified: Arc<CertifiedKey>,
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
        let public = |name, text| Entry {
            name,
            text,
            access: Access::Public,
        };
        let mut files = vec![
            Entry {
                name: KEY_FILE,
                text: &self.pem.key,
                access: Access::Secret,
            },
            public(CERT_FILE, &self.pem.cert),
        ];
        files.extend(self.pem.crl.iter().map(|crl| public(CRL_FILE, crl)));
        files.push(public(LAST_FILE, &self.pem.ca));
        Folder::open(dir)?.replace(&files)
    }

    /// Who the party is.
    pub fn identity(&self) -> &Identity {
        &self.leaf.identity
    }

    /// From when to when the party's certificate is valid.
    pub fn validity(&self) -> Validity {
        self.leaf.validity
    }

    /// Its serial number.
    pub fn serial(&self) -> &[u8] {
        &self.leaf.serial
    }

    /// When the party needs a newer revocation list, if it has any.
    pub fn next_revocations(&self) -> Option<SystemTime> {
        self.trusted.revocations().next_update()
    }

    /// What tells the party's authority from any other: of the certificates in `ca.pem` the
    /// first one's.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprints()[0]
    }

    /// Those of all the authorities that the party trusts, which are several while one is
    /// replaced; its own comes first.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        self.trusted.fingerprints()
    }

    /// Whether those who trust the same would let the party in, in either role.
    pub fn is_good(&self, now: SystemTime) -> bool {
        let is_good = |role| self.trusted.check(&self.certified.cert, role, now).is_ok();
        is_good(Role::Server) && is_good(Role::Client)
    }

    /// A bundle that is in no folder yet.
    pub(crate) fn from_pem(pem: PemTexts) -> Result<Self> {
        Self::parse(Path::new(""), pem)
    }

    /// The authorities' certificates and their revocation lists, as text.
    pub(crate) fn trusted_pem(&self) -> (&str, Option<&str>) {
        (&self.pem.ca, self.pem.crl.as_deref())
    }

    /// Checks what the files say; `dir` is where an error says they are.
    fn parse(dir: &Path, pem: PemTexts) -> Result<Self> {
        let (ca_path, cert_path, key_path) =
            (dir.join(CA_FILE), dir.join(CERT_FILE), dir.join(KEY_FILE));

        let authorities =
            parse_certificates(&pem.ca).map_err(|error| error.in_file(ca_path.as_path(), FIX))?;
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

        let issuers = [&authorities[..], &chain[1..]].concat();
        let revocations = match &pem.crl {
            Some(crl) => Revocations::parse(crl, &issuers, SystemTime::now())
                .map_err(|error| error.in_file(dir.join(CRL_FILE), FIX_LIST))?,
            None => Revocations::default(),
        };
        let trusted = Trusted::new(authorities, revocations, leaf.identity.trust_domain())
            .map_err(|error| error.in_file(ca_path, FIX))?;
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
            trusted: Arc::new(trusted),
            certified: Arc::new(certified),
        })
    }
}

/// Without the key.
impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("identity", &self.leaf.identity)
            .field("not_after", &self.leaf.validity.not_after)
            .finish_non_exhaustive()
    }
}

/// The files, as text.
#[derive(Clone, PartialEq)]
pub(crate) struct PemTexts {
    pub(crate) ca: String,
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) crl: Option<String>,
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
            crl: folder::read_if_there(&dir.join(CRL_FILE), Access::Public)?,
        })
    }
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

/// What tells the files of a bundle from what they were before; nothing is read for it.
pub(crate) fn stamps(dir: &Path) -> Vec<Option<Stamp>> {
    [CA_FILE, CERT_FILE, KEY_FILE, CRL_FILE]
        .map(|name| Stamp::of(&dir.join(name)))
        .into()
}

pub(crate) const CA_FILE: &str = "ca.pem";
pub(crate) const CRL_FILE: &str = "crl.pem";
const CERT_FILE: &str = "cert.pem";
const KEY_FILE: &str = "key.pem";
/// The file that a writer puts in place last.
const LAST_FILE: &str = CA_FILE;

const MISSING: &str = "a bundle is ca.pem, cert.pem and key.pem; issue one with `nanod tls issue`, \
                       or put the site's files there";
const FIX: &str = "put the right file there, or issue the folder anew with `nanod tls issue`";
const FIX_LIST: &str = "put the authority's last list there, as `nanod tls revoke` writes it";

/// A writer is between two renames for microseconds; this many tries wait for a tenth of a second.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(5);
