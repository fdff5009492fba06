//! Handshakes that begin and never end, from a socket each.

use std::sync::Arc;

use nano_integration::{HalfOpen, Then, half_open};
use tokio::time::Instant;

use super::{Attack, at_pace, handshakes, score::Score};
use crate::Result;

pub(super) async fn flood(
    attack: &Attack,
    score: &Arc<Score>,
    end: Instant,
    then: Then,
) -> Result<()> {
    let config = handshakes::bare(attack)?;
    at_pace(score, end, || {
        let handshake = half_open(attack.quic, config.clone(), then);
        async move {
            match handshake.await {
                Ok(HalfOpen::Unasked) => "left open",
                Ok(HalfOpen::Unanswered) => "not answered",
                Ok(HalfOpen::Answered) => "answered, left open",
                Ok(HalfOpen::Proven) => "address proven, left open",
                Err(_) => "not sent",
            }
        }
    })
    .await;
    Ok(())
}
