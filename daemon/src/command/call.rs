//! `nanod call`: sends one message and prints the answer.

use std::{process::ExitCode, time::Duration};

use nano_client::{Body, Certainty};

use super::{USAGE, fail, inquiry::ask};
use crate::cli::Call;

pub(super) fn run(call: Call) -> Result<ExitCode, ExitCode> {
    serde_json::from_str::<serde::de::IgnoredAny>(&call.json)
        .map_err(|error| fail(USAGE, format!("the message is no JSON: {error}")))?;
    let timeout = Duration::from_millis(call.timeout_ms);
    let options = call.at.options().map(|options| options.timeout(timeout));
    let answered = ask(options, async |client| {
        client.act_raw(&call.subject, Body::json(call.json)).await
    })?;
    match answered {
        Ok(answer) => {
            println!("{}", String::from_utf8_lossy(&answer.bytes));
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            if let Some(data) = &failure.data {
                println!("{}", String::from_utf8_lossy(&data.bytes));
            }
            Err(fail(exit_code(failure.certainty), failure))
        }
    }
}

fn exit_code(certainty: Certainty) -> u8 {
    match certainty {
        Certainty::NotSent | Certainty::Refused => 4,
        Certainty::MaybeExecuted => 5,
        Certainty::Executed => 6,
    }
}
