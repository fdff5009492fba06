//! Whom a party trusts: authorities and their revocation lists come in, verdicts on certificates
//! go out. A value that never changes; [`Credentials`](crate::Credentials) replaces it whole.
//!
//! The same verdict lets a peer in, and later lets it stay: a connection whose peer would not be
//! let in any more is to end.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::{CertificateError, ExtendedKeyPurpose, OtherError, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::config::provider;
use crate::fingerprint::Fingerprint;
use crate::leaf::Leaf;
use crate::revocation::Revocations;
use crate::{Error, Identity, Result};

/// What a peer's certificate has to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To answer connections.
    Server,
    /// To make them.
    Client,
}

/// The authorities of one trust domain, and what they have revoked.
pub(crate) struct Trusted {
    roots: RootCertStore,
    fingerprints: Vec<Fingerprint>,
    revocations: Revocations,
    trust_domain: String,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trusted {
    /// Of `authorities`, of which there is at least one.
    pub(crate) fn new(
        authorities: Vec<CertificateDer<'static>>,
        revocations: Revocations,
        trust_domain: &str,
    ) -> Result<Self> {
        let fingerprints = authorities.iter().map(Fingerprint::of).collect();
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority)
                .map_err(|error| Error::Certificate(error.to_string()))?;
        }
        Ok(Self {
            roots,
            fingerprints,
            revocations,
            trust_domain: trust_domain.to_owned(),
            algorithms: provider().signature_verification_algorithms,
        })
    }

    pub(crate) fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Who the holder of a certificate is, if it is to be trusted in this role at this time.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<Identity, rustls::Error> {
        let lists: Vec<_> = self.revocations.lists().iter().collect();
        let certificate = EndEntityCert::try_from(leaf).map_err(|error| refused(error, role))?;
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                role.usage(),
                options(&lists),
                None,
            )
            .map_err(|error| refused(error, role))?;
        self.member(leaf).map_err(refusal)
    }

    /// Why a peer's certificates, its own first, are not to be trusted in this role.
    pub(crate) fn check(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: SystemTime,
    ) -> Result<(), rustls::Error> {
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or_else(|| refusal(Error::NoCertificate))?;
        let since_1970 = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now = UnixTime::since_unix_epoch(since_1970);
        self.verify(leaf, intermediates, role, now).map(drop)
    }

    /// Whether both let the same parties in.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.fingerprints == other.fingerprints && self.revocations == other.revocations
    }

    /// The one identity of a certificate whose chain is verified, if it is of our trust domain.
    fn member(&self, certificate: &CertificateDer<'_>) -> Result<Identity> {
        let peer = Leaf::parse(certificate)?.identity;
        if peer.trust_domain() != self.trust_domain {
            return Err(Error::ForeignPeer {
                peer,
                trust_domain: self.trust_domain.clone(),
            });
        }
        Ok(peer)
    }
}

impl Role {
    fn usage(self) -> KeyUsage {
        match self {
            Self::Server => KeyUsage::server_auth(),
            Self::Client => KeyUsage::client_auth(),
        }
    }

    fn purpose(self) -> ExtendedKeyPurpose {
        match self {
            Self::Server => ExtendedKeyPurpose::ServerAuth,
            Self::Client => ExtendedKeyPurpose::ClientAuth,
        }
    }
}

/// A list that is past its time is as bad as none, so nobody of its authority is let in. But an
/// authority need not have one, and while one takes the place of another only one may.
fn options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let options = options
        .with_status_policy(UnknownStatusPolicy::Allow)
        .with_expiration_policy(ExpirationPolicy::Enforce);
    Some(options.build())
}

/// What webpki found, as rustls says it: the peer is sent the alert that follows from it.
fn refused(error: webpki::Error, role: Role) -> rustls::Error {
    use webpki::Error as Found;
    let error = match error {
        Found::BadDer | Found::BadDerTime | Found::TrailingData(_) => CertificateError::BadEncoding,
        Found::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        Found::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }
        }
        Found::UnknownIssuer => CertificateError::UnknownIssuer,
        Found::CertRevoked => CertificateError::Revoked,
        Found::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }
        }
        Found::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Found::RequiredEkuNotFoundContext(context) => CertificateError::InvalidPurposeContext {
            required: role.purpose(),
            presented: context.present.into_iter().map(purpose).collect(),
        },
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    error.into()
}

fn purpose(oid: Vec<usize>) -> ExtendedKeyPurpose {
    match oid[..] {
        [1, 3, 6, 1, 5, 5, 7, 3, 1] => ExtendedKeyPurpose::ServerAuth,
        [1, 3, 6, 1, 5, 5, 7, 3, 2] => ExtendedKeyPurpose::ClientAuth,
        _ => ExtendedKeyPurpose::Other(oid),
    }
}

/// Our reason as rustls reports it, word for word; within a `CertificateError` it would show as
/// Rust's debug text.
pub(crate) fn refusal(error: Error) -> rustls::Error {
    OtherError(Arc::new(error)).into()
}
