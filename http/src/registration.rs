//! What go-nano services send to `/register`: `Pattern` and `ServiceAddress`; what else they
//! say follows from these.

use serde::de::MapAccess;

use crate::members::{self, Members};

/// A service that would be called over HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct Registration {
    /// What it serves, as it says.
    pub pattern: String,
    /// Where it is called, as it says.
    pub address: String,
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
        Ok(Self {
            pattern: given(fields.pattern, "Pattern")?,
            address: given(fields.address, "ServiceAddress")?,
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
    fn what_go_nano_sends_is_read() {
        let body = br#"{"Cache":{},"Pattern":"role:math,cmd:sum","ServiceAddress":"127.0.0.1:4444",
            "ServicePort":4444,"ServerAddress":"127.0.0.1:9999","ServerPort":9999}"#;
        let expected = Registration {
            pattern: "role:math,cmd:sum".to_owned(),
            address: "127.0.0.1:4444".to_owned(),
        };
        assert_eq!(Registration::parse(body), Ok(expected));
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
