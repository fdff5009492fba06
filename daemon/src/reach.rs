//! Whether an instance can be called without a node: in comes where it says that it listens,
//! out goes that address once a connection that was made there has led to that very instance.
//!
//! The connection is made by a socket that the instance has sent nothing to, as its callers
//! will: a firewall lets answers in that it would not let a stranger's first datagram.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use nano_tls::{Credentials, Expect, Identity};
use nano_wire::{
    InstanceId, control,
    message::{Control, Dial, Hello, Limits, OLDEST_VERSION, VERSION},
    socket::Dialer,
    transport::{self, Close},
};
use quinn::{ClientConfig, Connection, crypto::rustls::QuicClientConfig};
use tokio::{
    net::lookup_host,
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Longest wait for an instance to answer where it says that it listens.
const ANSWER: Duration = Duration::from_secs(2);

/// Pause after the first attempt in vain; doubled up to [`LONGEST`]. A name or a firewall's rule may
/// come later than the instance.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);

/// Attempts that are under way at a time; a crowd of instances waits its turn.
const ATTEMPTS: usize = 256;

/// What instances are dialled with.
pub struct Reach {
    credentials: Arc<Credentials>,
    own: InstanceId,
    limits: Limits,
    dialer: Dialer,
    attempts: Semaphore,
}

/// Who is dialled, and where.
pub struct Listening {
    /// What its certificate says.
    pub identity: Identity,
    /// Which process it is.
    pub instance: InstanceId,
    /// Where its datagrams come from.
    pub seen: SocketAddr,
    /// Where it wants to be called instead.
    pub advertised: Option<String>,
}

impl Reach {
    /// As the node that greets as `own`.
    pub fn new(credentials: Arc<Credentials>, own: InstanceId, limits: Limits) -> Self {
        Self {
            credentials,
            own,
            limits,
            dialer: Dialer::default(),
            attempts: Semaphore::new(ATTEMPTS),
        }
    }

    /// Where an instance can be called, once it can be.
    pub async fn confirm(&self, listening: &Listening) -> String {
        let address = match &listening.advertised {
            Some(address) => address.clone(),
            None => canonical(listening.seen).to_string(),
        };
        let mut pause = FIRST;
        loop {
            let attempt = async {
                let _turn = self.attempts.acquire().await;
                timeout(ANSWER, self.dial(listening, &address)).await
            };
            let instance = listening.instance;
            match attempt.await {
                Ok(Ok(found)) => return published(address, found),
                Ok(Err(reason)) => tracing::debug!(%instance, address, reason, "not reached"),
                Err(_) => tracing::debug!(%instance, address, "not reached: no answer"),
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = LONGEST.min(2 * pause);
        }
    }

    async fn dial(&self, listening: &Listening, address: &str) -> Result<SocketAddr, String> {
        let config = self.config(&listening.identity)?;
        let (connection, target) = self.connect(config, listening, address).await?;
        let (mut sender, mut receiver) = control::open(&connection).await.map_err(text)?;
        let dial = Control::Dial(Dial {
            instance: listening.instance,
            hello: Hello {
                version: VERSION,
                oldest: OLDEST_VERSION,
                instance: self.own,
                limits: self.limits,
                agent: concat!("nanod/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
        });
        sender.send(0, &dial).await.map_err(text)?;
        let answer = receiver.recv().await.map_err(text)?;
        Close::Done.close(&connection, "it was only asked whether it can be called");
        match answer {
            (_, Control::Welcome(welcome)) if welcome.instance == listening.instance => Ok(target),
            _ => Err("another instance answers".to_owned()),
        }
    }

    /// Connects to the first of a name's addresses that answers and may be dialled.
    async fn connect(
        &self,
        config: ClientConfig,
        listening: &Listening,
        address: &str,
    ) -> Result<(Connection, SocketAddr), String> {
        let mut last = "its name has no address".to_owned();
        for found in lookup_host(address).await.map_err(text)? {
            let target = canonical(found);
            let attempt = async {
                may_be_dialled(canonical(listening.seen).ip(), target.ip())?;
                let connecting = self.dialer.connect(config.clone(), target);
                connecting.map_err(text)?.await.map_err(text)
            };
            match attempt.await {
                Ok(connection) => return Ok((connection, target)),
                Err(reason) => last = reason,
            }
        }
        Err(last)
    }

    fn config(&self, identity: &Identity) -> Result<ClientConfig, String> {
        let expect = Expect::Identity(identity.clone());
        let tls = self.credentials.client_config(expect).map_err(text)?;
        let crypto = QuicClientConfig::try_from(tls).map_err(text)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport::config());
        Ok(config)
    }
}

/// A peer on another machine has no business with what only this one can reach.
fn may_be_dialled(peer: IpAddr, target: IpAddr) -> Result<(), &'static str> {
    let is_special = target.is_loopback() || target.is_unspecified() || target.is_multicast();
    match is_special && !(peer.is_loopback() && target.is_loopback()) {
        true => Err("it is on another machine than that address"),
        false => Ok(()),
    }
}

/// A name is published as it is, since it may move; but not one of this machine.
fn published(address: String, found: SocketAddr) -> String {
    match address.parse::<SocketAddr>().is_ok() || found.ip().is_loopback() {
        true => found.to_string(),
        false => address,
    }
}

/// IPv4 in its own form, also where the socket is one of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
