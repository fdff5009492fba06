//! What a node says of itself, waited for.

use nano_client::{Client, RedisState, Status};

use crate::until;

/// Waits until a node says of itself what is wanted.
///
/// # Panics
///
/// If the node does not answer, or does not say so.
pub async fn until_status(client: &Client, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
    until(what, async || {
        let status = client.status().await.expect("the node says how it does");
        is_so(&status).then_some(status)
    })
    .await
}

/// Whether a node is in step with Redis.
#[must_use]
pub fn is_in_step(status: &Status) -> bool {
    status.redis.as_ref().is_some_and(RedisState::is_in_step)
}
