//! The authority: a trust domain comes in, bundles that its members trust go out.
//!
//! `ca.pem` and `ca-key.pem` own the state, with `crl.pem`, what is revoked, and `issued`. The certificate names its trust domain in its one URI,
//! `spiffe://<trust domain>`, as SPIFFE has it, so that these files are all there is to keep.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::bundle::{Bundle, CA_FILE, CRL_FILE, PemTexts};
use crate::config::provider;
use crate::fingerprint::Fingerprint;
use crate::folder::{self, Access, Entry, Folder};
use crate::identity::{authority_uri, check_trust_domain, parse_authority_uri};
use crate::ledger::Ledger;
use crate::revocation::List;
use crate::{Error, Identity, Name, Result, TRUST_DOMAIN, leaf};

/// How long a party's certificate lives unless told otherwise: 397 days.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(397 * DAY);

/// What issues certificates for one trust domain.
#[derive(Debug)]
pub struct Authority {
    trust_domain: String,
    ca_pem: String,
    crl_pem: Option<String>,
    /// Where its files are, if it has any.
    folder: Option<PathBuf>,
    fingerprint: Fingerprint,
    not_after: SystemTime,
    /// The key lives in here; its `Debug` leaves the key out.
    issuer: Issuer<'static, KeyPair>,
}

/// Whose certificates are to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// All that the authority has issued to this party and that are valid yet.
    Name(Name),
    /// The one in this file.
    Certificate(PathBuf),
}

impl Authority {
    /// A new authority, with a key of its own, for ten years.
    pub fn create(trust_domain: &str) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Self::with_key(trust_domain, key)
    }

    /// The authority whose files are in `dir`.
    pub fn load(dir: &Path) -> Result<Self> {
        let (ca_path, key_path) = (dir.join(CA_FILE), dir.join(KEY_FILE));
        let ca_pem = folder::read(&ca_path, Access::Public, LOST)?;
        let key_pem = folder::read(&key_path, Access::Secret, LOST)?;
        let key = parse_key(&key_pem).map_err(|error| error.in_file(&key_path, RESTORE))?;
        let (mut authority, certified) =
            Self::parse(ca_pem, key).map_err(|error| error.in_file(&ca_path, RESTORE))?;
        authority.crl_pem = folder::read_if_there(&dir.join(CRL_FILE), Access::Public)?;
        authority.folder = Some(dir.to_owned());
        if certified != authority.issuer.key().public_key_raw() {
            return Err(Error::KeyMismatch {
                certificate: ca_path,
                key: key_path,
            });
        }
        Ok(authority)
    }

    /// Writes the authority's files into `dir`, which must not hold an authority yet.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let folder = Folder::open(dir)?;
        for name in [KEY_FILE, CA_FILE] {
            if folder.has(name)? {
                return Err(Error::AuthorityExists {
                    path: dir.join(name),
                });
            }
        }
        self.write_into(&folder)
    }

    /// What a party needs to be `name` in this trust domain, with a new key. The certificate
    /// begins five minutes back, for clocks that are behind, and never outlives the authority's.
    pub fn issue(&self, name: &Name, lifetime: Duration) -> Result<Bundle> {
        self.issue_with(name, lifetime, self.ca_pem.clone())
    }

    fn issue_with(&self, name: &Name, lifetime: Duration, ca: String) -> Result<Bundle> {
        let now = SystemTime::now();
        if self.not_after <= now {
            return Err(Error::AuthorityExpired {
                trust_domain: self.trust_domain.clone(),
            });
        }
        let end = now
            .checked_add(lifetime)
            .map_or(self.not_after, |end| end.min(self.not_after));
        let identity = Identity::of(self.trust_domain.as_str(), name.clone())?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // A certificate that is to live for seconds may not seem half over when it begins.
        let validity = now - CLOCK_SKEW.min(lifetime / 10)..end;
        let certificate = leaf_params(&identity, validity)?.signed_by(&key, &self.issuer)?;
        Bundle::from_pem(PemTexts {
            ca,
            cert: certificate.pem(),
            key: key.serialize_pem(),
            crl: self.crl_pem.clone(),
        })
    }

    /// As [`issue`](Self::issue), with the files written into `dir`. An authority that has files
    /// notes there what it has issued, so that it can be revoked by name.
    pub fn issue_into(&self, dir: &Path, name: &Name, lifetime: Duration) -> Result<Bundle> {
        let bundle = self.issue(name, lifetime)?;
        self.note(&bundle)?;
        bundle.write(dir)?;
        Ok(bundle)
    }

    /// Puts a new certificate and key for the same party into its folder `dir`, as by
    /// [`issue_into`](Self::issue_into). Without a lifetime it gets what the old one had. Other
    /// authorities that the party trusts, it goes on to trust.
    pub fn renew(&self, dir: &Path, lifetime: Option<Duration>) -> Result<Bundle> {
        let old = Bundle::load(dir)?;
        let identity = old.identity();
        if identity.trust_domain() != self.trust_domain {
            return Err(Error::ForeignPeer {
                peer: identity.clone(),
                trust_domain: self.trust_domain.clone(),
            });
        }
        let name = Name::new(identity.kind(), identity.name())?;
        let lifetime = lifetime.unwrap_or(old.validity().length());
        let ca = match old.fingerprints().contains(&self.fingerprint) {
            true => old.trusted_pem().0,
            false => &self.ca_pem,
        };
        let bundle = self.issue_with(&name, lifetime, ca.to_owned())?;
        self.note(&bundle)?;
        bundle.write(dir)?;
        Ok(bundle)
    }

    /// Puts certificates on the list of those that are not to be trusted any more: `crl.pem` beside
    /// the authority's own files. How many were not on it.
    pub fn revoke(&self, whose: &Revoke) -> Result<usize> {
        let dir = self.folder.as_deref().unwrap_or(Path::new(""));
        let folder = Folder::open(dir)?;
        let now = SystemTime::now();
        let serials = self.serials(whose, &folder, now)?;
        // Another one may have added to it since it was loaded.
        let last = folder.read_if_there(CRL_FILE, Access::Public)?;
        let mut list = List::after(last.as_deref())
            .map_err(|error| error.in_file(dir.join(CRL_FILE), RESTORE))?;
        let added = serials
            .iter()
            .filter(|serial| list.revoke(serial, now))
            .count();
        let text = list.sign(&self.issuer, now, self.not_after)?;
        folder.replace(&[Entry {
            name: CRL_FILE,
            text: &text,
            access: Access::Public,
        }])?;
        Ok(added)
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The authority's certificate, which all its members trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What tells this authority from any other.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The authority that follows from a key and a serial number alone: whoever has both makes
    /// the same certificate, byte for byte. For that the key has to be one that signs the same
    /// text the same way each time, as Ed25519 does. It ends when the key is replaced; its
    /// certificate says so as RFC 5280, section 4.1.2.5, has it.
    pub(crate) fn derived(key: KeyPair, serial: SerialNumber) -> Result<Self> {
        let validity = UNIX_EPOCH + DERIVED_FROM..UNIX_EPOCH + NO_END;
        let certificate = authority_params(TRUST_DOMAIN, &key, validity, serial)?;
        let certificate = certificate.self_signed(&key)?;
        let (authority, _) = Self::parse(certificate.pem(), key)?;
        Ok(authority)
    }

    /// The authority in `dir`, made if there is none. A key alone is what a killed writer
    /// leaves: it gets a new certificate under the old subject, so what it signed stays good. A
    /// certificate alone is an authority that lost its key, which nobody can make up for.
    pub(crate) fn load_or_create(dir: &Path, trust_domain: &str) -> Result<Self> {
        let folder = Folder::open(dir)?;
        if folder.has(CA_FILE)? {
            return Self::load(dir);
        }
        let authority = if folder.has(KEY_FILE)? {
            let path = dir.join(KEY_FILE);
            let key = parse_key(&folder::read(&path, Access::Secret, LOST)?)
                .map_err(|error| error.in_file(path, RESTORE))?;
            Self::with_key(trust_domain, key)?
        } else {
            Self::create(trust_domain)?
        };
        authority.write_into(&folder)?;
        drop(folder);
        Self::load(dir)
    }

    fn note(&self, bundle: &Bundle) -> Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let folder = Folder::open(folder)?;
        let mut ledger = Ledger::read(&folder, SystemTime::now())?;
        ledger.add(bundle);
        ledger.write(&folder)
    }

    /// Its revocation list as text, if it has any.
    pub(crate) fn crl_pem(&self) -> Option<&str> {
        self.crl_pem.as_deref()
    }

    /// The serial numbers of what is to be revoked, of which there is at least one.
    fn serials(&self, whose: &Revoke, folder: &Folder, now: SystemTime) -> Result<Vec<Vec<u8>>> {
        match whose {
            Revoke::Name(name) => {
                let identity = Identity::of(self.trust_domain.as_str(), name.clone())?;
                let ledger = Ledger::read(folder, now)?;
                let serials: Vec<_> = ledger.of(&identity.to_string()).map(Vec::from).collect();
                match serials.is_empty() {
                    true => Err(Error::NotIssued { identity }),
                    false => Ok(serials),
                }
            }
            Revoke::Certificate(path) => {
                let text = folder::read(path, Access::Public, "name a certificate in PEM")?;
                let der = CertificateDer::from_pem_slice(text.as_bytes())
                    .map_err(|error| pem_error("certificate", &error))
                    .map_err(|error| error.in_file(path, "name a certificate in PEM"))?;
                let certificate = leaf::parse(&der)?;
                let own = CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
                    .map_err(|error| pem_error("certificate", &error))?;
                if certificate.issuer().as_raw() != leaf::parse(&own)?.subject().as_raw() {
                    return Err(Error::NotOurs { path: path.clone() });
                }
                Ok(vec![certificate.raw_serial().to_vec()])
            }
        }
    }

    fn with_key(trust_domain: &str, key: KeyPair) -> Result<Self> {
        check_trust_domain(trust_domain)?;
        let now = SystemTime::now();
        let validity = now - CLOCK_SKEW..now + LIFETIME;
        let certificate = authority_params(trust_domain, &key, validity, random_serial()?)?;
        let certificate = certificate.self_signed(&key)?;
        let (authority, _) = Self::parse(certificate.pem(), key)?;
        Ok(authority)
    }

    /// The authority of the first certificate in `ca_pem`, and the public key certified there.
    /// More certificates may follow, of authorities that are on their way in or out.
    fn parse(ca_pem: String, key: KeyPair) -> Result<(Self, Vec<u8>)> {
        let der = CertificateDer::from_pem_slice(ca_pem.as_bytes())
            .map_err(|error| pem_error("certificate", &error))?;
        let certificate = leaf::parse(&der)?;
        if !certificate.is_ca() {
            return Err(Error::Certificate("it is not an authority's".into()));
        }
        let trust_domain = parse_authority_uri(leaf::only_uri(&certificate)?)?;
        let not_after = leaf::system_time(certificate.validity().not_after);
        let public_key = certificate.public_key().subject_public_key.data.to_vec();
        let fingerprint = Fingerprint::of(&der);
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        let authority = Self {
            trust_domain,
            ca_pem,
            crl_pem: None,
            folder: None,
            fingerprint,
            not_after,
            issuer,
        };
        Ok((authority, public_key))
    }

    /// The key goes first: a certificate without its key could not be repaired.
    fn write_into(&self, folder: &Folder) -> Result<()> {
        folder.replace(&[
            Entry {
                name: KEY_FILE,
                text: &self.issuer.key().serialize_pem(),
                access: Access::Secret,
            },
            Entry {
                name: CA_FILE,
                text: &self.ca_pem,
                access: Access::Public,
            },
        ])
    }
}

fn authority_params(
    trust_domain: &str,
    key: &KeyPair,
    validity: Range<SystemTime>,
    serial: SerialNumber,
) -> Result<CertificateParams> {
    let mut params = params(&authority_uri(trust_domain), validity, serial)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The subject follows from the key: two authorities never pass for one another, and a key
    // that is certified again keeps its name.
    let id = params.key_identifier(key);
    let id: String = id
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("nano authority {id}"));
    Ok(params)
}

fn leaf_params(identity: &Identity, validity: Range<SystemTime>) -> Result<CertificateParams> {
    let mut params = params(&identity.to_string(), validity, random_serial()?)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    // For the eyes of who lists certificates; only the URI counts.
    let short = identity.short();
    if short.len() <= MAX_COMMON_NAME {
        params.distinguished_name.push(DnType::CommonName, short);
    }
    Ok(params)
}

/// What all certificates share. Every default of rcgen that would be wrong is set: validity,
/// serial number, subject and alternative names.
fn params(
    uri: &str,
    validity: Range<SystemTime>,
    serial: SerialNumber,
) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.not_before = validity.start.into();
    params.not_after = validity.end.into();
    params.serial_number = Some(serial);
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    Ok(params)
}

fn random_serial() -> Result<SerialNumber> {
    let mut bytes = [0; 16];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Error::Random)?;
    Ok(serial_number(bytes))
}

/// 16 bytes as a positive number of just that length.
pub(crate) fn serial_number(mut bytes: [u8; 16]) -> SerialNumber {
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn parse_key(pem: &str) -> Result<KeyPair> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| pem_error("private key", &error))?;
    KeyPair::try_from(&der).map_err(|error| Error::Key(error.to_string()))
}

fn pem_error(what: &'static str, error: &rustls_pki_types::pem::Error) -> Error {
    Error::Pem {
        what,
        why: error.to_string(),
    }
}

const KEY_FILE: &str = "ca-key.pem";

const LOST: &str = "restore it from a backup, or move the folder away and make a new authority, \
                    which cuts off whoever trusts the old one";
const RESTORE: &str = "restore the file from a backup";

const DAY: u64 = 24 * 60 * 60;
const LIFETIME: Duration = Duration::from_secs(3652 * DAY);

/// From when to when derived authorities are valid: the beginning of 2025, and the end of 9999.
const DERIVED_FROM: Duration = Duration::from_secs(1_735_689_600);
const NO_END: Duration = Duration::from_secs(253_402_300_799);

const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// X.509's bound for a common name.
const MAX_COMMON_NAME: usize = 64;
