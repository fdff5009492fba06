//! How a node gets into its Redis: the URL and the files that the settings name come in,
//! what connections are made with goes out. Passwords and keys are never printed.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::url::{Kind, RedisUrl};

/// The certificates of TLS, in PEM. Never printed.
#[derive(Clone, Default)]
pub struct RedisTls {
    /// Who signs the server's certificate; `None` for the system's authorities.
    pub authority: Option<Vec<u8>>,
    /// What is shown to the server: certificate and key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// What connections are made with. Never printed.
#[derive(Clone)]
pub struct RedisAccess {
    /// Where Redis is, and as whom to log in.
    pub url: RedisUrl,
    /// Certificates, if the URL says TLS.
    pub tls: RedisTls,
    /// What the sentinels themselves want, if they want one.
    pub sentinel_password: Option<String>,
}

/// The files that settings may name beside the URL.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RedisFiles {
    /// `redis_ca`: the authority of the server's certificate.
    pub ca: Option<PathBuf>,
    /// `redis_cert`: what is shown to the server.
    pub cert: Option<PathBuf>,
    /// `redis_key`: the key of that.
    pub key: Option<PathBuf>,
    /// `redis_password_file`: the password, in place of one in the URL.
    pub password: Option<PathBuf>,
    /// `redis_sentinel_password_file`: the sentinels' own password.
    pub sentinel_password: Option<PathBuf>,
}

/// Why there is no way into Redis. Each begins with the setting that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum RedisAccessError {
    /// Half of a pair is missing.
    #[error("{given}: a certificate and its key go together; give {missing} too, or neither")]
    Half {
        /// The setting that was given.
        given: &'static str,
        /// The one that was not.
        missing: &'static str,
    },
    /// Certificates where nothing is encrypted.
    #[error("{key}: it is for TLS, which {url} does not ask for; write rediss or leave it out")]
    NoTls {
        /// Which setting.
        key: &'static str,
        /// Where Redis is, without the password.
        url: String,
    },
    /// Two passwords, of which none is the obvious one.
    #[error("redis_password_file: the URL has a password too; give one of them")]
    PasswordTwice,
    /// A login that has no password.
    #[error(
        "redis: the URL names a user and no password; write user:password@ or, for a password \
         alone, :password@, or give redis_password_file"
    )]
    NoPassword,
    /// A password for sentinels, of which there are none.
    #[error(
        "redis_sentinel_password_file: {url} names no sentinels; write redis+sentinel or leave it \
         out"
    )]
    NoSentinels {
        /// Where Redis is, without the password.
        url: String,
    },
    /// A password or key that cannot be read, or can be read by others.
    #[error("{key}: {error}")]
    Private {
        /// Which setting.
        key: &'static str,
        /// What is wrong with its file.
        error: Box<nano_tls::Error>,
    },
    /// A certificate that cannot be read.
    #[error("{key}: cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which setting.
        key: &'static str,
        /// Its file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file that is not what its setting is for.
    #[error("{key}: {} {what}", path.display())]
    Content {
        /// Which setting.
        key: &'static str,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it, and what belongs there.
        what: &'static str,
    },
}

/// The longest password, in bytes; Redis itself has no bound.
const LONGEST_PASSWORD: usize = 4096;

/// The largest file of certificates or a key; one with every public authority has a quarter.
const LARGEST_PEM: usize = 1 << 20;

const CA: &str = "redis_ca";
const CERT: &str = "redis_cert";
const KEY: &str = "redis_key";
const PASSWORD: &str = "redis_password_file";
const SENTINEL_PASSWORD: &str = "redis_sentinel_password_file";

impl RedisFiles {
    /// Everything that does not go together with the URL, or with each other; no file is read.
    #[must_use]
    pub fn contradictions(&self, url: &RedisUrl) -> Vec<RedisAccessError> {
        let mut found = Vec::new();
        let half = |given, missing| RedisAccessError::Half { given, missing };
        match (&self.cert, &self.key) {
            (Some(_), None) => found.push(half(CERT, KEY)),
            (None, Some(_)) => found.push(half(KEY, CERT)),
            _ => {}
        }
        let of_tls = [(CA, &self.ca), (CERT, &self.cert), (KEY, &self.key)];
        let useless = of_tls
            .into_iter()
            .filter(|(_, file)| file.is_some() && !url.tls);
        found.extend(useless.map(|(key, _)| RedisAccessError::NoTls {
            key,
            url: url.to_string(),
        }));
        match &self.password {
            Some(_) if url.password.is_some() => found.push(RedisAccessError::PasswordTwice),
            None if url.user.is_some() && url.password.is_none() => {
                found.push(RedisAccessError::NoPassword);
            }
            _ => {}
        }
        if self.sentinel_password.is_some() && !matches!(url.kind, Kind::Sentinel(_)) {
            found.push(RedisAccessError::NoSentinels {
                url: url.to_string(),
            });
        }
        found
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If one cannot be read, or does not hold what it is to.
    pub fn load(&self, url: &RedisUrl) -> Result<RedisAccess, RedisAccessError> {
        let mut url = url.clone();
        if let Some(path) = &self.password {
            url.password = Some(password(PASSWORD, path)?);
        }
        let sentinel_password = self.sentinel_password.as_deref();
        let sentinel_password = sentinel_password.map(|path| password(SENTINEL_PASSWORD, path));
        let client = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(client(cert, key)?),
            _ => None,
        };
        let tls = RedisTls {
            authority: self.ca.as_deref().map(authority).transpose()?,
            client,
        };
        Ok(RedisAccess {
            url,
            tls,
            sentinel_password: sentinel_password.transpose()?,
        })
    }
}

/// A password, without the line break that it may end with.
fn password(key: &'static str, path: &Path) -> Result<String, RedisAccessError> {
    let wrong = |what| content(key, path, what);
    let text = nano_tls::read_private(path, LONGEST_PASSWORD + 2, "put the password there")
        .map_err(|error| private(key, error))?;
    let text = str::from_utf8(&text).map_err(|_| wrong("is not UTF-8; put the password there"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text.len() {
        0 => Err(wrong("is empty; put the password there")),
        1..=LONGEST_PASSWORD => Ok(text.to_owned()),
        _ => Err(wrong("has more than 4096 bytes; is it the right file?")),
    }
}

/// The certificates of authorities.
fn authority(path: &Path) -> Result<Vec<u8>, RedisAccessError> {
    let pem = public(CA, path)?;
    let mut store = RootCertStore::empty();
    for certificate in certificates(CA, path, &pem)? {
        let added = store.add(certificate);
        added.map_err(|_| content(CA, path, "holds a certificate that cannot be read"))?;
    }
    Ok(pem)
}

/// A certificate and its key.
fn client(cert: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), RedisAccessError> {
    let pem = public(CERT, cert)?;
    let chain = certificates(CERT, cert, &pem)?;
    let wrong = |what| content(KEY, key, what);
    let key_pem = nano_tls::read_private(key, LARGEST_PEM, "put the key of redis_cert there")
        .map_err(|error| private(KEY, error))?;
    let parsed = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_| wrong("holds no private key in PEM"))?;
    CertifiedKey::from_der(chain, parsed, &aws_lc_rs::default_provider())
        .map_err(|_| wrong("is not the key of the certificate in redis_cert"))?;
    Ok((pem, key_pem.to_vec()))
}

fn certificates(
    key: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, RedisAccessError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(content(key, path, "holds no certificate in PEM")),
    }
}

fn public(key: &'static str, path: &Path) -> Result<Vec<u8>, RedisAccessError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_PEM as u64).read_to_end(&mut text))
        .map_err(|error| RedisAccessError::Unreadable {
            key,
            path: path.to_owned(),
            error,
        })?;
    Ok(text)
}

fn private(key: &'static str, error: nano_tls::Error) -> RedisAccessError {
    let error = Box::new(error);
    RedisAccessError::Private { key, error }
}

fn content(key: &'static str, path: &Path, what: &'static str) -> RedisAccessError {
    RedisAccessError::Content {
        key,
        path: path.to_owned(),
        what,
    }
}
