//! What go-nano reads of JSON and writes: names in any letter case, and a refusal of values
//! that have another type.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

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

    fn read(object: &Map<String, Value>) -> Option<Self> {
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
        let service: Map<_, _> = field(&object, "Service").ok_or_else(text)?;
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

/// A JSON object; `null` is an empty one.
fn object(body: &[u8]) -> Option<Map<String, Value>> {
    let object: Option<Map<_, _>> = serde_json::from_slice(body).ok()?;
    Some(object.unwrap_or_default())
}

/// A field's value, or that of its type if it is missing; `None` if it has another type.
fn field<T: Default + for<'de> Deserialize<'de>>(
    object: &Map<String, Value>,
    name: &str,
) -> Option<T> {
    let is_it = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
    match object.iter().rfind(is_it) {
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
