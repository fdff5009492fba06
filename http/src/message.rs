//! What is read of a message: `Pattern` and `ServiceRequest`, as go-nano reads them; all else
//! is the service's.

use serde::de::MapAccess;

use crate::members::{self, Members};

/// What a request's body says to who passes it on.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The subject.
    pub pattern: String,
    /// The caller is a go-nano program that would know the service's address.
    pub service_request: bool,
}

#[derive(Default)]
struct Fields {
    pattern: Option<String>,
    service_request: Option<bool>,
}

impl Message {
    /// Reads a JSON object.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, for whoever sent it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let fields: Fields =
            members::parse(body).map_err(|error| format!("the body is no message: {error}"))?;
        match fields.pattern {
            Some(pattern) if !pattern.is_empty() => Ok(Self {
                pattern,
                service_request: fields.service_request.unwrap_or_default(),
            }),
            Some(_) => Err("the field Pattern is empty".to_owned()),
            None => Err("the body has no field Pattern".to_owned()),
        }
    }
}

impl Members for Fields {
    const EXPECTED: &'static str = "a JSON object with a field Pattern";
    const NAMES: &'static [&'static str] = &["Pattern", "ServiceRequest"];

    fn read<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
        match index {
            0 => members::value(&mut self.pattern, map),
            _ => members::value(&mut self.service_request, map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    fn parsed(body: &str) -> Result<(String, bool), String> {
        Message::parse(body.as_bytes()).map(|message| (message.pattern, message.service_request))
    }

    #[test]
    fn reads_what_go_nano_reads() {
        let same = Ok(("a:1".to_owned(), false));
        assert_eq!(parsed(r#"{"Pattern":"a:1"}"#), same);
        assert_eq!(parsed(r#"{"pAtTeRn":"a:1","x":[{"Pattern":1}]}"#), same);
        assert_eq!(parsed(r#" {"Pattern":"b","pattern":"a:1"} "#), same);
        assert_eq!(parsed(r#"{"Pattern":"a\u003a1"}"#), same);
        assert_eq!(parsed(r#"{"Pattern":"a:1","pattern":null}"#), same);
        assert_eq!(
            parsed(r#"{"Pattern":"a:1","servicerequest":true}"#),
            Ok(("a:1".to_owned(), true))
        );
    }

    #[test]
    fn refuses_what_go_nano_refuses() {
        for body in [
            "",
            "x",
            "null",
            "[]",
            "1",
            "{}",
            r#"{"Pattern":""}"#,
            r#"{"Pattern":null}"#,
            r#"{"Pattern":1}"#,
            r#"{"Pattern":"a"} x"#,
            r#"{"Pattern":"a""#,
            r#"{"Pattern":"a","ServiceRequest":"yes"}"#,
        ] {
            assert!(parsed(body).is_err(), "{body}");
        }
    }
}
