//! `nanod config`: flags, variables and the file come in as for the daemon; out goes what is wrong
//! with them, or what they amount to. Nothing is started.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use nano_tls::{Bundle, SecretSource};
use serde_json::{Map, Value, json};

use super::{USAGE, fail};
use crate::{
    access,
    cli::ConfigCommand,
    config::{Config, Listed, Loaded, Origin, Shown},
    node::StartError,
};

pub(super) fn run(what: ConfigCommand, flags: &BTreeMap<&'static str, String>) -> ExitCode {
    let loaded = match Loaded::load(flags) {
        Ok(loaded) => loaded,
        Err(errors) => return fail(USAGE, errors),
    };
    let text = match what {
        ConfigCommand::Check => match mistakes(&loaded.config) {
            mistakes if mistakes.is_empty() => "nothing is wrong\n".to_owned(),
            mistakes => return fail(USAGE, mistakes.join("\nnanod: ")),
        },
        ConfigCommand::Print { json: true } => format!("{:#}\n", in_json(&loaded.list())),
        ConfigCommand::Print { json: false } => loaded.list().iter().map(line).collect(),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever read has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(USAGE, error),
        _ => ExitCode::SUCCESS,
    }
}

/// What would keep a node with these settings from starting, as far as files tell.
fn mistakes(config: &Config) -> Vec<String> {
    let mut mistakes: Vec<String> = access::mistakes(config)
        .iter()
        .map(ToString::to_string)
        .collect();
    let secret = config.cluster_secret.as_ref().map(SecretSource::load);
    let secret = secret.and_then(Result::err);
    mistakes.extend(secret.map(|error| error.to_string()));
    let bundle = config.tls.as_deref().map(Bundle::load);
    let bundle = bundle.and_then(Result::err);
    mistakes.extend(bundle.map(|error| error.to_string()));
    if let Some(url) = &config.redis {
        let access = config.redis_files.load(url).err();
        mistakes.extend(access.map(|error| error.to_string()));
        if config.cluster_secret.is_none() {
            mistakes.push(StartError::NoSecret.to_string());
        }
        if config.advertise.is_none() && config.quic.ip().is_unspecified() {
            mistakes.push(StartError::Nowhere(config.quic).to_string());
        }
    }
    mistakes
}

/// A line of a TOML file.
fn line(listed: &Listed) -> String {
    let key = listed.key;
    let setting = match &listed.value {
        Shown::Number(number) => format!("{key} = {number}"),
        Shown::Text(text) => format!("{key} = {}", toml::Value::from(&**text)),
        Shown::Unset(_) => format!("#{key}"),
        Shown::Hidden => format!("#{key}, which is not shown"),
    };
    let from = match (&listed.origin, &listed.value) {
        (Some(origin), _) => origin.to_string(),
        (None, Shown::Unset(words)) => format!("default: {words}"),
        (None, _) => "default".to_owned(),
    };
    format!("{setting:<36} # {from}\n")
}

fn in_json(list: &[Listed]) -> Value {
    let settings = list.iter().map(|listed| {
        let value = match &listed.value {
            Shown::Number(number) => json!(number),
            Shown::Text(text) => json!(text),
            Shown::Unset(_) | Shown::Hidden => Value::Null,
        };
        let mut setting = match &listed.origin {
            None => json!({"from": "default"}),
            Some(Origin::Flag(name)) => json!({"from": "flag", "name": format!("--{name}")}),
            Some(Origin::Variable(name)) => json!({"from": "variable", "name": name}),
            Some(Origin::File { path, line, column }) => {
                json!({"from": "file", "file": path, "line": line, "column": column})
            }
        };
        setting["value"] = value;
        (listed.key.to_owned(), setting)
    });
    Value::Object(settings.collect::<Map<_, _>>())
}
