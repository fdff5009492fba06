//! What the tests share: nodes and services as processes of their own, started, hurt and
//! stopped as an operator or an accident would.
//!
//! Every process listens on a free port of 127.0.0.1, keeps its state in a temporary
//! folder, and ends with the test that started it.

mod authority;
mod booted;
mod browser;
mod cluster;
mod collector;
mod container;
mod demo;
mod dns;
mod drawing;
mod failing;
pub mod go_nano;
mod half_open;
mod hosts;
mod http;
mod load;
mod metrics;
mod namespaces;
mod node;
mod noted;
mod notices;
pub mod peer;
mod process;
mod prometheus;
mod redis;
mod redis_cluster;
mod redis_server;
mod registrar;
mod routes;
mod rules_file;
mod sentinels;
mod service;
mod status;
mod tcp_proxy;
mod terminal;
mod udp_proxy;
mod viewer;
mod wait;
mod warm;

pub use authority::Authority;
pub use booted::Booted;
pub use browser::{Browser, axe, keys};
pub use cluster::Cluster;
pub use collector::Collector;
pub use container::{Container, Engine, Run, Stages};
pub use demo::Demo;
pub use dns::Dns;
pub use drawing::drawing;
pub use failing::Failing;
pub use half_open::{HalfOpen, Then, half_open};
pub use hosts::Hosts;
pub use http::{Http, Response};
pub use load::Load;
pub use metrics::Scrape;
pub use namespaces::{NEAR, Namespaces};
pub use node::{Node, NodeBuilder, example, nanod};
pub use noted::{NotedCall, Notes, all_note};
pub use notices::Notices;
pub use peer::Peer;
pub use process::Process;
pub use prometheus::{Alert, Prometheus, Rule, Sample, promtool};
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use redis_server::{
    RedisCertificates, RedisServer, RedisServerBuilder, free_port, write_private,
};
pub use registrar::{Registered, Registrar};
pub use routes::{SOON, Table, all_hear, all_list, ask, named, settled, table};
pub use rules_file::RulesFile;
pub use sentinels::Sentinels;
pub use service::{ServiceBuilder, ServiceProcess};
pub use status::{is_in_step, until_status};
pub use tcp_proxy::{TcpProxy, Way};
pub use terminal::{Left, Terminal};
pub use udp_proxy::UdpProxy;
pub use viewer::{Event, Viewer};
pub use wait::{PATIENCE, until};
pub use warm::warm;

use std::net::SocketAddr;

/// Any free port of loopback.
pub const ANY: &str = "127.0.0.1:0";

/// An address of loopback with any free port.
#[must_use]
pub fn any_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
