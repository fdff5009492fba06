//! Several nodes that keep their routes through one Redis, and the ways between all of
//! them, to be cut.

use std::{collections::BTreeSet, net::SocketAddr};

use nano_client::{Client, Options, Secret, Service, ServiceBuilder};
use nano_tls::{Expect, Kind};
use nano_wire::transport;
use tokio::process::Command;

use crate::{Node, NodeBuilder, Peer, Redis, TcpProxy, UdpProxy, Way};

/// What every party of a test knows.
const SECRET: &str = "what-every-party-of-the-test-knows";

/// Nodes of one cluster.
pub struct Cluster {
    /// Where they meet.
    pub redis: Redis,
    /// The nodes.
    pub nodes: Vec<Node>,
    ways: Vec<Ways>,
    /// Pairs of nodes that do not hear each other.
    apart: BTreeSet<(usize, usize)>,
}

/// How a node reaches Redis, and how others reach the node.
struct Ways {
    redis: TcpProxy,
    quic: UdpProxy,
}

impl Cluster {
    /// So many nodes.
    pub async fn start(nodes: usize) -> Self {
        let mut cluster = Self {
            redis: Redis::start().await,
            nodes: Vec::new(),
            ways: Vec::new(),
            apart: BTreeSet::new(),
        };
        for _ in 0..nodes {
            cluster.join().await;
        }
        cluster
    }

    /// So many nodes, each set up further by what it is given.
    pub async fn start_with(
        nodes: usize,
        further: impl Fn(usize, NodeBuilder) -> NodeBuilder,
    ) -> Self {
        let mut cluster = Self::start(0).await;
        for number in 0..nodes {
            cluster.join_as(|node| further(number, node)).await;
        }
        cluster
    }

    /// So many nodes that reach Redis and each other by ways that can be cut.
    pub async fn apart(nodes: usize) -> Self {
        let mut cluster = Self::start(0).await;
        for _ in 0..nodes {
            cluster.add().await;
        }
        cluster
    }

    /// One more node of those without such ways.
    pub async fn join(&mut self) {
        self.join_as(|node| node).await;
    }

    /// As [`join`](Self::join), set up further.
    pub async fn join_as(&mut self, further: impl FnOnce(NodeBuilder) -> NodeBuilder) {
        let node = Self::node(self.nodes.len()).flag("--redis", self.redis.url());
        self.nodes.push(further(node).start().await);
    }

    /// One more node, with ways that can be cut.
    pub async fn add(&mut self) {
        self.add_node(Self::node(self.nodes.len())).await;
    }

    /// One more on a copy of another's state.
    pub async fn add_copy_of(&mut self, node: usize) {
        let copy = Self::node(self.nodes.len()).copy_of(&self.nodes[node]);
        self.add_node(copy).await;
    }

    async fn add_node(&mut self, node: NodeBuilder) {
        let ways = Ways {
            redis: TcpProxy::start(self.redis.address()).await,
            quic: UdpProxy::start().await,
        };
        let node = node
            .flag("--redis", format!("redis://{}", ways.redis.address()))
            .flag("--advertise", ways.quic.address())
            .start()
            .await;
        ways.quic.lead_to(node.quic);
        self.nodes.push(node);
        self.ways.push(ways);
    }

    /// Starts a node again on its state and addresses, once it is gone.
    pub async fn start_again(&mut self, node: usize) {
        let gone = self.nodes.remove(node);
        self.nodes.insert(node, gone.start_again().await);
        self.keep_apart();
    }

    /// Cuts a node off from Redis, or no longer.
    pub fn cut_from_redis(&self, node: usize, way: Way) {
        self.ways[node].redis.set(way);
    }

    /// Cuts two nodes off from each other, or no longer.
    pub fn cut_from_node(&mut self, one: usize, other: usize, is_cut: bool) {
        let pair = (one.min(other), one.max(other));
        if is_cut {
            self.apart.insert(pair);
        } else {
            self.apart.remove(&pair);
        }
        self.keep_apart();
    }

    /// Cuts a node off from Redis, from other nodes and from who came
    /// [through](Self::through) its way; or no longer.
    pub fn cut_from_all(&mut self, node: usize, is_cut: bool) {
        self.cut_from_redis(node, if is_cut { Way::Silent } else { Way::Open });
        self.ways[node].quic.cut(is_cut);
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.cut_from_node(node, other, is_cut);
        }
    }

    /// Cuts a node off from who comes [through](Self::through) its way, other nodes among
    /// them, or no longer.
    pub fn cut_way(&self, node: usize, is_cut: bool) {
        self.ways[node].quic.cut(is_cut);
    }

    /// How to reach one node.
    #[must_use]
    pub fn at(&self, node: usize) -> Options {
        self.any_of(&[node])
    }

    /// How to reach any of some nodes.
    #[must_use]
    pub fn any_of(&self, nodes: &[usize]) -> Options {
        options(nodes.iter().map(|node| self.nodes[*node].quic))
    }

    /// How to reach any of some nodes as other nodes do, and as long as those.
    #[must_use]
    pub fn through(&self, nodes: &[usize]) -> Options {
        options(nodes.iter().map(|node| self.ways[*node].quic.address()))
    }

    /// Where a node says that it is found.
    #[must_use]
    pub fn advertised(&self, node: usize) -> SocketAddr {
        self.ways[node].quic.address()
    }

    /// Starts a service [through](Self::through) the way of one node that will know others
    /// too, by whose ways nobody comes meanwhile.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start_service(
        &self,
        service: ServiceBuilder,
        home: usize,
        others: &[usize],
    ) -> Service {
        let cut = |is_cut| others.iter().for_each(|it| self.ways[*it].quic.cut(is_cut));
        let options = self.through(&[&[home], others].concat());
        cut(true);
        let started = service.start(options).await;
        cut(false);
        started.expect("a service of the cluster's own secret registers")
    }

    /// A service process that will connect to one node.
    #[must_use]
    pub fn service(&self, node: usize, name: &str) -> crate::ServiceBuilder {
        self.nodes[node].service(name).secret(SECRET)
    }

    /// A peer of one node that shows a name of the test's choice.
    ///
    /// # Panics
    ///
    /// If the node does not let it in.
    pub async fn peer(&self, node: usize, name: &str) -> Peer {
        let secret = Secret::new(SECRET).expect("it is long enough");
        let name = name.parse().expect("a name");
        let bundle = secret
            .bundle(&name, nano_tls::OWN_LIFETIME)
            .expect("who has the secret is let in");
        let tls = bundle.client_config(Expect::Kind(Kind::Node));
        let tls = tls.expect("TLS can be configured");
        let dialled = Peer::dial(&self.nodes[node], tls, transport::config()).await;
        dialled.expect("a party of the cluster's own secret is let in")
    }

    /// A command of the program, told where a node is.
    #[must_use]
    pub fn nanod(&self, node: usize, arguments: &[&str]) -> Command {
        let mut command = crate::nanod();
        command.args(arguments);
        command.args(["--node", &self.nodes[node].quic.to_string()]);
        command.env("NANO_CLUSTER_SECRET", SECRET);
        command
    }

    /// A client of one node.
    ///
    /// # Panics
    ///
    /// If it cannot connect.
    pub async fn client(&self, node: usize) -> Client {
        let connected = Client::connect(self.at(node)).await;
        connected.expect("a client of the cluster's own secret connects")
    }

    /// A client of each node.
    pub async fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for node in 0..self.nodes.len() {
            clients.push(self.client(node).await);
        }
        clients
    }

    fn node(number: usize) -> NodeBuilder {
        Node::builder()
            .flag("--name", format!("n{number}"))
            .flag("--grace-ms", 2_000)
            .variable("NANO_CLUSTER_SECRET", SECRET)
    }

    /// Has each way hold up those that are not to come by it.
    fn keep_apart(&self) {
        for (node, ways) in self.ways.iter().enumerate() {
            let others =
                self.apart
                    .iter()
                    .filter_map(|(one, other)| match (node == *one, node == *other) {
                        (true, _) => Some(*other),
                        (_, true) => Some(*one),
                        _ => None,
                    });
            ways.quic
                .cut_from(others.map(|other| self.nodes[other].process.pid()));
        }
    }
}

fn options(addresses: impl IntoIterator<Item = SocketAddr>) -> Options {
    let secret = Secret::new(SECRET).expect("it is long enough");
    Options::default()
        .nodes(addresses)
        .state("/nonexistent")
        .cluster_secret(secret)
        // What nodes do is seen by calls that go through them.
        .direct(false)
}
