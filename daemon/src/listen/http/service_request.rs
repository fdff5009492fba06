//! The answer to a go-nano program that would know where its subject is served, to call the service
//! itself from then on: the service's answer comes in, it goes out with the service's address.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{HeaderMap, header::HOST};
use serde::Serialize;

use super::{call::Answered, response::JSON};
use crate::upstream::HttpAddress;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    service: Service<'a>,
    /// In base64, as Go writes bytes; none for an empty answer.
    payload: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Service<'a> {
    cache: Empty,
    pattern: &'a str,
    service_address: &'a str,
    service_port: u16,
    server_address: &'a str,
    server_port: u16,
}

#[derive(Serialize)]
struct Empty {}

/// Puts the service's answer into one that says where the service is. One that has no HTTP address
/// is where this node is, as its caller has reached it.
pub(super) fn with_service(answered: Answered, server: &HttpAddress) -> Answered {
    let member = answered.member.as_ref();
    let upstream = member.and_then(|member| member.instance.upstream());
    let service = upstream.map_or(server, |upstream| upstream.address());
    let envelope = Envelope {
        service: Service {
            cache: Empty {},
            pattern: member.map_or("", |member| member.pattern.as_str()),
            service_address: service.as_str(),
            service_port: service.port(),
            server_address: server.as_str(),
            server_port: server.port(),
        },
        payload: (!answered.body.is_empty()).then(|| STANDARD.encode(&answered.body)),
    };
    let body = serde_json::to_vec(&envelope).expect("text and numbers always have a JSON form");
    Answered {
        body: Bytes::from(body),
        content_type: Some(JSON),
        ..answered
    }
}

/// This node's HTTP address as a request has reached it: as its `Host` says, else by its socket.
pub(super) fn reached(headers: &HeaderMap, local: SocketAddr) -> Result<HttpAddress, &'static str> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let named = host.and_then(|host| host.parse().or_else(|_| format!("{host}:80").parse()).ok());
    named.map_or_else(|| local.to_string().parse(), Ok)
}
