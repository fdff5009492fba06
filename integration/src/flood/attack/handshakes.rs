//! Whole handshakes of strangers: they take the node's certificate, and show one of a foreign
//! authority or none.

use std::{sync::Arc, time::Duration};

use nano_integration::any_address;
use nano_tls::{Authority, Bundle, Expect, Kind, LEAF_LIFETIME, TRUST_DOMAIN, client_dir};
use nano_wire::transport;
use quinn::{ClientConfig, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{SignatureScheme, client::ResolvesClientCert, sign::CertifiedKey};
use tokio::time::{Instant, timeout};

use super::{Attack, at_pace, score::Score};
use crate::Result;

/// Sockets that strangers come from.
const ENDPOINTS: usize = 16;

/// A stranger gives up after so long.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn flood(attack: &Attack, score: &Arc<Score>, end: Instant) -> Result<()> {
    let configs = [foreign(attack)?, bare(attack)?];
    let endpoints = (0..ENDPOINTS).map(|_| Endpoint::client(any_address()));
    let endpoints = endpoints.collect::<std::io::Result<Vec<_>>>()?;
    let node = attack.quic;
    let mut turn = 0;
    at_pace(score, end, || {
        turn += 1;
        let config = configs[turn % configs.len()].clone();
        let endpoint = endpoints[turn / configs.len() % ENDPOINTS].clone();
        async move {
            let Ok(connecting) = endpoint.connect_with(config, node, "nanod") else {
                return "not sent";
            };
            let refused = async {
                match connecting.await {
                    // With TLS 1.3 the client's side ends before the server's refusal comes.
                    Ok(connection) => connection.closed().await,
                    Err(error) => error,
                }
            };
            timeout(PATIENCE, refused)
                .await
                .map_or("given up", |error| ending(&error))
        }
    })
    .await;
    Ok(())
}

fn ending(error: &ConnectionError) -> &'static str {
    /// A TLS alert is such a code (RFC 9001, section 4.8).
    const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;
    /// `CONNECTION_REFUSED` of RFC 9000.
    const REFUSED: u64 = 0x2;
    match error {
        ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
            REFUSED => "refused",
            code if TLS_ALERTS.contains(&code) => "distrusted",
            _ => "closed",
        },
        ConnectionError::ApplicationClosed(_) => "sent away",
        ConnectionError::TimedOut => "timed out",
        _ => "failed",
    }
}

/// A client that trusts the node, as [`bare`] does, and shows a foreign certificate.
fn foreign(attack: &Attack) -> Result<ClientConfig> {
    let authority = Authority::create(TRUST_DOMAIN)?;
    let bundle = authority.issue(&"client/stranger".parse()?, LEAF_LIFETIME)?;
    let shown = bundle.client_config(Expect::Kind(Kind::Node))?;
    showing(attack, shown.client_auth_cert_resolver)
}

/// A client that shows no certificate.
pub(super) fn bare(attack: &Attack) -> Result<ClientConfig> {
    showing(attack, Arc::new(NoCertificate))
}

fn showing(attack: &Attack, certificate: Arc<dyn ResolvesClientCert>) -> Result<ClientConfig> {
    let own = Bundle::load(&client_dir(&attack.state.join("tls")))?;
    let mut tls = own.client_config(Expect::Kind(Kind::Node))?;
    tls.client_auth_cert_resolver = certificate;
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport::config());
    Ok(config)
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
