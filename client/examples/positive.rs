//! Answers `role:math,cmd:positive`: whether a value is above zero.

use nano_client::{Context, HandlerError, Options, Service};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Number {
    value: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    result: bool,
}

async fn positive(_: Context, number: Number) -> Result<Answer, HandlerError> {
    Ok(Answer {
        result: number.value > 0,
    })
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let service = Service::builder().on("role:math,cmd:positive", positive);
    Ok(service.start(Options::from_env()?).await?.run().await?)
}

#[tokio::main]
async fn main() {
    if let Err(error) = serve().await {
        eprintln!("positive: {error}");
        std::process::exit(1);
    }
}
