//! `nanod register --check`: whether a pattern may be registered, by which rule, and beside whom.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use nano_client::{CallError, Checked, Client, ConnectError, Options, Registered};
use nano_routing::Pattern;
use nano_tls::short_name;
use serde_json::{Value, json};

use super::{ASKED_IN_VAIN, NO_SESSION, USAGE, fail, runtime};
use crate::cli::RegisterArguments;

/// Exit code of a pattern that may not be registered.
const REFUSED: u8 = 1;

pub(super) fn run(arguments: RegisterArguments) -> ExitCode {
    if let Err(error) = Pattern::parse(&arguments.check) {
        return fail(USAGE, format!("the pattern is none: {error}"));
    }
    let options = match arguments.at.options() {
        Ok(options) => options,
        Err(error) => return fail(USAGE, error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NO_SESSION, error),
    };
    let checked = match runtime.block_on(ask(options, &arguments.check)) {
        Ok(Ok(checked)) => checked,
        Ok(Err(failure)) => return fail(ASKED_IN_VAIN, failure),
        Err(error) => return fail(NO_SESSION, error),
    };
    let text = match arguments.json {
        true => format!("{:#}\n", in_json(&checked)),
        false => in_words(&checked),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever read has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(ASKED_IN_VAIN, error),
        _ if checked.is_allowed => ExitCode::SUCCESS,
        _ => ExitCode::from(REFUSED),
    }
}

async fn ask(options: Options, pattern: &str) -> Result<Result<Checked, CallError>, ConnectError> {
    let client = Client::connect(options).await?;
    let checked = client.check_registration(pattern).await;
    client.close().await;
    Ok(checked)
}

fn in_words(checked: &Checked) -> String {
    let identity = short_name(&checked.identity);
    let mut lines = vec![match checked.is_allowed {
        true => format!(
            "yes      {identity} may register {}: {}",
            checked.pattern, checked.reason
        ),
        false => format!("no       {}", checked.reason),
    }];
    for other in &checked.others {
        let Registered {
            pattern,
            identity,
            instances,
        } = other;
        let noun = if *instances == 1 {
            "instance"
        } else {
            "instances"
        };
        lines.push(format!(
            "{:<8} {pattern}: {}, {instances} {noun}",
            relation(checked, other),
            short_name(identity)
        ));
    }
    if checked.more {
        lines.push("and more".to_owned());
    }
    lines.join("\n") + "\n"
}

/// How another's pattern stands to the one that was asked about.
fn relation(checked: &Checked, other: &Registered) -> &'static str {
    match other.pattern.len().cmp(&checked.pattern.len()) {
        std::cmp::Ordering::Less => "shorter",
        std::cmp::Ordering::Equal => "same",
        std::cmp::Ordering::Greater => "longer",
    }
}

fn in_json(checked: &Checked) -> Value {
    let others = checked.others.iter().map(|other| {
        json!({
            "pattern": other.pattern,
            "identity": other.identity,
            "instances": other.instances,
            "relation": relation(checked, other),
        })
    });
    json!({
        "pattern": checked.pattern,
        "identity": checked.identity,
        "allowed": checked.is_allowed,
        "reason": checked.reason,
        "others": others.collect::<Vec<_>>(),
        "more": checked.more,
    })
}
