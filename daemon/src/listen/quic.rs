//! QUIC connections: let in at a bounded pace, then served as [sessions](crate::session).

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use nano_tls::Bundle;
use nano_wire::transport;
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, crypto::rustls::QuicServerConfig};
use quinn_proto::HashedConnectionIdGenerator;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    session::{self, SessionContext},
    state::RESET_KEY,
};

/// Handshakes in progress on one thread; further ones wait in quinn's queue.
const HANDSHAKES: usize = 128;

/// Handshakes in progress beyond which a client first has to prove its address.
const UNPROVEN_HANDSHAKES: usize = HANDSHAKES / 2;

/// Connections that wait to be accepted, and bytes kept of each and of all.
const MAX_INCOMING: usize = 1024;
const INCOMING_BUFFER: u64 = 16 * 1024;
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;

/// Pause between two such notices; each is smaller than the datagram that it answers.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The QUIC settings of the accepting side.
///
/// # Errors
///
/// If the bundle cannot be used.
pub fn server_config(bundle: &Bundle) -> nano_tls::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(bundle.server_config()?)
        .map_err(|error| nano_tls::Error::Config(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport::config())
        // The kernel chooses a thread by the peer's address.
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFERS);
    Ok(config)
}

/// What the endpoints of all threads share: the key by which they tell peers that a
/// connection of the node's earlier life is gone. It has to be known by its id, so the key
/// of the ids outlives the process as well.
#[must_use]
pub fn endpoint_config(reset_key: &[u8; RESET_KEY]) -> EndpointConfig {
    let (id_key, _) = reset_key
        .split_first_chunk()
        .expect("a reset key is longer than eight bytes");
    let id_key = u64::from_le_bytes(*id_key);
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset_key)));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)))
        .min_reset_interval(RESET_INTERVAL);
    config
}

/// Accepts connections until `stop`.
pub async fn accept(endpoint: Endpoint, context: Arc<SessionContext>, stop: CancellationToken) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            permit = Arc::clone(&handshakes).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let incoming = tokio::select! {
            () = stop.cancelled() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let is_busy = handshakes.available_permits() < HANDSHAKES - UNPROVEN_HANDSHAKES;
        if !context.sessions.has_room() {
            incoming.refuse();
        } else if is_busy && !incoming.remote_address_validated() {
            // It fails only for an address that is validated.
            let _ = incoming.retry();
        } else {
            let task = handshake(incoming, Arc::clone(&context), permit);
            context.tasks.spawn(task);
        }
    }
}

async fn handshake(incoming: Incoming, context: Arc<SessionContext>, permit: OwnedSemaphorePermit) {
    let peer = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return tracing::info!(%peer, %error, "no handshake"),
    };
    let connection = match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::info!(%peer, %error, "the handshake failed"),
        Err(_) => return tracing::info!(%peer, "the handshake took too long"),
    };
    session::serve(connection, context, permit).await;
}
