//! What a certificate says, for the eyes of who asks: a file or folder comes in, its summary goes
//! out. Nothing is proved of it, and no key is needed.

use std::path::Path;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::folder::{self, Access};
use crate::leaf::{self, only_uri};
use crate::ledger::hex;
use crate::{Bundle, Error, Fingerprint, Result, Validity};

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Whose it is: a party's identity, or an authority's trust domain as a URI.
    pub identity: String,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// From when to when it is valid.
    pub validity: Validity,
    /// The authorities that its holder trusts, as far as they are known: those of a folder, or an
    /// authority itself.
    pub authorities: Vec<Fingerprint>,
    /// When its holder needs a newer revocation list, if it has any.
    pub next_revocations: Option<SystemTime>,
}

impl Summary {
    /// Of the certificate in a file, or the one of a folder: a party's, or an authority's where
    /// there is no party's.
    pub fn of(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Self::of_file(path);
        }
        match Bundle::load(path) {
            Ok(bundle) => Ok(Self {
                identity: bundle.identity().to_string(),
                serial: hex(bundle.serial()),
                validity: bundle.validity(),
                authorities: bundle.fingerprints().to_vec(),
                next_revocations: bundle.next_revocations(),
            }),
            Err(Error::Missing { .. }) if path.join(AUTHORITY).exists() => {
                Self::of_file(&path.join(AUTHORITY))
            }
            Err(error) => Err(error),
        }
    }

    fn of_file(path: &Path) -> Result<Self> {
        let text = folder::read(path, Access::Public, FIX)?;
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| Error::Pem {
            what: "certificate",
            why: error.to_string(),
        });
        let der = der.map_err(|error| error.in_file(path, FIX))?;
        Self::read(&der).map_err(|error| error.in_file(path, FIX))
    }

    fn read(der: &CertificateDer<'_>) -> Result<Self> {
        let certificate = leaf::parse(der)?;
        let is_authority = certificate.is_ca().then(|| Fingerprint::of(der));
        Ok(Self {
            identity: only_uri(&certificate)?.to_owned(),
            serial: hex(certificate.raw_serial()),
            validity: leaf::validity(der)?,
            authorities: is_authority.into_iter().collect(),
            next_revocations: None,
        })
    }
}

const AUTHORITY: &str = "ca.pem";

const FIX: &str = "name a certificate in PEM, or a folder with ca.pem, cert.pem and key.pem";
