//! Bodies as users see them: bytes and how they are encoded.

use bytes::Bytes;
use nano_wire::Encoding;
use serde::{Serialize, de::DeserializeOwned};

/// What a message or an answer carries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    /// How the bytes are encoded.
    pub encoding: Encoding,
    /// The encoded value.
    pub bytes: Bytes,
}

/// A body that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is no such JSON.
    #[error("the body is not the JSON that is expected: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no such bincode.
    #[error("the body is not the bincode that is expected: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// The value has no bincode form.
    #[error("the value cannot be encoded in bincode: {0}")]
    Encode(#[from] bincode::error::EncodeError),
    /// More bytes follow the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

/// Most memory in bytes that decoding one body may claim.
const DECODE_LIMIT: usize = 64 * 1024 * 1024;

impl Body {
    /// JSON text as it is.
    #[must_use]
    pub fn json(text: impl Into<Bytes>) -> Self {
        Self {
            encoding: Encoding::Json,
            bytes: text.into(),
        }
    }

    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// If the value has no form in the encoding, such as a map with keys that are no
    /// strings in JSON.
    pub fn encode<T: Serialize + ?Sized>(encoding: Encoding, value: &T) -> Result<Self, BodyError> {
        let bytes = match encoding {
            Encoding::Json => serde_json::to_vec(value)?,
            Encoding::Bincode => bincode::serde::encode_to_vec(value, bincode::config::standard())?,
        };
        Ok(Self {
            encoding,
            bytes: bytes.into(),
        })
    }

    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// If the bytes are not that value, and nothing but it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        match self.encoding {
            Encoding::Json => Ok(serde_json::from_slice(&self.bytes)?),
            Encoding::Bincode => {
                let config = bincode::config::standard().with_limit::<DECODE_LIMIT>();
                let (value, consumed) = bincode::serde::decode_from_slice(&self.bytes, config)?;
                match self.bytes.len() - consumed {
                    0 => Ok(value),
                    rest => Err(BodyError::Trailing(rest)),
                }
            }
        }
    }
}
