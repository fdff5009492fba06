//! Ends that speak by a lane of their own, with no node between them: the floor of what
//! calls over QUIC cost.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nano_integration::any_address;
use nano_tls::{Bundle, Expect, Kind, client_dir, node_dir};
use nano_wire::{
    CallHeader, Encoding, Extensions, Failure, Hop, ReplyHeader,
    lane::{Answer, Handler, InBody, IncomingCall, Link, LinkConfig, OutBody},
    message::{HOPS, Limits},
    socket,
    transport::{self, Close},
};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::task::TaskTracker;

use super::{End, say_ready};
use crate::{
    Result,
    load::{Body, Caller},
};

const LIMITS: Limits = Limits {
    max_in_flight: 65_536,
    max_body: 1024 * 1024,
};

/// The deadline of calls; none comes near it.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn serve(end: &End) -> Result<()> {
    let tls = Bundle::load(&node_dir(end.trust()?))?.server_config()?;
    let tls = QuicServerConfig::try_from(tls)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(transport::config());
    let endpoint = bind(Some(config))?;
    say_ready(endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        link(incoming.await?, Hop::Instance);
    }
    Ok(())
}

pub(super) async fn connect(end: &End) -> Result<RawCaller> {
    let bundle = Bundle::load(&client_dir(end.trust()?))?;
    let tls = QuicClientConfig::try_from(bundle.client_config(Expect::Kind(Kind::Node))?)?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(transport::config());
    let endpoint = bind(None)?;
    let address: SocketAddr = end.at.parse()?;
    let connection = endpoint.connect_with(config, address, "nano")?.await?;
    Ok(RawCaller {
        link: link(connection, Hop::Caller),
        endpoint,
    })
}

fn bind(config: Option<ServerConfig>) -> Result<Endpoint> {
    let socket = socket::bind_udp(any_address(), false)?.socket;
    Ok(socket::endpoint(EndpointConfig::default(), config, socket)?)
}

fn link(connection: Connection, hop: Hop) -> Arc<Link<Echo>> {
    let config = LinkConfig {
        own: LIMITS,
        peer: LIMITS,
        as_caller: hop,
        as_callee: hop,
        tasks: TaskTracker::new(),
    };
    Link::start(connection, config, Echo)
}

/// Who waits for an answer.
struct Waiter {
    sent: Body,
    caller: oneshot::Sender<std::result::Result<bool, Failure>>,
}

/// Answers calls at once with what they carry.
struct Echo;

impl Handler for Echo {
    type Waiter = Waiter;
    type Job = ();

    fn on_call(&self, link: &Arc<Link<Self>>, call: IncomingCall<'_>) {
        link.reply(call.id, ReplyHeader::default(), call.body.into());
    }

    fn on_answer(&self, waiter: Self::Waiter, answer: Answer<'_>) {
        let result = match answer {
            Answer::Reply(_, InBody::Inline(body)) => Ok(body == waiter.sent),
            Answer::Reply(_, InBody::Streamed(_)) => Ok(false),
            Answer::Failed(failure) => Err(failure),
        };
        // A caller that is gone needs no answer.
        let _ = waiter.caller.send(result);
    }

    fn on_cancel(&self, (): ()) {}
}

#[derive(Clone)]
pub(super) struct RawCaller {
    link: Arc<Link<Echo>>,
    endpoint: Endpoint,
}

impl Caller for RawCaller {
    async fn call(&self, sent: Body) -> Result<bool> {
        let (caller, answer) = oneshot::channel();
        let (body, waiter) = (OutBody::Slice(sent), Waiter { sent, caller });
        let sent = self.link.call(header(), body, Instant::now(), waiter);
        sent.map_err(|refused| format!("the lane took no call: {:?}", refused.reason))?;
        Ok(answer.await??)
    }

    async fn close(self) {
        self.link.close(Close::Done, "");
        self.endpoint.wait_idle().await;
    }
}

fn header() -> CallHeader<'static> {
    CallHeader {
        subject: "bench:echo",
        remaining_us: DEADLINE.as_micros() as u64,
        trace: None,
        hops: HOPS,
        encoding: Encoding::Bincode,
        flags: 0,
        streamed: None,
        extensions: Extensions::default(),
    }
}
