//! The HTTP side of a collector of traces: export requests come in by OTLP, each body is handed on
//! and answered as taken.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::RedisCertificates;

/// A collector that listens; it ends when dropped.
pub struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    serving: JoinHandle<()>,
}

/// What becomes of a body.
type Taker = Arc<dyn Fn(Bytes) + Send + Sync>;

impl Collector {
    /// Listens on an address, and hands each body on.
    ///
    /// # Panics
    ///
    /// If the address cannot be listened on.
    pub async fn start(address: &str, take: impl Fn(Bytes) + Send + Sync + 'static) -> Self {
        Self::serve("http", None, address, Arc::new(take)).await
    }

    /// The same with TLS, by the servers' certificate of an authority.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub async fn start_encrypted(
        certificates: &RedisCertificates,
        address: &str,
        take: impl Fn(Bytes) + Send + Sync + 'static,
    ) -> Self {
        let tls = acceptor(certificates);
        Self::serve("https", Some(tls), address, Arc::new(take)).await
    }

    async fn serve(
        scheme: &'static str,
        tls: Option<TlsAcceptor>,
        address: &str,
        take: Taker,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free address");
        let address = listener.local_addr().expect("a listener has an address");
        Self {
            address,
            scheme,
            serving: tokio::spawn(accept(listener, tls, take)),
        }
    }

    /// What `otlp_endpoint` names it by.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn acceptor(certificates: &RedisCertificates) -> TlsAcceptor {
    let chain = CertificateDer::from_pem_file(certificates.path("server"));
    let key = PrivateKeyDer::from_pem_file(certificates.path("server-key"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![chain.expect("the certificate is PEM")],
            key.expect("the key is PEM"),
        );
    TlsAcceptor::from(Arc::new(config.expect("the key is the certificate's")))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, take: Taker) {
    // Its tasks end with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, take) = (tls.clone(), Arc::clone(&take));
        connections.spawn(async move {
            match tls {
                None => answer_all(stream, take).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        answer_all(stream, take).await;
                    }
                }
            }
        });
    }
}

async fn answer_all(stream: impl AsyncRead + AsyncWrite + Unpin, take: Taker) {
    let answer = service_fn(move |request| answer(request, Arc::clone(&take)));
    // How a connection ends is its client's affair.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    take: Taker,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::default();
    let is_export = request.method() == "POST" && request.uri().path() == "/v1/traces";
    match request.into_body().collect().await {
        Ok(body) if is_export => take(body.to_bytes()),
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}
