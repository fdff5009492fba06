//! `nanod register --check`: whether a pattern may be registered, by which rule, and beside whom.

use std::process::ExitCode;

use nano_client::{Checked, Registered};
use nano_routing::Pattern;
use nano_tls::short_name;
use serde_json::{Value, json};

use super::{
    USAGE, counted, fail,
    inquiry::{inquire, print},
    output::{Tone, field},
};
use crate::cli::RegisterArguments;

/// Exit code of a pattern that may not be registered.
const REFUSED: u8 = 1;

/// Characters of the words that a line begins with.
const NAMES: usize = 7;

pub(super) fn run(arguments: RegisterArguments) -> Result<ExitCode, ExitCode> {
    let pattern = arguments.check;
    Pattern::parse(&pattern)
        .map_err(|error| fail(USAGE, format!("the pattern is none: {error}")))?;
    let checked = inquire(arguments.at, async |client| {
        client.check_registration(&pattern).await
    })?;
    print(&arguments.form, || in_words(&checked), || in_json(&checked))?;
    Ok(match checked.is_allowed {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(REFUSED),
    })
}

fn in_words(checked: &Checked) -> String {
    let Checked {
        pattern, reason, ..
    } = checked;
    let identity = short_name(&checked.identity);
    let mut text = match checked.is_allowed {
        true => {
            let granted = format!("{identity} may register {pattern}: {reason}");
            field("yes", NAMES, Tone::Good.paint(granted))
        }
        false => field("no", NAMES, Tone::Bad.paint(reason)),
    };
    for other in &checked.others {
        let Registered {
            pattern,
            identity,
            instances,
        } = other;
        let (identity, count) = (short_name(identity), counted(*instances));
        let words = format!("{pattern}: {identity}, {count}");
        text += &field(relation(checked, other), NAMES, words);
    }
    if checked.more {
        text += "and more\n";
    }
    text
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
