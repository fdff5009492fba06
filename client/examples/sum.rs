//! Answers `role:math,cmd:sum`: adds the terms that are positive, which it asks the service
//! of `role:math,cmd:positive`.

use nano_client::{Context, HandlerError, Options, Service};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Terms {
    left: i64,
    right: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<T> {
    result: T,
}

async fn sum(context: Context, terms: Terms) -> Result<Answer<i64>, HandlerError> {
    let mut result = 0_i64;
    for value in [terms.left, terms.right] {
        let message = json!({ "Value": value });
        let positive: Answer<bool> = context.act("role:math,cmd:positive", &message).await?;
        if positive.result {
            let sum = result.checked_add(value);
            result = sum.ok_or_else(|| HandlerError::new("the sum is too large"))?;
        }
    }
    Ok(Answer { result })
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let service = Service::builder().on("role:math,cmd:sum", sum);
    Ok(service.start(Options::from_env()?).await?.run().await?)
}

#[tokio::main]
async fn main() {
    if let Err(error) = serve().await {
        eprintln!("sum: {error}");
        std::process::exit(1);
    }
}
