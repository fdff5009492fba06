//! QUIC connections: let in at a bounded pace, then served as [sessions](crate::session).

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use nano_tls::Credentials;
use nano_wire::transport;
use quinn::{
    Connecting, Endpoint, EndpointConfig, Incoming, ServerConfig, crypto::rustls::QuicServerConfig,
};
use quinn_proto::HashedConnectionIdGenerator;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, yield_now},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    session::{self, SessionContext},
    state::RESET_KEY,
};

/// Handshakes in progress on one thread; further ones wait in quinn's queue.
const HANDSHAKES: usize = 512;

/// Handshakes in progress beyond which a client first has to prove its address.
const UNPROVEN_HANDSHAKES: usize = 64;

/// Age at which a handshake makes room for another one that waits. Who does not go on with
/// theirs would else keep everyone out; who does is done within a few round trips.
const CROWDED: Duration = Duration::from_millis(250);

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
/// If the credentials cannot be used.
pub fn server_config(credentials: &Arc<Credentials>) -> nano_tls::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(credentials.server_config()?)
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
    let accepting = async {
        let mut handshakes = Handshakes::new(Arc::clone(&context));
        loop {
            let place = handshakes.place().await;
            let Some(incoming) = endpoint.accept().await else {
                return;
            };
            if !context.sessions.has_room() {
                incoming.refuse();
            } else if handshakes.are_many() && !incoming.remote_address_validated() {
                // It fails only for an address that is validated.
                let _ = incoming.retry();
            } else {
                handshakes.begin(incoming, place);
                // The first half of its cryptography is done. Calls have the thread before
                // that of another one: a crowd would else keep them waiting.
                yield_now().await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
    }
}

/// Those in progress on one thread.
struct Handshakes {
    context: Arc<SessionContext>,
    places: Arc<Semaphore>,
    /// The oldest first; some may be over.
    running: VecDeque<Running>,
}

struct Running {
    begun: Instant,
    peer: SocketAddr,
    task: AbortHandle,
}

impl Handshakes {
    fn new(context: Arc<SessionContext>) -> Self {
        Self {
            context,
            places: Arc::new(Semaphore::new(HANDSHAKES)),
            running: VecDeque::new(),
        }
    }

    fn are_many(&self) -> bool {
        self.places.available_permits() < HANDSHAKES - UNPROVEN_HANDSHAKES
    }

    /// A place for one more: a free one, else that of the oldest once it is [`CROWDED`].
    async fn place(&mut self) -> OwnedSemaphorePermit {
        loop {
            let free = Arc::clone(&self.places).acquire_owned();
            let oldest = self.running.front();
            let place = match oldest.map(|oldest| oldest.begun + CROWDED) {
                Some(crowded) => timeout_at(crowded, free).await.ok(),
                None => Some(free.await),
            };
            match place {
                Some(place) => return place.expect("the semaphore is never closed"),
                None => {
                    self.give_up_oldest();
                    // Its task gives its place back before another one has to.
                    yield_now().await;
                }
            }
        }
    }

    fn give_up_oldest(&mut self) {
        if let Some(Running { peer, task, .. }) = self.running.pop_front()
            && !task.is_finished()
        {
            task.abort();
            let strangers = &self.context.strangers;
            strangers.tell(peer, "handshake given up", &"it takes long and others wait");
        }
    }

    fn begin(&mut self, incoming: Incoming, place: OwnedSemaphorePermit) {
        let peer = incoming.remote_address();
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => return self.context.strangers.tell(peer, "no handshake", &error),
        };
        let handshake = handshake(connecting, Arc::clone(&self.context), place);
        let task = self.context.tasks.spawn(handshake).abort_handle();
        self.running.retain(|running| !running.task.is_finished());
        let begun = Instant::now();
        self.running.push_back(Running { begun, peer, task });
    }
}

/// Waits for the end of a handshake, and has the connection served.
async fn handshake(
    connecting: Connecting,
    context: Arc<SessionContext>,
    _place: OwnedSemaphorePermit,
) {
    let peer = connecting.remote_address();
    match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => {
            let tasks = context.tasks.clone();
            // Not here: no other handshake may end it any more.
            tasks.spawn(session::serve(connection, context));
        }
        Ok(Err(error)) => context.strangers.tell(peer, "handshake failed", &error),
        Err(late) => context.strangers.tell(peer, "handshake failed", &late),
    }
}
