//! Answers `role:math,cmd:sum,return:zero`. It is more specific than `role:math,cmd:sum`,
//! so it gets what both match.

use nano_client::{Context, HandlerError, Options, Service};
use serde_json::{Value, json};

async fn zero(_: Context, _: Value) -> Result<Value, HandlerError> {
    Ok(json!({ "Result": 0 }))
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let service = Service::builder().on("role:math,cmd:sum,return:zero", zero);
    Ok(service.start(Options::from_env()?).await?.run().await?)
}

#[tokio::main]
async fn main() {
    if let Err(error) = serve().await {
        eprintln!("zero: {error}");
        std::process::exit(1);
    }
}
