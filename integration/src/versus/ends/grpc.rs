//! Ends that speak gRPC over TLS, by tonic: unary calls whose messages are bytes as they are, which
//! spares the peer what protobuf costs.

use std::{
    convert::Infallible,
    fs,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Request, Response, Status,
    body::Body as HttpBody,
    client::Grpc,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{BoxFuture, Service, http, http::uri::PathAndQuery},
    server::{self, NamedService},
    transport::{
        Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
        server::TcpIncoming,
    },
};

use super::{End, say_ready};
use crate::{
    Result,
    load::{Body, Caller},
    peers::{CERTIFICATE, KEY},
};

/// Calls that a connection may have open, more than there ever are.
const STREAMS: u32 = 65_536;

/// Bytes under way, so that no call waits for a window.
const WINDOW: u32 = 16 * 1024 * 1024;

pub(super) async fn serve(end: &End) -> Result<()> {
    let trust = end.trust()?;
    let certificate = fs::read(trust.join(CERTIFICATE))?;
    let identity = Identity::from_pem(certificate, fs::read(trust.join(KEY))?);
    let incoming = TcpIncoming::bind(end.at.parse()?)?.with_nodelay(Some(true));
    let at = incoming.local_addr()?;
    let serving = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(Echo)
        .serve_with_incoming(incoming);
    say_ready(at);
    Ok(serving.await?)
}

pub(super) async fn connect(end: &End) -> Result<GrpcCaller> {
    let certificate = fs::read(end.trust()?.join(CERTIFICATE))?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificate));
    let channel = Endpoint::from_shared(format!("https://{}", end.at))?
        .tls_config(tls)?
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect()
        .await?;
    Ok(GrpcCaller { channel })
}

#[derive(Clone)]
pub(super) struct GrpcCaller {
    channel: Channel,
}

impl Caller for GrpcCaller {
    async fn call(&self, body: Body) -> Result<bool> {
        const PATH: PathAndQuery = PathAndQuery::from_static("/bench.Echo/Call");
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await?;
        let request = Request::new(Bytes::from_static(body));
        let answer = grpc.unary(request, PATH, AsIs).await?;
        Ok(answer.into_inner() == body)
    }
}

/// The server of the one method, and the method.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<HttpBody>> for Echo {
    type Response = http::Response<HttpBody>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<HttpBody>) -> Self::Future {
        Box::pin(async { Ok(server::Grpc::new(AsIs).unary(Echo, request).await) })
    }
}

impl Service<Request<Bytes>> for Echo {
    type Response = Response<Bytes>;
    type Error = Status;
    type Future = std::future::Ready<std::result::Result<Response<Bytes>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

/// Messages that are bytes already.
struct AsIs;

/// What each call allocates for a message at first: enough for a small one.
fn buffers() -> BufferSettings {
    BufferSettings::new(512, 32 * 1024)
}

impl Codec for AsIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        out.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

impl Decoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> std::result::Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
