//! An echo of HTTP, for what stands before it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::serve_each;
use crate::Result;

pub(super) async fn serve() -> Result<()> {
    serve_each(serve_connection).await
}

async fn serve_connection(stream: TcpStream) {
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(echo));
    // Whoever is before it counts what fails.
    let _ = serving.await;
}

async fn echo(
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let mut response = Response::new(Full::new(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
