//! Those who do not belong, and those who do not keep to the protocol.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use nano_client::{Client, Service};
use nano_integration::{HalfOpen, Node, Then, any_address, half_open};
use nano_tls::{Authority, LEAF_LIFETIME};
use nano_wire::{frame::PREFIX, transport::Close};
use quinn::{ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

/// Longest handshake that a node waits for.
const HANDSHAKE: Duration = Duration::from_secs(5);

fn bundle(folder: &Path, name: &str) {
    let authority = Authority::create(nano_tls::TRUST_DOMAIN).unwrap();
    let bundle = authority
        .issue(&name.parse().unwrap(), LEAF_LIFETIME)
        .unwrap();
    bundle.write(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_opens_nothing() {
    let node = Node::start().await;
    let folder = tempfile::tempdir().unwrap();
    bundle(&folder.path().join("client"), "client/stranger");
    bundle(&folder.path().join("service"), "service/stranger");
    let options = node.options().tls(folder.path().join("client"));
    let error = Client::connect(options).await.err().unwrap();
    assert!(error.to_string().contains("certificate"), "{error}");
    let options = node.options().tls(folder.path().join("service"));
    let builder = Service::builder().on("a:1", |_, _: Value| async { Ok(()) });
    assert!(builder.start(options).await.is_err());
    assert_eq!(
        node.http().post(&json!({"Pattern": "a:1"})).await.status,
        404
    );
}

/// How a stranger connects who takes any server's certificate and shows one or none.
fn config(node: &Node, bundle: Option<&Path>) -> quinn::ClientConfig {
    let own = nano_tls::Bundle::load(bundle.unwrap_or(&node.state().join("tls/client"))).unwrap();
    let mut tls = own
        .client_config(nano_tls::Expect::Kind(nano_tls::Kind::Node))
        .unwrap();
    if bundle.is_none() {
        tls.client_auth_cert_resolver = Arc::new(NoCertificate);
    }
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

async fn connect(node: &Node, bundle: Option<&Path>) -> Result<quinn::Connection, ConnectionError> {
    let config = config(node, bundle);
    let endpoint = Endpoint::client(any_address()).unwrap();
    let connecting = endpoint.connect_with(config, node.quic, "nanod").unwrap();
    let connection = connecting.await?;
    // With TLS 1.3 the client's side of a handshake ends before the server's refusal comes.
    match connection.open_bi().await {
        Ok((mut send, mut recv)) => {
            let _ = send.write_all(&[1, 0]).await;
            match recv.read_to_end(PREFIX).await {
                Ok(_) => Ok(connection),
                Err(_) => Err(connection.closed().await),
            }
        }
        Err(error) => Err(error),
    }
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_the_handshake_fails() {
    let node = Node::start().await;
    let error = connect(&node, None).await.unwrap_err();
    assert!(error.to_string().contains("no certificates"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_greet_is_sent_away() {
    let node = Node::start().await;
    let client = node.state().join("tls/client");
    // Two bytes and no more are no hello: the node waits for the rest, and not for ever.
    let error = connect(&node, Some(&client)).await.unwrap_err();
    let ConnectionError::ApplicationClosed(close) = &error else {
        panic!("{error}");
    };
    assert_eq!(close.error_code, Close::Refused.code(), "{error}");
    let still = node.client().await;
    assert!(still.act::<_, Value>("a:1", &json!({})).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_stall_keep_nobody_out() {
    // More than a data thread has in progress.
    const STALLED: usize = 700;
    let node = Node::builder().threads(1).start().await;
    let config = config(&node, None);
    let stall = |_| half_open(node.quic, config.clone(), Then::Proof);
    let stalled = stream::iter(0..STALLED).map(stall).buffer_unordered(32);
    let begun = Instant::now();
    let met: Vec<_> = stalled.map(Result::unwrap).collect().await;
    assert!(
        met.contains(&HalfOpen::Proven),
        "the node asked for no proof"
    );
    let client = node.client().await;
    assert!(client.act::<_, Value>("a:1", &json!({})).await.is_err());
    let elapsed = begun.elapsed();
    assert!(
        elapsed < HANDSHAKE,
        "they were let in after {elapsed:?}, as handshakes ended"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_connections_may_take_all_descriptors_that_the_system_grants() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let few = Rlimit {
        current: Some(256),
        maximum,
    };
    // Of this test's own process, and of the node that it starts.
    setrlimit(Resource::Nofile, few).unwrap();
    let node = Node::start().await;
    let limits = format!("/proc/{}/limits", node.process.pid());
    let limits = std::fs::read_to_string(limits).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.unwrap().split_whitespace().skip(3);
    assert_eq!(words.next(), words.next(), "soft and hard limit: {line:?}");
}
