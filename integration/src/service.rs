//! A service as a process: the test's own `test-service`, which does what messages say.

use std::{net::SocketAddr, path::PathBuf};

use rustix::process::Signal;
use tokio::process::Command;

use crate::{Node, Process, node::built, until};

/// How a service is to be started.
pub struct ServiceBuilder {
    node: String,
    state: PathBuf,
    tls: Option<PathBuf>,
    name: String,
    patterns: Vec<String>,
    flags: Vec<String>,
}

/// A running service.
pub struct ServiceProcess {
    /// Its process.
    pub process: Process,
    /// Its instance id, as failures name it.
    pub instance: String,
}

impl ServiceBuilder {
    pub(crate) fn new(node: &Node, name: &str) -> Self {
        Self {
            node: node.quic.to_string(),
            state: node.state(),
            tls: node
                .authority()
                .map(|authority| authority.folder("service")),
            name: name.to_owned(),
            patterns: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// One more pattern that it serves.
    #[must_use]
    pub fn pattern(mut self, pattern: &str) -> Self {
        self.patterns.push(pattern.to_owned());
        self
    }

    /// Most calls at a time, as it declares.
    #[must_use]
    pub fn max_concurrent(mut self, calls: u32) -> Self {
        self.flags.push(format!("--max-concurrent={calls}"));
        self
    }

    /// Declares that a call may be given to it twice.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.flags.push("--idempotent".to_owned());
        self
    }

    /// Lets nobody call it but its node.
    #[must_use]
    pub fn through_node(mut self) -> Self {
        self.flags.push("--through-node".to_owned());
        self
    }

    /// Tells callers to find it at this address.
    #[must_use]
    pub fn advertise(mut self, address: SocketAddr) -> Self {
        self.flags.push(format!("--advertise={address}"));
        self
    }

    /// Reaches its node at another address.
    #[must_use]
    pub fn by_way_of(mut self, address: SocketAddr) -> Self {
        self.node = address.to_string();
        self
    }

    /// The secret of the cluster that it belongs to.
    pub(crate) fn secret(mut self, secret: &str) -> Self {
        self.flags.push(format!("--secret={secret}"));
        self
    }

    /// The deadline of calls that name none, as it declares.
    #[must_use]
    pub fn deadline_ms(mut self, millis: u32) -> Self {
        self.flags.push(format!("--deadline-ms={millis}"));
        self
    }

    /// Has its handlers panic at each message but `count`.
    #[must_use]
    pub fn panics(mut self) -> Self {
        self.flags.push("--panics".to_owned());
        self
    }

    /// Other nodes that it may connect to as well.
    #[must_use]
    pub fn or_at(mut self, nodes: &[&Node]) -> Self {
        for node in nodes {
            self.node = format!("{},{}", self.node, node.quic);
        }
        self
    }

    /// Certificates to use in place of those that the node made.
    #[must_use]
    pub fn tls(mut self, folder: PathBuf) -> Self {
        self.tls = Some(folder);
        self
    }

    /// Starts it, and waits until its patterns are registered.
    ///
    /// # Panics
    ///
    /// If it does not come to serve.
    pub async fn start(self) -> ServiceProcess {
        let mut command = Command::new(built("test-service"));
        command
            .args(["--node", &self.node, "--name", &self.name])
            .arg("--state")
            .arg(&self.state);
        if let Some(tls) = &self.tls {
            command.arg("--tls").arg(tls);
        }
        for pattern in &self.patterns {
            command.args(["--pattern", pattern]);
        }
        command.args(&self.flags);
        let mut process = Process::start(&mut command);
        let line = process
            .line()
            .await
            .expect("the service says that it is ready");
        let instance = line
            .strip_prefix("ready ")
            .expect("ready, and its instance");
        ServiceProcess {
            instance: instance.to_owned(),
            process,
        }
    }
}

impl ServiceProcess {
    /// Where it takes its callers.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let port = self.process.udp_ports().pop();
        let port = port.expect("a service that can be called has a socket");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Stops it where it is, sockets open and silent, as a machine that hangs.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Stops it, and waits until each of its threads has.
    pub async fn frozen(&self) {
        self.freeze();
        until("its threads to stop", async || {
            self.process.has_stopped().then_some(())
        })
        .await;
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }
}
