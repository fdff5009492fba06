//! What those can do who do not belong, or who belong and turn against others: the lines of
//! SECURITY.md that no other test tries.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use nano_client::{Client, Code, ConnectError};
use nano_integration::{
    Authority, Http, NEAR, Namespaces, Node, Peer, RulesFile, ask, named, nanod, until,
};
use nano_tls::{Authority as Issuer, Bundle, Expect, Kind, LEAF_LIFETIME, TRUST_DOMAIN};
use nano_wire::{
    InstanceId, control,
    message::{Control, Dial, Policy, Register},
    transport::{self, Close},
};
use quinn::{Endpoint, ServerConfig, crypto::rustls::QuicServerConfig};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

/// Ports that are tried at a time.
const AT_A_TIME: usize = 512;

#[tokio::test(flavor = "multi_thread")]
async fn from_another_machine_nothing_can_be_done_without_a_credential() {
    let Some(networks) = Namespaces::new() else {
        return;
    };
    let networks = Arc::new(networks);
    let tokens = RulesFile::new("client/shop 0123456789abcdef\n");
    let lead = Arc::clone(&networks);
    let node = Node::builder()
        .http(&networks.near_address())
        .quic(&networks.near_address())
        .flag("--tokens-file", tokens.path().display())
        .within(move |command| lead.near(command))
        .start()
        .await;
    let call = async || {
        let mut call = nanod();
        call.args(["call", "bench:echo", "{\"A\":1}"]);
        call.args(["--node", &node.quic.to_string(), "--state"]);
        call.arg(node.state());
        let output = networks.near(&call).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut serve = nanod();
    serve.args(["bench", "serve", "--node", &node.quic.to_string()]);
    serve.arg("--state").arg(node.state());
    let mut serve = networks.near(&serve);
    let _service = serve.kill_on_drop(true).spawn().unwrap();
    until("the service to answer", async || {
        call().await.contains("\"A\":1").then_some(())
    })
    .await;

    let (quic, http) = (node.quic, node.http);
    networks
        .from_far(async move || {
            assert_eq!(open_ports().await, [http.port()]);
            over_http(http).await;
            over_quic(quic).await;
        })
        .await;
    // It goes on as if nothing had been.
    assert!(call().await.contains("\"A\":1"));
    assert!(!node.process.said().contains("stopping"));
}

/// The TCP ports that somebody listens on.
async fn open_ports() -> Vec<u16> {
    let open = |port: u16| async move {
        let address = SocketAddr::new(IpAddr::from(NEAR), port);
        let connected = timeout(Duration::from_secs(10), TcpStream::connect(address)).await;
        matches!(connected, Ok(Ok(_))).then_some(port)
    };
    let tried = stream::iter(1..=u16::MAX).map(open);
    tried
        .buffer_unordered(AT_A_TIME)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn over_http(address: SocketAddr) {
    let http = Http::at(address);
    let message = json!({"Pattern": "bench:echo"});
    let register = json!({"Pattern": "bench:echo", "ServiceAddress": "198.18.0.2:1"}).to_string();
    for headers in [
        "",
        "Accept: */*\r\n",
        "Authorization: Bearer 0123456789abcdee\r\n",
        "Authorization: Basic YTph\r\n",
    ] {
        let response = http.post_with(&message, headers).await;
        assert_eq!(response.status, 401, "{headers}");
        let length = register.len();
        let request = format!(
            "POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{register}"
        );
        let status = http.send(request).await.status;
        assert!((400..404).contains(&status), "{status}");
    }
    for path in [
        "/",
        "/status",
        "/routes",
        "/metrics",
        "/stop",
        "/shutdown",
        "/reload",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            assert_eq!(http.send(request).await.status, 405, "{method} {path}");
        }
    }
    // So it was the token that was missing.
    let headers = "Authorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(http.post_with(&message, headers).await.status, 200);
}

async fn over_quic(address: SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::create(TRUST_DOMAIN).unwrap();
    for name in ["client/shop", "service/thief", "node/local"] {
        let bundle = issuer.issue(&name.parse().unwrap(), LEAF_LIFETIME).unwrap();
        bundle.write(folder.path()).unwrap();
        // It does not ask who the node is: it knows no better.
        let options = nano_client::Options::default()
            .node(address)
            .tls(folder.path());
        assert!(Client::connect(options.clone()).await.is_err(), "{name}");
        let service = named("bench:echo", "thief").start(options).await;
        assert!(service.is_err(), "{name}");
    }
}

/// Each shape that two readers of one stream may take for requests of different lengths.
const SHAPES: [&str; 11] = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    " Transfer-Encoding: chunked\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n",
    "Content-Length: +4\r\n",
    "Content-Length: 4, 5\r\n",
    "Content-Length: 4\r\nContent-Length: 0\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_smuggled_in_another() {
    let node = Node::start().await;
    let _service = named("a:1", "one").start(node.options()).await.unwrap();
    let body = r#"{"Pattern":"a:1"}"#;
    let length = body.len();
    let hidden =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    for shape in SHAPES {
        let request = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{shape}\r\n0\r\n\r\n{hidden}");
        let response = node.http().throw(request).await;
        let text = response.map(|response| {
            (
                response.status,
                String::from_utf8_lossy(&response.body).into_owned(),
            )
        });
        let (status, rest) = text.unwrap_or_default();
        assert_eq!(status, 400, "{shape:?}");
        assert!(
            !rest.contains("HTTP/1.1"),
            "{shape:?} is answered twice: {rest}"
        );
    }
    assert_eq!(
        node.http().post(&json!({"Pattern": "a:1"})).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_writes_is_its_owners_alone_and_it_leaves_no_core() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let mut files = vec![node.state()];
    while let Some(file) = files.pop() {
        let metadata = fs::symlink_metadata(&file).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        let is_public = file.extension().is_some_and(|end| end == "pem") && !is_key(&file);
        let allowed = if is_public { 0o644 } else { 0o700 };
        assert_eq!(mode & !allowed, 0, "{} has mode {mode:o}", file.display());
        if metadata.is_dir() {
            let entries = fs::read_dir(file).unwrap();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.process.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    let words: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(words, ["0", "0"], "{core}");
}

fn is_key(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    name.contains("key")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_that_others_can_write_to_is_refused() {
    let mut node = Node::start().await;
    let state = node.state();
    node.process.kill().await;
    let again = node.again();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    let (status, said) = again.refused().await;
    assert!(!status.success());
    assert!(
        said.contains("can be written by others (mode 777)"),
        "{said}"
    );
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let _node = again.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_others_can_read_are_refused() {
    let tokens = RulesFile::new("client/shop 0123456789abcdef\n");
    fs::set_permissions(tokens.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let node = Node::builder().flag("--tokens-file", tokens.path().display());
    let (status, said) = node.refused().await;
    assert!(!status.success() && said.contains("644"), "{said}");
    assert!(!said.contains("0123456789abcdef"), "{said}");
}

const OWNED: &str = "[[own]]\nprefix = \"a:1\"\nidentity = \"service/victim\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_compromised_service_registers_for_nobody_else() {
    let rules = RulesFile::new(OWNED);
    let authority = Authority::new();
    let node = Node::builder()
        .authority(&authority)
        .flag("--rules", rules.path().display());
    let node = node.start().await;
    let victim = named("a:1", "victim");
    let victim = victim
        .start(node.options_of("service/victim"))
        .await
        .unwrap();
    for pattern in ["a:1", "a:1,b:1"] {
        let stolen = named(pattern, "thief")
            .start(node.options_of("service/thief"))
            .await;
        let Some(ConnectError::Registration { failure, .. }) = stolen.err() else {
            panic!("{pattern} was registered");
        };
        assert_eq!(failure.code, Code::Forbidden, "{failure}");
    }
    // As the victim's very instance.
    let tls = authority.tls("service/thief", Expect::Kind(Kind::Node));
    let peer = Peer::dial(&node, tls, transport::config()).await.unwrap();
    let (mut sender, mut receiver) = peer.greet_as(victim.instance()).await;
    for pattern in ["a:1", "free:1"] {
        let register = Control::Register(Register {
            pattern: pattern.to_owned(),
            incarnation: u64::MAX,
            policy: Policy::default(),
        });
        sender.send(7, &register).await.unwrap();
        let (id, answer) = receiver.recv().await.unwrap();
        let Control::Refused(failure) = answer else {
            panic!("{pattern}: {answer:?}");
        };
        assert_eq!((id, failure.code), (7, Code::Forbidden), "{failure}");
    }
    // Nor can it take the victim's pattern back, or have it taken for one that leaves.
    sender
        .send(8, &Control::Deregister("a:1".to_owned()))
        .await
        .unwrap();
    sender.send(9, &Control::Drain).await.unwrap();
    until("the node to have read it", async || {
        let (id, _) = receiver.recv().await.ok()?;
        (id == 9).then_some(())
    })
    .await;
    let client = Client::connect(node.options_of("client/shop").direct(false))
        .await
        .unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&client, "a:1,b:1").await.unwrap(), "victim");
    }
}

/// Somebody who listens where an instance did, with a certificate of its own.
struct Impostor {
    tried: Arc<AtomicUsize>,
    trusted: Arc<AtomicUsize>,
    _endpoint: Endpoint,
}

impl Impostor {
    fn listen(address: SocketAddr, certificates: PathBuf) -> Self {
        let tls = Bundle::load(&certificates)
            .unwrap()
            .server_config()
            .unwrap();
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = Endpoint::server(config, address).unwrap();
        let (tried, trusted) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let listening = (endpoint.clone(), Arc::clone(&tried), Arc::clone(&trusted));
        tokio::spawn(async move {
            let (endpoint, tried, trusted) = listening;
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else {
                    tried.fetch_add(1, Ordering::SeqCst);
                    continue;
                };
                // The caller's certificate comes with the handshake's last flight, if it trusts.
                if connection.accept_bi().await.is_ok() {
                    trusted.fetch_add(1, Ordering::SeqCst);
                }
                tried.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            tried,
            trusted,
            _endpoint: endpoint,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_an_instances_address_over_is_given_no_call() {
    for thief in ["service/thief", "node/thief"] {
        let authority = Authority::new();
        let node = Node::builder()
            .authority(&authority)
            .flag("--grace-ms", 600_000);
        let node = node.start().await;
        let victim = node
            .service("victim")
            .pattern("a:1")
            .tls(authority.named("service/victim"));
        let mut victim = victim.start().await;
        let client = Client::connect(node.options_of("client/shop"))
            .await
            .unwrap();
        let address = until("the instance's address", async || {
            ask(&client, "a:1").await.ok()?;
            let known = client.explain("a:1").await.ok()?.own?;
            known.listed.first()?.address.clone()
        })
        .await;
        victim.process.kill().await;
        let impostor = Impostor::listen(address.parse().unwrap(), authority.named(thief));
        // One that has no connection yet.
        let late = Client::connect(node.options_of("client/late"))
            .await
            .unwrap();
        let late = late.with_timeout(Duration::from_secs(1));
        until("a caller to come to the impostor", async || {
            assert!(ask(&late, "a:1").await.is_err());
            (impostor.tried.load(Ordering::SeqCst) > 0).then_some(())
        })
        .await;
        assert_eq!(impostor.trusted.load(Ordering::SeqCst), 0, "{thief}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_answers_for_itself_alone() {
    let authority = Authority::new();
    let node = Node::builder().authority(&authority).start().await;
    let one = named("a:1", "one")
        .start(node.options_of("service/one"))
        .await
        .unwrap();
    let client = Client::connect(node.options_of("client/shop"))
        .await
        .unwrap();
    let address = until("the instance's address", async || {
        ask(&client, "a:1").await.ok()?;
        let known = client.explain("a:1").await.ok()?.own?;
        known.listed.first()?.address.clone()
    })
    .await;
    let one_identity = nano_tls::Identity::parse_uri("spiffe://nano.local/service/one").unwrap();
    let tls = || authority.tls("client/shop", Expect::Identity(one_identity.clone()));
    let dial = async || {
        let address = address.parse().unwrap();
        Peer::dial_at(address, tls(), transport::config())
            .await
            .unwrap()
    };
    // Whoever means another instance does not come to a handler.
    let peer = dial().await;
    let (mut sender, _receiver) = control::open(&peer.connection).await.unwrap();
    let other = Control::Dial(Dial {
        instance: InstanceId::random(),
        hello: Peer::hello(),
    });
    sender.send(0, &other).await.unwrap();
    let (code, reason) = peer.closed().await;
    assert_eq!(code, Close::Refused as u64, "{reason}");
    assert_eq!(reason, "another instance was meant");
    // Nor does a subject that it does not serve.
    let peer = dial().await;
    let (_sender, _receiver, answer) = peer.dial_instance(one.instance()).await;
    assert!(matches!(answer, Control::Welcome(_)), "{answer:?}");
    let failure = peer.call("b:1", b"{}").await.unwrap();
    assert_eq!(failure.code, Code::NotOwner, "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_are_told_what_nodes_tell_each_other() {
    let node = Node::start().await;
    let peer = Peer::connect(&node).await;
    let (mut sender, mut receiver) = peer.greet().await;
    let ask = Control::AskSet(nano_wire::message::AskSet { held: None });
    sender.send(5, &ask).await.unwrap();
    let (id, answer) = receiver.recv().await.unwrap();
    let Control::Refused(failure) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((id, failure.code), (5, Code::Forbidden), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_listener_that_others_reach_a_token_is_needed_unless_told_otherwise() {
    let message = json!({"Pattern": "a:1"});
    for (callers, expected) in [("token", 401), ("anyone", 200)] {
        let node = Node::builder()
            .http("0.0.0.0:0")
            .flag("--http-callers", callers);
        let node = node.start().await;
        let _service = named("a:1", "one").start(node.options()).await.unwrap();
        let port = node.http.port();
        let http = Http::at(SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(http.post(&message).await.status, expected, "{callers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_listener_that_others_reach_only_some_register_and_only_some_addresses() {
    let tokens = RulesFile::new("client/shop 0123456789abcdef0123456789abcdef\n");
    for (settings, authorization, expected) in [
        (&[][..], "", 403),
        (&["--register-from", "192.0.2.0/24"], "", 403),
        (&["--register-from", "127.0.0.0/8"], "", 200),
        (
            &[],
            "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n",
            200,
        ),
        (&[], "Authorization: Bearer another\r\n", 401),
        (
            &[
                "--register-from",
                "127.0.0.0/8",
                "--allowed-targets",
                "10.0.0.0/8",
            ],
            "",
            403,
        ),
    ] {
        let mut node = Node::builder()
            .http("0.0.0.0:0")
            .flag("--tokens-file", tokens.path().display());
        for setting in settings.chunks(2) {
            node = node.flag(setting[0], setting[1]);
        }
        let node = node.start().await;
        let body = r#"{"Pattern":"a:1","ServiceAddress":"127.0.0.1:4444"}"#;
        let request = format!(
            "POST /register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let http = Http::at(SocketAddr::from(([127, 0, 0, 1], node.http.port())));
        let status = http.send(request).await.status;
        assert_eq!(status, expected, "{settings:?} {authorization}");
    }
}
