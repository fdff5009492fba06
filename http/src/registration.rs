//! What go-nano services send to `/register`: `Pattern` and `ServiceAddress`; what else they
//! say follows from these.

use serde::de::MapAccess;

use crate::{
    HostPort,
    members::{self, Members},
};

/// A service that would be called over HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct Registration {
    /// What it serves, as it says.
    pub pattern: String,
    /// Where it is called.
    pub address: HostPort,
}

#[derive(Default)]
struct Fields {
    pattern: Option<String>,
    address: Option<String>,
}

impl Registration {
    /// Reads a JSON object.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, for whoever sent it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let fields: Fields = members::parse(body)
            .map_err(|error| format!("the body is no registration: {error}"))?;
        let pattern = fields.pattern.unwrap_or_default();
        if pattern.is_empty() {
            return Err("the registration has no Pattern".to_owned());
        }
        let address = fields.address.unwrap_or_default();
        let address = address.parse().map_err(|reason| {
            format!("the ServiceAddress {address:.300?} is no host and port: {reason}")
        })?;
        Ok(Self { pattern, address })
    }
}

impl Members for Fields {
    const EXPECTED: &'static str = "a JSON object with Pattern and ServiceAddress";
    const NAMES: &'static [&'static str] = &["Pattern", "ServiceAddress"];

    fn read<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        match index {
            0 => members::value(&mut self.pattern, map),
            _ => members::value(&mut self.address, map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Registration;

    #[test]
    fn an_address_that_is_none_is_named() {
        for address in ["", "127.0.0.1", "http://127.0.0.1:4444"] {
            let body = serde_json::json!({"Pattern": "a:1", "ServiceAddress": address});
            let refused = Registration::parse(body.to_string().as_bytes()).err();
            let named = format!("the ServiceAddress {address:?} is no host and port");
            let refused = refused.unwrap_or_default();
            assert!(refused.starts_with(&named), "{address}: {refused}");
        }
    }

    #[test]
    fn what_go_nano_sends_is_read() {
        let body = br#"{"Cache":{},"Pattern":"role:math,cmd:sum","ServiceAddress":"127.0.0.1:4444",
            "ServicePort":4444,"ServerAddress":"127.0.0.1:9999","ServerPort":9999}"#;
        let read = Registration::parse(body);
        let read = read
            .as_ref()
            .map(|read| (&*read.pattern, read.address.as_str()));
        assert_eq!(read, Ok(("role:math,cmd:sum", "127.0.0.1:4444")));
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"Pattern":1,"ServiceAddress":"a:1"}"#,
        ] {
            assert!(Registration::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
