//! What go-nano calls a service's answer: the answer itself and where its service is, for
//! callers that asked with `ServiceRequest` and will ask there next.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Serialize;

/// Where a service is, as go-nano callers keep it. Addresses are host and port.
#[derive(Clone, Debug)]
pub struct ServiceAddress<'a> {
    /// What the service serves.
    pub pattern: &'a str,
    /// Where it is.
    pub service: &'a str,
    /// Where to ask if it no longer is.
    pub server: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    service: Service<'a>,
    payload: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Service<'a> {
    cache: Cache,
    pattern: &'a str,
    service_address: &'a str,
    service_port: u16,
    server_address: &'a str,
    server_port: u16,
}

/// Of which go-nano sends nothing but that it has one.
#[derive(Serialize)]
struct Cache {}

impl ServiceAddress<'_> {
    /// An answer of that service; nothing at all is `null`, as Go writes it.
    #[must_use]
    pub fn wrap(&self, answer: &[u8]) -> Bytes {
        let wrapped = Answer {
            service: Service {
                cache: Cache {},
                pattern: self.pattern,
                service_address: self.service,
                service_port: port(self.service),
                server_address: self.server,
                server_port: port(self.server),
            },
            payload: (!answer.is_empty()).then(|| BASE64_STANDARD.encode(answer)),
        };
        serde_json::to_vec(&wrapped)
            .expect("strings and numbers always have a JSON form")
            .into()
    }
}

fn port(address: &str) -> u16 {
    let port = address.rsplit_once(':').map(|(_, port)| port.parse());
    port.and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::ServiceAddress;

    #[test]
    fn an_answer_is_as_go_nano_writes_it() {
        let address = ServiceAddress {
            pattern: "role:math,cmd:sum",
            service: "10.0.0.2:4444",
            server: "nano:9999",
        };
        let expected = concat!(
            r#"{"Service":{"Cache":{},"Pattern":"role:math,cmd:sum","#,
            r#""ServiceAddress":"10.0.0.2:4444","ServicePort":4444,"#,
            r#""ServerAddress":"nano:9999","ServerPort":9999},"Payload":"#,
        );
        let answer = address.wrap(br#"{"Result":3}"#);
        assert_eq!(answer, format!("{expected}\"eyJSZXN1bHQiOjN9\"}}"));
        assert_eq!(address.wrap(b""), format!("{expected}null}}"));
    }
}
