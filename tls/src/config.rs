//! Both ends of a connection: [`Credentials`] come in, rustls configurations go out, and from a
//! connection the [`Identity`] of the peer. A configuration is made once: each handshake asks the
//! credentials what to show and whom to trust.
//!
//! TLS 1.3 with certificates on both sides, nothing else. A resumed session would skip the
//! verifiers, so there are no tickets, no stored sessions and no early data.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::leaf::{self, Leaf};
use crate::trusted::{Role, refusal};
use crate::{Bundle, Credentials, Error, Identity, Kind, Result, Validity};

/// The application protocol that both sides insist on.
pub const ALPN: &[u8] = b"nano/1";

/// Who has to answer a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any party of this kind in our trust domain.
    Kind(Kind),
    /// This party and no other.
    Identity(Identity),
}

impl Expect {
    fn is_met_by(&self, peer: &Identity) -> bool {
        match self {
            Self::Kind(kind) => peer.kind() == *kind,
            Self::Identity(identity) => peer == identity,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "a {kind}"),
            Self::Identity(identity) => identity.fmt(f),
        }
    }
}

impl Credentials {
    /// The accepting side: lets in whoever has a certificate of our authorities that names one
    /// identity in our trust domain.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig> {
        let verifier = Verifier {
            credentials: Arc::clone(self),
            expect: None,
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| Error::Config(error.to_string()))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// The calling side: goes on only when who was expected answers. The server name that rustls
    /// and quinn ask for plays no part, and is not sent.
    pub fn client_config(self: &Arc<Self>, expect: Expect) -> Result<ClientConfig> {
        let verifier = Verifier {
            credentials: Arc::clone(self),
            expect: Some(expect),
        };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| Error::Config(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }
}

impl Bundle {
    /// As [`Credentials::server_config`], with what this bundle holds for good.
    pub fn server_config(&self) -> Result<ServerConfig> {
        Credentials::fixed(self.clone()).server_config()
    }

    /// As [`Credentials::client_config`], with what this bundle holds for good.
    pub fn client_config(&self, expect: Expect) -> Result<ClientConfig> {
        Credentials::fixed(self.clone()).client_config(expect)
    }
}

/// What a party shows of itself is what it has when a handshake asks for it.
impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().certified))
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Who is at the other end of a connection that one of our configurations has verified. `certs`
/// is what rustls calls its peer's certificates, and quinn its identity.
pub fn peer_identity(certs: &[CertificateDer<'_>]) -> Result<Identity> {
    let leaf = certs.first().ok_or(Error::NoCertificate)?;
    Ok(Leaf::parse(leaf)?.identity)
}

/// From when to when the certificates of such a peer are valid, all of them.
pub fn peer_validity(certs: &[CertificateDer<'_>]) -> Result<Validity> {
    let (leaf, intermediates) = certs.split_first().ok_or(Error::NoCertificate)?;
    intermediates
        .iter()
        .try_fold(leaf::validity(leaf)?, |all, one| {
            Ok(all.and(&leaf::validity(one)?))
        })
}

/// The cryptography of everything here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Asks whom the party trusts at this moment. No certificate of ours bears a server's name; the
/// identity takes its place.
#[derive(Debug)]
struct Verifier {
    credentials: Arc<Credentials>,
    /// Who has to answer.
    expect: Option<Expect>,
}

impl Verifier {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let trusted = Arc::clone(&self.credentials.current().trusted);
        let peer = trusted.verify(end_entity, intermediates, role, now)?;
        match &self.expect {
            Some(expected) if !expected.is_met_by(&peer) => Err(refusal(Error::WrongPeer {
                peer,
                expected: expected.clone(),
            })),
            _ => Ok(()),
        }
    }
}

/// How both sides of a connection check what the other signs.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(message, cert, dss, &algorithms())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, cert, dss, &algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

impl ClientCertVerifier for Verifier {
    /// None: who connects has one certificate to show, and strangers need not know whose we take.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, Role::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, Role::Server, now)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}
