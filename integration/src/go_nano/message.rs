//! What go-nano reads of JSON and writes: names in any letter case, of duplicates the last, and a
//! refusal of values that have another type.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, json};

/// What a server or service reads of a message.
pub(super) struct Message {
    pub(super) pattern: String,
    pub(super) service_request: bool,
}

/// A registration, or what an answer to a `ServiceRequest` says of its service.
#[derive(Clone, Default)]
pub(super) struct Registration {
    pub(super) pattern: String,
    pub(super) service_address: String,
    pub(super) server_address: String,
}

/// An answer as `Act` reads it.
pub(super) struct Answer {
    pub(super) service: Registration,
    pub(super) payload: Bytes,
}

impl Message {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let object = object(body)?;
        Some(Self {
            pattern: field(&object, "Pattern")?,
            service_request: field(&object, "ServiceRequest")?,
        })
    }
}

impl Registration {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        Self::read(&object(body)?)
    }

    fn read(object: &Object) -> Option<Self> {
        let _: u16 = field(object, "ServicePort")?;
        let _: u16 = field(object, "ServerPort")?;
        Some(Self {
            pattern: field(object, "Pattern")?,
            service_address: field(object, "ServiceAddress")?,
            server_address: field(object, "ServerAddress")?,
        })
    }

    /// As go-nano writes it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "Cache": {},
            "Pattern": self.pattern,
            "ServiceAddress": self.service_address,
            "ServicePort": port(&self.service_address),
            "ServerAddress": self.server_address,
            "ServerPort": port(&self.server_address),
        })
    }
}

impl Answer {
    /// # Errors
    ///
    /// If Go's `json.Unmarshal` has one.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let text = || String::from_utf8_lossy(body).into_owned();
        let object = object(body).ok_or_else(text)?;
        let service: Object = field(&object, "Service").ok_or_else(text)?;
        let payload: String = field(&object, "Payload").ok_or_else(text)?;
        let payload = BASE64_STANDARD.decode(payload).map_err(|_| text())?;
        Ok(Self {
            service: Registration::read(&service).ok_or_else(text)?,
            payload: payload.into(),
        })
    }

    /// As a service writes it.
    pub(super) fn to_json(&self) -> Value {
        let payload = BASE64_STANDARD.encode(&self.payload);
        json!({ "Service": self.service.to_json(), "Payload": payload })
    }
}

/// The members of a JSON object, in order; `null` has none.
#[derive(Default)]
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_unit<E>(self) -> Result<Object, E> {
                Ok(Object::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_any(Members)
    }
}

fn object(body: &[u8]) -> Option<Object> {
    serde_json::from_slice(body).ok()
}

/// A member's last value, or that of its type if it is missing; `None` if it has another type.
fn field<T: Default + for<'de> Deserialize<'de>>(object: &Object, name: &str) -> Option<T> {
    let mut members = object.0.iter();
    match members.rfind(|(key, _)| key.eq_ignore_ascii_case(name)) {
        Some((_, value)) => {
            let read: Option<T> = Deserialize::deserialize(value).ok()?;
            Some(read.unwrap_or_default())
        }
        None => Some(T::default()),
    }
}

fn port(address: &str) -> u16 {
    let port = address.rsplit_once(':').map(|(_, port)| port.parse());
    port.and_then(Result::ok).unwrap_or_default()
}
