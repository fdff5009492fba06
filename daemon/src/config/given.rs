//! What one layer holds for a setting: its value as it was written, and where it stands. Settings
//! read it; errors and listings show it.

use std::path::PathBuf;

use super::{Error, Origin};

/// A value that was given for a setting.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What a layer holds for a key.
#[derive(Clone)]
pub(super) enum Value {
    /// Text, as flags, variables and TOML strings are.
    Text(String),
    /// A TOML integer, in decimal.
    Integer(String),
    /// What no setting accepts, as an error shows it.
    Unusable(String),
}

impl Given {
    /// The value as the path that `key` asks for.
    pub(super) fn into_path(self, key: &'static str) -> Result<(PathBuf, Origin), Error> {
        match &self.value {
            Value::Text(text) if not_blank(text).is_some() => Ok((text.into(), self.origin)),
            _ => Err(self.refused(key, A_PATH.to_owned())),
        }
    }

    /// As [`refused`](Self::refused), of a value that may hold a password.
    pub(super) fn hidden(self, key: &'static str, expected: String) -> Error {
        let value = Value::Unusable("the value (not shown)".to_owned());
        Self { value, ..self }.refused(key, expected)
    }

    pub(super) fn refused(self, key: &'static str, expected: String) -> Error {
        let value = match self.value {
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(shown) | Value::Unusable(shown) => shown,
        };
        Error::Invalid {
            key,
            value,
            origin: self.origin,
            expected,
        }
    }
}

/// The text, if it is more than blanks.
pub(super) fn not_blank(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}

/// What a path has to be, in words.
pub(super) const A_PATH: &str = "a path";
