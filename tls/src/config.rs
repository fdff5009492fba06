//! Both ends of a connection: a [`Bundle`] comes in, rustls configurations go out, and from a
//! connection the [`Identity`] of the peer. Configurations never change; a renewed bundle makes
//! new ones.
//!
//! TLS 1.3 with certificates on both sides, nothing else. A resumed session would skip the
//! verifiers, so there are no tickets, no stored sessions and no early data.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::leaf::Leaf;
use crate::{Bundle, Error, Identity, Kind, Result};

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

impl Bundle {
    /// The accepting side: lets in whoever has a certificate of our authorities that names one
    /// identity in our trust domain.
    pub fn server_config(&self) -> Result<ServerConfig> {
        let provider = provider();
        let chain =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone())
                .build()
                .map_err(|error| Error::Config(error.to_string()))?;
        let verifier = ClientVerifier {
            chain,
            trust_domain: self.identity().trust_domain().to_owned(),
        };

        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| Error::Config(error.to_string()))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.shown.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// The calling side: goes on only when who was expected answers. The server name that rustls
    /// and quinn ask for plays no part, and is not sent.
    pub fn client_config(&self, expect: Expect) -> Result<ClientConfig> {
        let provider = provider();
        let verifier = ServerVerifier {
            roots: self.roots.clone(),
            algorithms: provider.signature_verification_algorithms,
            trust_domain: self.identity().trust_domain().to_owned(),
            expect,
        };

        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| Error::Config(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.shown.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        Ok(config)
    }
}

/// Who is at the other end of a connection that one of our configurations has verified. `certs`
/// is what rustls calls its peer's certificates, and quinn its identity.
pub fn peer_identity(certs: &[CertificateDer<'_>]) -> Result<Identity> {
    let leaf = certs.first().ok_or(Error::NoCertificate)?;
    Ok(Leaf::parse(leaf)?.identity)
}

/// The cryptography of everything here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Asks webpki about the chain and then looks at the identity.
#[derive(Debug)]
struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: String,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        member_of(&self.trust_domain, end_entity).map_err(refusal)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Verifies the chain without the server name, which no certificate of ours bears, and then the
/// identity, which takes its place.
#[derive(Debug)]
struct ServerVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    trust_domain: String,
    expect: Expect,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let peer = member_of(&self.trust_domain, end_entity).map_err(refusal)?;
        if !self.expect.is_met_by(&peer) {
            return Err(refusal(Error::WrongPeer {
                peer,
                expected: self.expect.clone(),
            }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The one identity of a certificate whose chain is verified, if it is of our trust domain.
fn member_of(trust_domain: &str, certificate: &CertificateDer<'_>) -> Result<Identity> {
    let peer = Leaf::parse(certificate)?.identity;
    if peer.trust_domain() != trust_domain {
        return Err(Error::ForeignPeer {
            peer,
            trust_domain: trust_domain.to_owned(),
        });
    }
    Ok(peer)
}

/// Our reason as rustls reports it, word for word; within a `CertificateError` it would show as
/// Rust's debug text.
fn refusal(error: Error) -> rustls::Error {
    OtherError(Arc::new(error)).into()
}
