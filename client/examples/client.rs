//! Sends a message to each of the other examples, and one to a subject that has no route.

use nano_client::{Client, Options};
use serde_json::{Value, json};

async fn call_each() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(Options::from_env()?).await?;
    let calls = [
        ("role:math,cmd:positive", json!({ "Value": 1 })),
        ("role:math,cmd:sum", json!({ "Left": 1, "Right": 2 })),
        (
            "role:math,cmd:sum,return:zero",
            json!({ "Left": 1, "Right": 2 }),
        ),
        ("role:math,cmd:summary", json!({})),
    ];
    for (subject, message) in calls {
        match client.act::<_, Value>(subject, &message).await {
            Ok(answer) => println!("{subject} {message} -> {answer}"),
            // Says code, certainty and message; each is a field of its own, too.
            Err(error) => println!("{subject} {message} -> {error}"),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() {
    if let Err(error) = call_each().await {
        eprintln!("client: {error}");
        std::process::exit(1);
    }
}
