//! Requests to a collector: a body comes in, and goes by one connection that is kept while it works;
//! out comes whether the collector has it.

use std::{io, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::settings::{OtlpEndpoint, OtlpSettings};

/// Bytes of an answer that are read at most; what it says is only for a log line.
const ANSWER: usize = 64 * 1024;

/// The way to a collector.
pub(super) struct Collector {
    endpoint: OtlpEndpoint,
    headers: HeaderMap,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Why a collector does not have a batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("no answer in time")]
    Late,
}

impl PostError {
    /// Whether the same may be taken later, as OTLP has it.
    pub(super) fn may_be_tried_again(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Broken(_) | Self::Late => true,
            Self::Refused(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

/// Why there is no way to a collector at all.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The authority's file is of no use.
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE: no certificate in PEM can be read from {0}")]
    Authority(String),
    /// TLS cannot be set up.
    #[error("otlp_endpoint: TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// Its host is no name that a certificate could have.
    #[error("otlp_endpoint: its host is no name for a certificate: {0}")]
    Name(#[from] InvalidDnsNameError),
}

impl Collector {
    /// That is not connected to yet.
    ///
    /// # Errors
    ///
    /// If TLS is to be spoken and cannot be.
    pub(super) fn new(settings: &OtlpSettings) -> Result<Self, CollectorError> {
        let endpoint = settings.endpoint.clone();
        let tls = match endpoint.is_encrypted {
            false => None,
            true => {
                let host = endpoint.authority.host().trim_matches(['[', ']']);
                let name = ServerName::try_from(host.to_owned())?;
                Some((connector(settings)?, name))
            }
        };
        let mut headers = settings.headers.clone();
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, protobuf);
        // An authority has no characters that a header may not have.
        if let Ok(host) = HeaderValue::from_str(endpoint.authority.as_str()) {
            headers.insert(HOST, host);
        }
        Ok(Self {
            endpoint,
            headers,
            tls,
            connection: None,
        })
    }

    /// Where it is.
    pub(super) fn endpoint(&self) -> &OtlpEndpoint {
        &self.endpoint
    }

    /// Sends a body. A connection that the collector has closed since is replaced.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<(), PostError> {
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect().await?,
        };
        connection.ready().await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(self.endpoint.path.clone());
        *request.headers_mut() = self.headers.clone();
        let response = connection.send_request(request).await?;
        let status = response.status();
        // What is not read to its end leaves a connection that is of no more use.
        let read = Limited::new(response.into_body(), ANSWER).collect().await;
        if read.is_ok() {
            self.connection = Some(connection);
        }
        match status.is_success() {
            true => Ok(()),
            false => Err(PostError::Refused(status)),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, PostError> {
        let host = self.endpoint.authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.endpoint.port())).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => greet(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                greet(stream).await
            }
        }
    }
}

async fn greet(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, PostError> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Why it has ended is told to who waits for an answer.
        let _ = connection.await;
    });
    Ok(sender)
}

fn connector(settings: &OtlpSettings) -> Result<TlsConnector, CollectorError> {
    let mut roots = RootCertStore::empty();
    match &settings.authority {
        Some(path) => {
            let unread = || CollectorError::Authority(path.display().to_string());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|_| unread())?;
            for certificate in certificates {
                let certificate = certificate.map_err(|_| unread())?;
                roots.add(certificate).map_err(|_| unread())?;
            }
            if roots.is_empty() {
                return Err(unread());
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
