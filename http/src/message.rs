//! What is read of a request's body, as go-nano does: `Pattern` and
//! `ServiceRequest`, in any letter case, the last of duplicates; all else is the
//! service's.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

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
        let fields: Fields = serde_json::from_slice(body)
            .map_err(|error| format!("the body is no message: {error}"))?;
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

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object with a field Pattern")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(Key(key)) = map.next_key()? {
                    match key {
                        // A null leaves a field as it was, as in Go.
                        Known::Pattern => {
                            fields.pattern = map.next_value::<Option<_>>()?.or(fields.pattern);
                        }
                        Known::ServiceRequest => {
                            let value = map.next_value::<Option<_>>()?;
                            fields.service_request = value.or(fields.service_request);
                        }
                        Known::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

struct Key(Known);

enum Known {
    Pattern,
    ServiceRequest,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                Ok(Key(if name.eq_ignore_ascii_case("Pattern") {
                    Known::Pattern
                } else if name.eq_ignore_ascii_case("ServiceRequest") {
                    Known::ServiceRequest
                } else {
                    Known::Other
                }))
            }
        }

        deserializer.deserialize_str(Name)
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
