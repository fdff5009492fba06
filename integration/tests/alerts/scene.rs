//! The nodes that things are done to, and the Prometheus that scrapes them all.

use std::{
    collections::BTreeSet,
    fs, mem,
    path::Path,
    time::{Duration, SystemTime},
};

use nano_client::{Client, Options, Secret};
use nano_integration::{
    Alert, Load, Node, NodeBuilder, Prometheus, Redis, ServiceProcess, UdpProxy, until,
};
use nano_tls::{Authority, TRUST_DOMAIN};
use parking_lot::Mutex;
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, SerialNumber};
use redis::cmd;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::given;

/// What the nodes that share Redis know.
const SECRET: &str = "what-every-party-of-the-test-knows";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longer than the test: what is lost stays known, and what is to stop does not.
const LONG_MS: u32 = 600_000;

/// All that there is.
pub(crate) struct Scene {
    /// What scrapes all nodes.
    pub(crate) prometheus: Prometheus,
    /// A node to which nothing is done.
    well: Node,
    /// One that is killed.
    pub(crate) fragile: Mutex<Option<Node>>,
    /// One that is told to stop.
    pub(crate) leaving: Node,
    /// One whose calls fail in every way, and which remembers for long who was lost.
    pub(crate) busy: Node,
    /// One with a disk of its own that takes 10 calls at a time.
    pub(crate) cramped: Node,
    /// One that nobody else's clients come to, and which has few descriptors.
    pub(crate) refusing: Node,
    /// One that holds large bodies.
    pub(crate) large: Node,
    /// One with a slow disk.
    pub(crate) slow: Node,
    /// One that gets no processor.
    pub(crate) starved: Node,
    /// One with a certificate for an hour, and the lossy way to it.
    pub(crate) lossy: (Node, UdpProxy),
    /// Where two nodes meet.
    pub(crate) redis: Redis,
    /// These.
    pub(crate) pair: [Node; 2],
    /// One that finds another authority's routes where its own were.
    foreign: Node,
    /// One with certificates that were issued by hand and are old.
    handmade: (Node, TempDir),
    _at_well: (ServiceProcess, Load),
    fired: Mutex<BTreeSet<String>>,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        let redis = Redis::start().await;
        let patient = || Node::builder().flag("--grace-ms", LONG_MS);
        let (well, fragile, leaving, busy, cramped, refusing) = tokio::join!(
            // So that it is not one to be renewed by hand, as which seconds instead of a day show it.
            Node::builder()
                .flag("--certificate-lifetime-s", 30 * DAY.as_secs())
                .start(),
            Node::start(),
            Node::builder().flag("--drain-ms", LONG_MS).start(),
            patient().start(),
            Node::builder()
                .disk(8 << 20)
                .flag("--max-calls", 10)
                .start(),
            Node::start(),
        );
        let hourly = Node::builder().flag("--certificate-lifetime-s", 3_600);
        let late = Duration::from_millis(500);
        let (large, slow, starved, lossy, first, way) = tokio::join!(
            Node::start(),
            Node::builder().slow_disk(late).start(),
            Node::builder().threads(1).start(),
            hourly.start(),
            of_cluster("one", &redis).start(),
            UdpProxy::start(),
        );
        way.lead_to(lossy.quic);
        let (second, foreign, handmade) = tokio::join!(
            of_cluster("two", &redis).start(),
            foreign(&redis),
            handmade(),
        );
        let nodes = [
            ("well", &well),
            ("fragile", &fragile),
            ("leaving", &leaving),
            ("busy", &busy),
            ("cramped", &cramped),
            ("refusing", &refusing),
            ("large", &large),
            ("slow", &slow),
            ("starved", &starved),
            ("lossy", &lossy),
            ("one", &first),
            ("two", &second),
            ("foreign", &foreign),
            ("handmade", &handmade.0),
        ];
        let targets = nodes.map(|(name, node)| (name, node.admin.unwrap()));
        let prometheus = Prometheus::start(&given::quick_rules(), &targets).await;
        let at_well = (
            well.service("well").pattern("well:1").start().await,
            Load::of_processes(&through(&well).await, "well:1", 1),
        );
        Self {
            prometheus,
            well,
            fragile: Mutex::new(Some(fragile)),
            leaving,
            busy,
            cramped,
            refusing,
            large,
            slow,
            starved,
            lossy: (lossy, way),
            redis,
            pair: [first, second],
            foreign,
            handmade,
            _at_well: at_well,
            fired: Mutex::default(),
        }
    }

    /// Waits until each node was scraped.
    pub(crate) async fn is_scraped(&self) {
        self.shows("sum(up) == 14").await;
    }

    /// Waits until an expression gives something.
    pub(crate) async fn shows(&self, expression: &str) {
        until(expression, async || {
            let samples = self.prometheus.query(expression).await.unwrap();
            (!samples.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until an alert fires with a label.
    pub(crate) async fn fires(&self, name: &str, label: &str, value: &str) {
        let alert = until(&format!("{name} to fire at {value}"), async || {
            let mut alerts = self.prometheus.alerts().await.into_iter();
            alerts.find(|it| it.is_firing() && it.has("alertname", name) && it.has(label, value))
        })
        .await;
        for (text, words) in alert.annotations {
            let is_whole = !words.contains("error expanding") && !words.contains("<no value>");
            assert!(is_whole, "{name}: {text} says {words}");
        }
        eprintln!("{name} fires at {value}");
        self.fired.lock().insert(name.to_owned());
    }

    /// Waits until no alert is about a node or its pattern: a machine that is busy may have had one
    /// pending, or fire for a moment, where it would have to last for minutes.
    pub(crate) async fn is_well(&self, instance: &str, pattern: &str) {
        until(&format!("{instance} to be well"), async || {
            let alerts = self.prometheus.alerts().await;
            let is_about = |it: &Alert| it.has("instance", instance) || it.has("pattern", pattern);
            let about = alerts.into_iter().filter(is_about).collect::<Vec<_>>();
            if !about.is_empty() {
                eprintln!("not well: {about:?}");
            }
            about.is_empty().then_some(())
        })
        .await;
    }

    /// The names of all samples of all nodes that are up.
    pub(crate) async fn metrics(&self) -> BTreeSet<String> {
        let samples = self.prometheus.query("{job=\"nanod\"}").await.unwrap();
        let names = samples
            .into_iter()
            .filter_map(|mut it| it.metric.remove("__name__"));
        names.collect()
    }

    /// Ends all nodes: which alerts have fired since the beginning.
    pub(crate) async fn all_go_down(&self) -> BTreeSet<String> {
        let nodes = [
            &self.well,
            &self.leaving,
            &self.busy,
            &self.cramped,
            &self.refusing,
            &self.large,
            &self.slow,
            &self.starved,
            &self.lossy.0,
            &self.pair[0],
            &self.foreign,
            &self.handmade.0,
        ];
        for node in nodes {
            node.process.signal(Signal::KILL);
        }
        self.fires("NanodAllDown", "job", "nanod").await;
        mem::take(&mut self.fired.lock())
    }

    /// How a party of the cluster reaches one of its nodes.
    pub(crate) fn options_of_cluster(&self, node: usize) -> Options {
        Options::default()
            .node(self.pair[node].quic)
            .cluster_secret(Secret::new(SECRET).unwrap())
    }
}

/// A client of which all calls go through the node.
pub(crate) async fn through(node: &Node) -> Client {
    Client::connect(node.options().direct(false)).await.unwrap()
}

fn of_cluster(name: &str, redis: &Redis) -> NodeBuilder {
    Node::builder()
        .variable("NANO_CLUSTER_SECRET", SECRET)
        .flag("--name", name)
        .flag("--redis", redis.url())
        .flag("--grace-ms", LONG_MS)
}

/// A node whose part of Redis becomes another authority's.
async fn foreign(redis: &Redis) -> Node {
    let node = of_cluster("foreign", redis).flag("--redis-namespace", "foreign");
    let node = node.start().await;
    let mut set = cmd("SET");
    set.arg("{nano:foreign}:authority")
        .arg([7_u8; 32].as_slice());
    redis.ask::<()>(&set).await;
    node
}

/// A node with a certificate and a list of revoked ones that end in three days.
async fn handmade() -> (Node, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    let own = folder.path().join("node");
    let authority = Authority::create(TRUST_DOMAIN).unwrap();
    authority.write(&ca).unwrap();
    let name = "node/handmade".parse().unwrap();
    let bundle = authority.issue(&name, 3 * DAY).unwrap();
    bundle.write(&own).unwrap();
    fs::write(own.join("crl.pem"), revocations(&ca)).unwrap();
    let node: NodeBuilder = Node::builder().flag("--tls", own.display());
    (node.start().await, folder)
}

/// What an authority signs that means its lists to be renewed; `nanod tls revoke` does not.
fn revocations(ca: &Path) -> String {
    let read = |name: &str| fs::read_to_string(ca.join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let now = SystemTime::now();
    let list = CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + 3 * DAY).into(),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}
