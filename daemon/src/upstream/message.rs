//! The body of a call as a go-nano service takes it: a JSON object with its subject under `Pattern`.

use bytes::Bytes;
use nano_routing::canonical;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The name of the field.
const PATTERN: &str = "Pattern";

/// A JSON object, with the subject under `Pattern`, in any letter case: services go by that, and rules
/// by the subject.
///
/// # Errors
///
/// What is wrong with the body, for whoever sent it.
pub fn with_pattern(body: &[u8], subject: &str) -> Result<Bytes, String> {
    let object: Object = serde_json::from_slice(body).map_err(|error| {
        format!("the instance is an HTTP service, which takes a JSON object only: {error}")
    })?;
    if let Some(pattern) = object.pattern {
        return match canonical(&pattern) {
            Ok(pattern) if pattern == subject => Ok(Bytes::copy_from_slice(body)),
            _ => Err(format!(
                "the body's {PATTERN} is {pattern:.300?}, and the subject {subject:?}: leave it out"
            )),
        };
    }
    let start = body.iter().position(|byte| *byte == b'{').unwrap_or(0) + 1;
    let subject = serde_json::Value::from(subject).to_string();
    let comma = if object.is_empty { "" } else { "," };
    let field = format!("\"{PATTERN}\":{subject}{comma}");
    Ok([&body[..start], field.as_bytes(), &body[start..]]
        .concat()
        .into())
}

struct Object {
    /// The last one that is given.
    pattern: Option<String>,
    is_empty: bool,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object {
                    pattern: None,
                    is_empty: true,
                };
                while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    object.is_empty = false;
                    if name.eq_ignore_ascii_case(PATTERN) {
                        let pattern: Option<String> = map.next_value()?;
                        object.pattern = pattern.or(object.pattern);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(object)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::with_pattern;

    fn given(body: &str) -> Result<String, String> {
        let body = with_pattern(body.as_bytes(), "a:\"1\"")?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    #[test]
    fn an_object_gets_its_pattern_if_it_has_none() {
        let pattern = r#""Pattern":"a:\"1\"""#;
        for (body, expected) in [
            ("{}", format!("{{{pattern}}}")),
            (" { } ", format!(" {{{pattern} }} ")),
            (r#"{"x":1}"#, format!(r#"{{{pattern},"x":1}}"#)),
            (
                r#"{"x":{"Pattern":1}}"#,
                format!(r#"{{{pattern},"x":{{"Pattern":1}}}}"#),
            ),
            (
                r#"{"pAttern":"a:\"1\""}"#,
                r#"{"pAttern":"a:\"1\""}"#.to_owned(),
            ),
        ] {
            assert_eq!(given(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn nothing_else_is_taken() {
        for body in [
            r#"{"Pattern":"b"}"#,
            r#"{"pattern":"b"}"#,
            r#"{"Pattern":"a:\"1\"","PATTERN":"b"}"#,
            r#"{"Pattern":1}"#,
        ] {
            assert!(given(body).is_err(), "{body}");
        }
        for body in ["", "[]", "1", "null", "\"x\"", "{", "{} x", "\u{1}"] {
            assert!(given(body).is_err(), "{body}");
        }
    }
}
