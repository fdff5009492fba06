//! What commands have in common that ask a node one thing: in comes where the node is and the
//! question, out goes its answer, in words or as JSON.

use std::process::ExitCode;

use nano_client::{CallError, Client, ConnectError, Options};
use serde::Serialize;

use super::{ASKED_IN_VAIN, NO_SESSION, USAGE, fail, output, runtime};
use crate::cli::{Form, NodeArguments};

/// Connects, asks, and closes the connection. How the program is to end where no session came to
/// be.
pub(super) fn ask<T>(
    options: nano_tls::Result<Options>,
    question: impl AsyncFnOnce(&Client) -> Result<T, CallError>,
) -> Result<Result<T, CallError>, ExitCode> {
    let options = options.map_err(|error| fail(USAGE, error))?;
    let runtime = runtime().map_err(|error| fail(NO_SESSION, error))?;
    let asked = runtime.block_on(async {
        let client = Client::connect(options).await?;
        let answer = question(&client).await;
        client.close().await;
        Ok(answer)
    });
    asked.map_err(|error: ConnectError| fail(NO_SESSION, error))
}

/// Asks the node what it knows. How the program is to end if it does not answer.
pub(super) fn inquire<T>(
    at: NodeArguments,
    question: impl AsyncFnOnce(&Client) -> Result<T, CallError>,
) -> Result<T, ExitCode> {
    ask(at.options(), question)?.map_err(|failure| fail(ASKED_IN_VAIN, failure))
}

/// Prints an answer in the form that was asked for. How the program is to end if it cannot be
/// written.
pub(super) fn print<T: Serialize>(
    form: &Form,
    words: impl FnOnce() -> String,
    json: impl FnOnce() -> T,
) -> Result<(), ExitCode> {
    let text = match form.json {
        true => {
            let value = serde_json::to_value(json());
            format!(
                "{:#}\n",
                value.expect("objects with names for keys are JSON")
            )
        }
        false => words(),
    };
    output::print(&text, form.colors.color, ASKED_IN_VAIN)
}
