//! `POST /register`, by which a go-nano service says what it serves and where: the request's body
//! comes in, a route is made durable.

use std::{borrow::Cow, sync::Arc};

use nano_routing::Pattern;
use nano_wire::{Code, Failure, Hop, message::Policy};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use tokio::sync::oneshot;

use super::{Connection, HttpContext, bad_request, forbidden};
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
    connection: &Connection,
    context: &HttpContext,
) -> Result<(), Failure> {
    let registration = Registration::parse(body).map_err(bad_request)?;
    admit(&registration, connection)?;
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
fn admit(_: &Registration, connection: &Connection) -> Result<(), Failure> {
    match connection.guard.is_loopback() {
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
    /// Reads a JSON object: `Pattern` and `ServiceAddress`, in any letter case, the last of
    /// duplicates; nothing else matters.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for whoever sent it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let fields: Fields = serde_json::from_slice(body)
            .map_err(|error| format!("the body is no registration: {error}"))?;
        let pattern = given(fields.pattern, "Pattern")?;
        let address = given(fields.address, "ServiceAddress")?;
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

fn given(field: Option<String>, name: &str) -> Result<String, String> {
    match field {
        Some(value) if !value.is_empty() => Ok(value),
        Some(_) => Err(format!("the field {name} is empty")),
        None => Err(format!("the body has no field {name}")),
    }
}

#[derive(Default)]
struct Fields {
    pattern: Option<String>,
    address: Option<String>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object with the fields Pattern and ServiceAddress")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    let field = if name.eq_ignore_ascii_case("Pattern") {
                        &mut fields.pattern
                    } else if name.eq_ignore_ascii_case("ServiceAddress") {
                        &mut fields.address
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    // A null leaves a field as it was, as in Go.
                    let value = map.next_value::<Option<_>>()?;
                    *field = value.or(field.take());
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
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
