//! Clients that call instances without a node, waited for.

use nano_client::Client;
use serde_json::{Value, json};

use crate::until;

/// Waits until a client has connections of its own with so many instances of a subject.
pub async fn warm(client: &Client, subject: &str, instances: usize) {
    until("connections without the node", async || {
        // Calls have instances dialled, whatever becomes of them.
        let name = json!({"Do": "name"});
        let _ = client.act::<_, Value>(subject, &name).await;
        let own = client.explain(subject).await.ok()?.own?;
        let connected = own.listed.iter().filter(|known| known.is_connected);
        (connected.count() >= instances).then_some(())
    })
    .await;
}
