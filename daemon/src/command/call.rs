//! `nanod call`: sends one message and prints the answer.

use std::{process::ExitCode, time::Duration};

use nano_client::{Body, CallError, Certainty, Client, ConnectError, Options};

use super::{NO_SESSION, USAGE, fail, runtime};
use crate::cli::Call;

pub(super) fn run(call: Call) -> ExitCode {
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&call.json) {
        return fail(USAGE, format!("the message is no JSON: {error}"));
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(NO_SESSION, error),
    };
    let options = match call.at.options() {
        Ok(options) => options.timeout(Duration::from_millis(call.timeout_ms)),
        Err(error) => return fail(USAGE, error),
    };
    match runtime.block_on(send(options, &call.subject, call.json)) {
        Ok(Ok(answer)) => {
            println!("{}", String::from_utf8_lossy(&answer.bytes));
            ExitCode::SUCCESS
        }
        Ok(Err(failure)) => {
            if let Some(data) = &failure.data {
                println!("{}", String::from_utf8_lossy(&data.bytes));
            }
            fail(exit_code(failure.certainty), failure)
        }
        Err(error) => fail(NO_SESSION, error),
    }
}

async fn send(
    options: Options,
    subject: &str,
    json: String,
) -> Result<Result<Body, CallError>, ConnectError> {
    let client = Client::connect(options).await?;
    let answer = client.act_raw(subject, Body::json(json)).await;
    client.close().await;
    Ok(answer)
}

fn exit_code(certainty: Certainty) -> u8 {
    match certainty {
        Certainty::NotSent | Certainty::Refused => 4,
        Certainty::MaybeExecuted => 5,
        Certainty::Executed => 6,
    }
}
