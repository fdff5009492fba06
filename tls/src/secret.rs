//! A cluster's shared secret: some bytes come in, an authority, bundles and a key go out, the same
//! for everybody who holds the secret. Who holds it is the authority; nothing is kept in files.
//!
//! All is derived with HKDF-SHA256 (RFC 5869), whose salt is [`SALT`] and whose input is the
//! secret without the line break that it may end with:
//!
//! | info | bytes | what |
//! | --- | --- | --- |
//! | [`AUTHORITY_KEY`] | 32 | the seed of the authority's Ed25519 key (RFC 8032) |
//! | [`AUTHORITY_SERIAL`] | first 16 of 32 | the serial number of its certificate |
//! | [`CLUSTER_KEY`] | 32 | the key of the HMACs between nodes |
//!
//! HKDF is fast, and whoever can connect to a node sees what its authority signed, with which
//! guesses can be tried elsewhere. So the secret has to be random, not a phrase.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{KeyPair, PKCS_ED25519};
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use crate::authority::serial_number;
use crate::folder;
use crate::{Authority, Bundle, Error, Name, Result};

/// The environment variable that holds a secret itself.
pub const SECRET_VARIABLE: &str = "NANO_CLUSTER_SECRET";

/// What everybody in a cluster knows and nobody else. It shows itself nowhere, and leaves no trace
/// in memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The secret that a text is, without the line break that it may end with: at least 16
    /// bytes, and at most 4096.
    pub fn new(text: impl Into<Vec<u8>>) -> Result<Self> {
        let mut text = Zeroizing::new(text.into());
        for line_end in [b'\n', b'\r'] {
            if text.last() == Some(&line_end) {
                text.pop();
            }
        }
        match text.len() {
            found @ ..LEAST => Err(Error::SecretShort {
                found,
                least: LEAST,
            }),
            LEAST..=MOST => Ok(Self(text)),
            _ => Err(Error::SecretLong { most: MOST }),
        }
    }

    /// The secret in a file, which others must not be able to read.
    pub fn read(path: &Path) -> Result<Self> {
        // A line break may follow the longest secret.
        let mut text = folder::read_private(path, MOST + 2, FIX)?;
        Self::new(std::mem::take(&mut *text)).map_err(|error| error.in_file(path, FIX))
    }

    /// The authority of all who hold the secret: the same key, and the same certificate to the
    /// byte.
    pub fn authority(&self) -> Result<Authority> {
        let seed = self.derive(AUTHORITY_KEY);
        let key = Ed25519KeyPair::from_seed_unchecked(&*seed)
            .map_err(|error| Error::Key(error.to_string()))?;
        let key = key
            .to_pkcs8()
            .map_err(|error| Error::Key(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from(key.as_ref());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519)?;
        let serial = self.derive(AUTHORITY_SERIAL);
        let (serial, _) = serial
            .split_first_chunk()
            .expect("32 bytes are more than a serial number has");
        Authority::derived(key, serial_number(*serial))
    }

    /// What a party needs to be `name` among those who hold the secret.
    pub fn bundle(&self, name: &Name, lifetime: Duration) -> Result<Bundle> {
        self.authority()?.issue(name, lifetime)
    }

    /// The key with which those who hold the secret sign what they leave with others.
    pub fn cluster_key(&self) -> ClusterKey {
        ClusterKey(self.derive(CLUSTER_KEY))
    }

    fn derive(&self, info: &[u8]) -> Zeroizing<[u8; 32]> {
        let key: Prk = Salt::new(HKDF_SHA256, SALT).extract(&self.0);
        let mut derived = Zeroizing::new([0; 32]);
        key.expand(&[info], HKDF_SHA256)
            .and_then(|derivation| derivation.fill(&mut *derived))
            .expect("HKDF expands to as many bytes as its hash has");
        derived
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// It is this one.
    Given(Secret),
    /// It is in this file.
    File(PathBuf),
}

impl SecretSource {
    /// The source that is named, be it by the value of [`SECRET_VARIABLE`] or as a file.
    pub fn choose(variable: Option<OsString>, file: Option<PathBuf>) -> Result<Option<Self>> {
        match (variable, file) {
            (None, None) => Ok(None),
            (None, Some(file)) => Ok(Some(Self::File(file))),
            (Some(text), None) => {
                let secret = Secret::new(text.into_encoded_bytes())?;
                Ok(Some(Self::Given(secret)))
            }
            (Some(_), Some(file)) => Err(Error::SecretTwice { file }),
        }
    }

    /// The secret, as it is now.
    pub fn load(&self) -> Result<Secret> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => Secret::read(path),
        }
    }
}

/// The key of HMACs between those who hold a secret. It shows itself nowhere, and leaves no trace in
/// memory when it is dropped.
#[derive(Clone)]
pub struct ClusterKey(Zeroizing<[u8; 32]>);

impl ClusterKey {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// Changing any of these cuts off everybody who holds a secret from those who have not changed.
const SALT: &[u8] = b"nanod cluster secret 1";
const AUTHORITY_KEY: &[u8] = b"authority: Ed25519 seed";
const AUTHORITY_SERIAL: &[u8] = b"authority: serial number";
const CLUSTER_KEY: &[u8] = b"cluster: HMAC-SHA256 key";

/// As many bytes as 64 random bits have in hexadecimal.
const LEAST: usize = 16;
const MOST: usize = 4096;

const FIX: &str = "put the cluster's secret there, the same for every node, service and client";
