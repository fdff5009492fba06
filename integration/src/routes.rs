//! What the nodes of a cluster route, found out as anybody would: by calling.

use std::time::{Duration, Instant};

use nano_client::{CallError, Client, Code, Service, ServiceBuilder};
use serde_json::{Value, json};

use crate::until;

/// A service of one pattern that answers with its name.
pub fn named(pattern: &str, name: impl Into<String>) -> ServiceBuilder {
    let name: String = name.into();
    Service::builder().on(pattern, move |_, _: Value| {
        let answer = json!({ "Name": name });
        async move { Ok(answer) }
    })
}

/// The name of the service that answers.
///
/// # Errors
///
/// If none does.
pub async fn ask(client: &Client, subject: &str) -> Result<String, CallError> {
    let answer: Value = client.act(subject, &json!({"Do": "name"})).await?;
    Ok(answer["Name"].as_str().unwrap_or_default().to_owned())
}

/// Waits until every client is answered by this service, or by nobody.
pub async fn all_hear(clients: &[Client], subject: &str, name: Option<&str>) {
    settled(clients, &[(subject, name)]).await;
}

/// Waits until every client finds what a table says, subject by subject: a service's name,
/// or that there is no route. How long that took.
pub async fn settled(clients: &[Client], table: &[(&str, Option<&str>)]) -> Duration {
    let since = Instant::now();
    for client in clients {
        for (subject, name) in table {
            until(&format!("{subject} to be {name:?}"), async || {
                let heard = ask(client, subject).await;
                match name {
                    Some(name) => (heard.ok()? == *name).then_some(()),
                    None => (heard.err()?.code == Code::NoRoute).then_some(()),
                }
            })
            .await;
        }
    }
    since.elapsed()
}
