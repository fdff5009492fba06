//! The body of an HTTP request: what the node reads of it is what its JSON says.
//!
//! An input is a body.

use std::fmt;

use nano_http::Message;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, json};

/// Reads the input as the node does, and compares that with the whole document.
pub fn http_body(input: &[u8]) {
    let message = Message::parse(input);
    // The node passes over what it does not read, so it takes documents that this does not.
    if let Ok(document) = serde_json::from_slice::<Document>(input) {
        assert_eq!(message.as_ref().ok(), document.message().as_ref());
    }
    if let Ok(message) = message {
        assert!(!message.pattern.is_empty());
        let body = json!({
            "Pattern": message.pattern,
            "ServiceRequest": message.service_request,
        });
        assert_eq!(Message::parse(body.to_string().as_bytes()), Ok(message));
    }
}

/// All members of a JSON object, duplicates included, in order.
struct Document(Vec<(String, Value)>);

impl Document {
    /// What it says to the node, as the compatibility rules have it.
    fn message(&self) -> Option<Message> {
        let pattern = self.last("pattern", |value| value.as_str().map(str::to_owned))?;
        let service_request = self.last("servicerequest", Value::as_bool)?;
        Some(Message {
            pattern: pattern.filter(|pattern| !pattern.is_empty())?,
            service_request: service_request.unwrap_or_default(),
        })
    }

    /// The last value of a name that is not null; `None` if one is of another type.
    fn last<T>(&self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<Option<T>> {
        let values = self
            .0
            .iter()
            .filter(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null());
        let read: Option<Vec<T>> = values.map(|(_, value)| read(value)).collect();
        read.map(|mut all| all.pop())
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Document(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
