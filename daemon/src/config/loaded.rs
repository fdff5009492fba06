//! A configuration together with what it was made of: what each layer held comes in, and where each
//! value is from, and in what two configurations differ, goes out.

use std::fmt;

use nano_tls::{SECRET_VARIABLE, SecretSource};

use crate::access::{TOKENS_VARIABLE, TokenSource};
use crate::cluster::RedisUrl;

use super::given::{Given, Value};
use super::setting::{STATE, Setting};
use super::{Config, Origin, SETTINGS};

/// A configuration, and for each of [`SETTINGS`] what it was given.
#[derive(Clone)]
pub struct Loaded {
    /// What follows from all of it.
    pub config: Config,
    /// What would, if nothing were given.
    pub(super) defaults: Config,
    /// In the order of the settings.
    pub(super) given: Vec<Option<Given>>,
}

/// A setting as a listing shows it.
pub struct Listed {
    /// Its key.
    pub key: &'static str,
    /// What holds.
    pub value: Shown,
    /// Where that is from; none for the default.
    pub origin: Option<Origin>,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Shown::Number(value) => write!(f, "{} = {value}", self.key)?,
            Shown::Text(value) => write!(f, "{} = {value}", self.key)?,
            Shown::Unset(words) => write!(f, "{}: {words}", self.key)?,
            Shown::Hidden => write!(f, "{}: not shown", self.key)?,
        }
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None => f.write_str(" (default)"),
        }
    }
}

/// A value that may be seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// An integer.
    Number(u64),
    /// Anything else.
    Text(String),
    /// There is none, and in words what holds without.
    Unset(&'static str),
    /// It is a secret.
    Hidden,
}

impl Loaded {
    /// Every setting, in their order, and then secrets that only the environment can hold, if it does.
    pub fn list(&self) -> Vec<Listed> {
        let settings = SETTINGS.iter().zip(&self.given);
        let settings = settings.map(|(setting, given)| Listed {
            key: setting.key,
            value: match given {
                Some(given) => shown(setting, given),
                None => self.default_of(setting),
            },
            origin: given.as_ref().map(|given| given.origin.clone()),
        });
        let secret = match self.config.cluster_secret {
            Some(SecretSource::Given(_)) => Some(hidden("cluster_secret", SECRET_VARIABLE)),
            Some(SecretSource::File(_)) | None => None,
        };
        let tokens = match self.config.tokens {
            Some(TokenSource::Given(_)) => Some(hidden("tokens", TOKENS_VARIABLE)),
            Some(TokenSource::File(_)) | None => None,
        };
        settings.chain(secret).chain(tokens).collect()
    }

    /// The settings that have another effect in `new` than here, and what they are there.
    pub fn changes(&self, new: &Loaded) -> Vec<(&'static Setting, Listed)> {
        let settings = SETTINGS.iter().zip(new.list()).enumerate();
        settings
            .filter(|(index, _)| self.alone(*index) != new.alone(*index))
            .map(|(_, change)| change)
            .collect()
    }

    /// Has a setting be what it is in `new`.
    pub fn take(&mut self, setting: &Setting, new: &Loaded) {
        let held = SETTINGS.iter().zip(&mut self.given).zip(&new.given);
        for ((_, own), new) in held.filter(|((other, _), _)| other.key == setting.key) {
            own.clone_from(new);
        }
    }

    /// The configuration if only one setting were given.
    fn alone(&self, index: usize) -> Config {
        let mut config = self.defaults.clone();
        if let Some(given) = &self.given[index] {
            // A setting that was accepted once is accepted again.
            let _ = SETTINGS[index].apply(given, &mut config);
        }
        config
    }

    fn default_of(&self, setting: &Setting) -> Shown {
        let given = Given {
            value: Value::Text(setting.default.to_owned()),
            origin: Origin::Flag(setting.key.to_owned()),
        };
        let mut config = self.defaults.clone();
        if setting.apply(&given, &mut config).is_ok() && config == self.defaults {
            return shown(setting, &given);
        }
        // Defaults that depend on the machine, or on other settings.
        match setting.key {
            STATE => Shown::Text(self.config.state.display().to_string()),
            "threads" => Shown::Number(self.config.threads as u64),
            "max_bytes" => Shown::Number(self.config.max_bytes()),
            _ => Shown::Unset(setting.default),
        }
    }
}

fn hidden(key: &'static str, variable: &str) -> Listed {
    Listed {
        key,
        value: Shown::Hidden,
        origin: Some(Origin::Variable(variable.to_owned())),
    }
}

fn shown(setting: &Setting, given: &Given) -> Shown {
    let (Value::Text(text) | Value::Integer(text) | Value::Unusable(text)) = &given.value;
    match text.parse::<u64>() {
        Ok(number) if setting.is_number() => Shown::Number(number),
        _ if setting.is_secret() => Shown::Text(RedisUrl::masked(text)),
        _ => Shown::Text(text.clone()),
    }
}
