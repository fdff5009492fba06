//! What the nodes of a cluster route, found out as anybody would: by calling, and by asking
//! for their tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nano_client::{CallError, Client, Code, InstanceId, RouteState, Service, ServiceBuilder};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::until;

/// How long nodes may take to list what is registered, once Redis answers again.
pub const SOON: Duration = Duration::from_secs(5);

/// Routes, each a pattern and the instance that serves it.
pub type Table = BTreeSet<(String, InstanceId)>;

/// The table of services of one pattern each.
pub fn table<'a>(services: impl IntoIterator<Item = (&'a str, &'a Service)>) -> Table {
    let services = services.into_iter();
    let routes = services.map(|(pattern, service)| (pattern.to_owned(), service.instance()));
    routes.collect()
}

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

/// Waits until every client's node lists these routes and no others, and can call all of them.
/// How long after `since` that was.
///
/// # Panics
///
/// If one lists anything else so long after `since`.
pub async fn all_list(
    clients: &[Client],
    table: &Table,
    since: Instant,
    limit: Duration,
) -> Duration {
    let wanted = table.iter().cloned();
    let wanted: Listed = wanted.map(|route| (route, RouteState::Ready)).collect();
    for (node, client) in clients.iter().enumerate() {
        loop {
            let listed = list(client).await;
            if listed.as_ref() == Ok(&wanted) {
                break;
            }
            assert!(
                since.elapsed() < limit,
                "after {limit:?} node {node} lists {listed:#?} and not {wanted:#?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }
    since.elapsed()
}

type Listed = BTreeMap<(String, InstanceId), RouteState>;

async fn list(client: &Client) -> Result<Listed, CallError> {
    let mut routes = client.routes(None)?;
    let mut listed = Listed::new();
    while let Some(page) = routes.next_page().await? {
        let page = page.into_iter();
        listed.extend(page.map(|route| ((route.pattern, route.instance), route.state)));
    }
    Ok(listed)
}
