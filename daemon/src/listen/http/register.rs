//! `POST /register`, by which a go-nano service says what it serves and where: the request's body
//! comes in, a route is made durable.

use std::sync::Arc;

use nano_http::Ends;
use nano_routing::Pattern;
use nano_wire::{Code, Failure, Hop, message::Policy};
use tokio::sync::oneshot;

use super::{HttpContext, bad_request, forbidden};
use crate::{quota::Resource, registry::Command, table::Member, upstream::HttpAddress};

/// What a service registers.
#[derive(Debug, PartialEq, Eq)]
pub struct Registration {
    pattern: Pattern,
    address: HttpAddress,
}

/// Registers a service; when this returns it is durable.
pub(super) async fn register(
    body: &[u8],
    ends: Ends,
    context: &HttpContext,
) -> Result<(), Failure> {
    let registration = Registration::parse(body).map_err(bad_request)?;
    admit(&registration, ends)?;
    let Registration { pattern, address } = registration;
    if address.leads_to(context.own).await {
        let message = format!(
            "ServiceAddress is {address}, which is this node's own HTTP address: its calls would \
             come back here; register the address that the service itself listens on"
        );
        return Err(bad_request(message));
    }
    let member = Member {
        instance: context.upstreams.own_instance(&address),
        pattern,
        policy: Policy::default(),
        incarnation: 0,
        permit: Some(context.usage.take(Resource::Patterns)?),
        figures: Arc::default(),
    };
    let (done, acknowledged) = oneshot::channel();
    let command = Command::Register { member, done };
    context.registry.send(command).await;
    acknowledged.await.unwrap_or_else(|_| {
        let message = "the node's registry has stopped";
        Err(Failure::not_sent(Code::Draining, Hop::Node, message))
    })
}

/// Whether who sends a registration may: it makes the node call an address.
fn admit(_: &Registration, ends: Ends) -> Result<(), Failure> {
    match ends.listener.ip().is_loopback() {
        true => Ok(()),
        false => Err(forbidden(
            "services register over HTTP at a node that listens on loopback (--http \
             127.0.0.1:9999); elsewhere anyone could have it call any address: use the client \
             library there, or a node on the service's own machine"
                .to_owned(),
        )),
    }
}

impl Registration {
    /// Reads a request's body.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for whoever sent it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let nano_http::Registration { pattern, address } = nano_http::Registration::parse(body)?;
        Ok(Self {
            pattern: Pattern::parse(&pattern)
                .map_err(|error| format!("the field Pattern holds none: {error}"))?,
            address: address.parse().map_err(|reason| {
                format!(
                    "the field ServiceAddress holds {address:?}, not host:port as in \
                     127.0.0.1:4444: {reason}"
                )
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Registration;

    fn parsed(body: &str) -> Result<(String, String), String> {
        let registration = Registration::parse(body.as_bytes())?;
        let address = registration.address.to_string();
        Ok((registration.pattern.to_string(), address))
    }

    #[test]
    fn reads_what_go_nano_services_send() {
        let same = Ok(("a:1,b:2".to_owned(), "127.0.0.1:4444".to_owned()));
        for body in [
            r#"{"Cache":{},"Pattern":"a:1,b:2","ServiceAddress":"127.0.0.1:4444","ServicePort":4444,"ServerAddress":"","ServerPort":0}"#,
            r#"{"pattern":"a:1, b:2","SERVICEADDRESS":"127.0.0.1:4444"}"#,
            r#"{"Pattern":"x","PATTERN":"a:1,b:2","ServiceAddress":"127.0.0.1:4444","ServiceAddress":null}"#,
        ] {
            assert_eq!(parsed(body), same, "{body}");
        }
    }

    #[test]
    fn refuses_all_else() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"Pattern":"a:1"}"#,
            r#"{"ServiceAddress":"127.0.0.1:1"}"#,
            r#"{"Pattern":"","ServiceAddress":"127.0.0.1:1"}"#,
            r#"{"Pattern":"a,,b","ServiceAddress":"127.0.0.1:1"}"#,
            r#"{"Pattern":"a:1","ServiceAddress":""}"#,
            r#"{"Pattern":"a:1","ServiceAddress":":4444"}"#,
            r#"{"Pattern":"a:1","ServiceAddress":"127.0.0.1"}"#,
            r#"{"Pattern":1,"ServiceAddress":"127.0.0.1:1"}"#,
            r#"{"Pattern":"a:1","ServiceAddress":["127.0.0.1:1"]}"#,
            r#"{"Pattern":"a:1","ServiceAddress":"127.0.0.1:1"} x"#,
        ] {
            assert!(parsed(body).is_err(), "{body}");
        }
    }
}
