//! Real TLS 1.3 handshakes in memory: who gets in, who does not, and what either side is told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nano_tls::{
    ALPN, Authority, Bundle, Expect, Identity, Kind, LEAF_LIFETIME, Secret, peer_identity,
};
use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};
use rustls::client::Resumption;
use rustls::server::ServerSessionMemoryCache;
use rustls::{
    ClientConfig, ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConfig,
    ServerConnection,
};
use rustls_pki_types::ServerName;

const NODE: Expect = Expect::Kind(Kind::Node);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn both_sides_learn_who_the_other_is() {
    let site = Site::new();
    let (client, server) = site.node_and_client();
    let (client, server) = connect(client, server).unwrap();

    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    assert_eq!(peer(&client).to_string(), "spiffe://nano.local/node/a");
    assert_eq!(peer(&server).to_string(), "spiffe://nano.local/client/c");
}

#[test]
fn a_bundle_that_went_through_files_works_the_same() {
    let site = Site::new();
    let through = |name: &str| {
        let dir: &Path = &site.dir.path().join(name);
        site.issue(name).write(dir).unwrap();
        Bundle::load(dir).unwrap()
    };
    let (node, client) = (through("node/a"), through("client/c"));
    let client = client.client_config(NODE).unwrap();
    connect(client, node.server_config().unwrap()).unwrap();
}

#[test]
fn the_expected_identity_is_let_through_and_any_other_is_not() {
    let site = Site::new();
    let server = || site.issue("service/math").server_config().unwrap();
    let expect = |name| Expect::Identity(Identity::new("nano.local", Kind::Service, name).unwrap());
    let client = |name| site.issue("client/c").client_config(expect(name)).unwrap();

    connect(client("math"), server()).unwrap();
    let refused = connect(client("maths"), server()).unwrap_err();
    assert_eq!(refused.by, "client");
    assert!(
        refused.says("service/math, not spiffe://nano.local/service/maths as expected"),
        "{refused:?}"
    );
}

#[test]
fn a_server_of_the_wrong_kind_is_refused() {
    let site = Site::new();
    for name in ["client/a", "service/a"] {
        let server = site.issue(name).server_config().unwrap();
        let refused = connect(site.client(), server).unwrap_err();
        assert_eq!(refused.by, "client");
        assert!(refused.says("not a node as expected"), "{refused:?}");
    }
}

#[test]
fn a_client_without_certificate_is_refused() {
    let site = Site::new();
    let mut client = site.client();
    client.client_auth_cert_resolver = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
        .client_auth_cert_resolver;

    let refused = connect(client, site.server()).unwrap_err();
    assert_eq!(refused.by, "server");
    assert!(refused.says("peer sent no certificates"), "{refused:?}");
}

#[test]
fn parties_of_another_authority_are_refused() {
    let (ours, theirs) = (Site::new(), Site::new());

    let refused = connect(ours.client(), theirs.server()).unwrap_err();
    assert_eq!(refused.by, "client");
    assert!(refused.says("UnknownIssuer"), "{refused:?}");

    let mut client = ours.client();
    client.client_auth_cert_resolver = theirs.client().client_auth_cert_resolver;
    let refused = connect(client, ours.server()).unwrap_err();
    assert_eq!(refused.by, "server");
    assert!(refused.says("UnknownIssuer"), "{refused:?}");
}

#[test]
fn holders_of_one_secret_trust_each_other() {
    let (node, service) = (holder(SECRET, "node/a"), holder(SECRET, "service/math"));
    let client = || service.client_config(NODE).unwrap();
    let server = || node.server_config().unwrap();
    let (client_side, server_side) = connect(client(), server()).unwrap();
    assert_eq!(peer(&client_side).to_string(), "spiffe://nano.local/node/a");
    assert_eq!(
        peer(&server_side).to_string(),
        "spiffe://nano.local/service/math"
    );

    let shown = |side: &Connection| side.peer_certificates().unwrap()[0].clone();
    let (again, _) = connect(client(), server()).unwrap();
    assert_eq!(shown(&client_side), shown(&again), "it lasts for a while");
    let other_start = holder(SECRET, "node/a").server_config().unwrap();
    let (other, _) = connect(client(), other_start).unwrap();
    assert_ne!(shown(&client_side), shown(&other), "each start has its own");
}

#[test]
fn holders_of_different_secrets_refuse_each_other() {
    let node = holder(SECRET, "node/a");
    let stranger = holder("another secret of some length", "client/c");
    let server = || node.server_config().unwrap();

    let refused = connect(stranger.client_config(NODE).unwrap(), server()).unwrap_err();
    assert_eq!(refused.by, "client");
    assert!(refused.says("UnknownIssuer"), "{refused:?}");

    let mut client = holder(SECRET, "client/c").client_config(NODE).unwrap();
    let strange = stranger.client_config(NODE).unwrap();
    client.client_auth_cert_resolver = strange.client_auth_cert_resolver;
    let refused = connect(client, server()).unwrap_err();
    assert_eq!(refused.by, "server");
    assert!(refused.says("UnknownIssuer"), "{refused:?}");
}

#[test]
fn expired_and_future_certificates_are_refused() {
    let site = Site::new();
    let expired = site.forge("node/a", |params| {
        params.not_after = (SystemTime::now() - Duration::from_secs(2)).into();
    });
    let refused = connect_as(expired, &site);
    refused.each(|refused| assert!(refused.says("certificate expired"), "{refused:?}"));

    let future = site.forge("node/a", |params| {
        params.not_before = (SystemTime::now() + Duration::from_secs(600)).into();
    });
    let refused = connect_as(future, &site);
    refused.each(|refused| assert!(refused.says("not valid yet"), "{refused:?}"));
}

#[test]
fn anything_but_one_identity_of_the_trust_domain_is_refused() {
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change); 6] = [
        ("names 2 URIs", |params| {
            params
                .subject_alt_names
                .push(uri("spiffe://nano.local/node/b"));
        }),
        ("names 0 URIs", |params| {
            params.subject_alt_names = vec![SanType::DnsName("a.nano.local".try_into().unwrap())];
        }),
        ("names 2 URIs", |params| {
            params.subject_alt_names.push(uri("https://nano.local"));
        }),
        ("cannot be read", |params| {
            params.subject_alt_names.clear();
            params.custom_extensions = vec![unreadable_uri_beside("spiffe://nano.local/node/a")];
        }),
        ("is not an identity", |params| {
            params.subject_alt_names = vec![uri("spiffe://nano.local/node/a/b")];
        }),
        ("outside our trust domain nano.local", |params| {
            params.subject_alt_names = vec![uri("spiffe://other.local/node/a")];
        }),
    ];
    let site = Site::new();
    for (reason, change) in cases {
        connect_as(site.forge("node/a", change), &site)
            .each(|refused| assert!(refused.says(reason), "{reason}: {refused:?}"));
    }
}

#[test]
fn a_certificate_for_the_other_role_is_refused() {
    let site = Site::new();
    let forged = |usage| site.forge("node/a", |params| params.extended_key_usages = vec![usage]);
    let client_only = connect_as(forged(ExtendedKeyUsagePurpose::ClientAuth), &site);
    assert!(client_only.server.unwrap().says("server authentication"));
    assert!(client_only.client.is_none());
    let server_only = connect_as(forged(ExtendedKeyUsagePurpose::ServerAuth), &site);
    assert!(server_only.client.unwrap().says("client authentication"));
    assert!(server_only.server.is_none());
}

#[test]
fn another_application_protocol_is_refused() {
    let site = Site::new();
    let mut client = site.client();
    client.alpn_protocols = vec![b"h3".to_vec()];
    let refused = connect(client, site.server()).unwrap_err();
    assert_eq!(refused.by, "server");
}

#[test]
fn a_server_gives_no_tickets_to_a_client_that_would_resume() {
    let site = Site::new();
    let mut client = site.client();
    client.resumption = Resumption::in_memory_sessions(8);
    assert_never_resumes(client, site.server());
}

#[test]
fn a_client_does_not_resume_with_a_server_that_gives_tickets() {
    let site = Site::new();
    let mut server = site.server();
    server.send_tls13_tickets = 2;
    server.session_storage = ServerSessionMemoryCache::new(8);
    assert_never_resumes(site.client(), server);
}

#[test]
fn resumption_would_be_noticed() {
    let site = Site::new();
    let (mut client, mut server) = site.node_and_client();
    client.resumption = Resumption::in_memory_sessions(8);
    server.send_tls13_tickets = 2;
    server.session_storage = ServerSessionMemoryCache::new(8);
    let (client, server) = (Arc::new(client), Arc::new(server));
    connect_shared(&client, &server).unwrap();
    let (second, _) = connect_shared(&client, &server).unwrap();
    assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
}

fn assert_never_resumes(client: ClientConfig, server: ServerConfig) {
    let (client, server) = (Arc::new(client), Arc::new(server));
    for _ in 0..2 {
        let (client, server) = connect_shared(&client, &server).unwrap();
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
    }
}

/// An authority with its files, for forging what it would not issue.
struct Site {
    authority: Authority,
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let authority = Authority::create("nano.local").unwrap();
        let dir = tempfile::tempdir().unwrap();
        authority.write(&dir.path().join("authority")).unwrap();
        Self { authority, dir }
    }

    fn issue(&self, name: &str) -> Bundle {
        let name = name.parse().unwrap();
        self.authority.issue(&name, LEAF_LIFETIME).unwrap()
    }

    fn server(&self) -> ServerConfig {
        self.issue("node/a").server_config().unwrap()
    }

    fn client(&self) -> ClientConfig {
        self.issue("client/c").client_config(NODE).unwrap()
    }

    fn node_and_client(&self) -> (ClientConfig, ServerConfig) {
        (self.client(), self.server())
    }

    /// A certificate that the authority's key signed, but never the authority.
    fn forge(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Forged {
        let read = |file| fs::read_to_string(self.dir.path().join("authority").join(file)).unwrap();
        let ca_key = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(&format!("spiffe://nano.local/{name}"))];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &issuer).unwrap().into()];
        let key = provider()
            .key_provider
            .load_private_key(key.into())
            .unwrap();
        let certified = rustls::sign::CertifiedKey::new(chain, key);
        Forged(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
    }
}

struct Forged(Arc<rustls::sign::SingleCertAndKey>);

/// What became of a forged certificate as a client's and as a server's.
struct Outcome {
    client: Option<Refused>,
    server: Option<Refused>,
}

impl Outcome {
    fn each(self, check: impl Fn(&Refused)) {
        check(&self.client.unwrap());
        check(&self.server.unwrap());
    }
}

fn connect_as(forged: Forged, site: &Site) -> Outcome {
    let (mut client, honest_server) = site.node_and_client();
    client.client_auth_cert_resolver = forged.0.clone();
    let (honest_client, mut server) = site.node_and_client();
    server.cert_resolver = forged.0;
    let outcome = Outcome {
        client: connect(client, honest_server).err(),
        server: connect(honest_client, server).err(),
    };
    assert!(outcome.client.iter().all(|refused| refused.by == "server"));
    assert!(outcome.server.iter().all(|refused| refused.by == "client"));
    outcome
}

/// Who broke the handshake off, and why.
#[derive(Debug)]
struct Refused {
    by: &'static str,
    error: rustls::Error,
}

impl Refused {
    fn says(&self, text: &str) -> bool {
        self.error.to_string().contains(text)
    }
}

fn connect(
    client: ClientConfig,
    server: ServerConfig,
) -> Result<(Connection, Connection), Refused> {
    connect_shared(&Arc::new(client), &Arc::new(server))
}

/// Carries bytes until both sides have nothing more to say, and a word in each direction.
fn connect_shared(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(Connection, Connection), Refused> {
    let name = ServerName::try_from("not.looked.at").unwrap();
    let mut client: Connection = ClientConnection::new(client.clone(), name).unwrap().into();
    let mut server: Connection = ServerConnection::new(server.clone()).unwrap().into();
    while client.wants_write() || server.wants_write() {
        carry(&mut client, &mut server).map_err(|error| Refused {
            by: "server",
            error,
        })?;
        carry(&mut server, &mut client).map_err(|error| Refused {
            by: "client",
            error,
        })?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());

    client.writer().write_all(b"ping").unwrap();
    carry(&mut client, &mut server).unwrap();
    let mut word = [0; 4];
    server.reader().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ping");
    Ok((client, server))
}

fn carry(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn peer(connection: &Connection) -> Identity {
    peer_identity(connection.peer_certificates().unwrap()).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Alternative names in DER: the URI, and one that is not ASCII.
fn unreadable_uri_beside(uri: &str) -> CustomExtension {
    const URI_TAG: u8 = 0x86;
    const SEQUENCE: u8 = 0x30;
    let mut names = vec![URI_TAG, u8::try_from(uri.len()).unwrap()];
    names.extend(uri.bytes());
    names.extend([URI_TAG, 1, 0xff]);
    let mut der = vec![SEQUENCE, u8::try_from(names.len()).unwrap()];
    der.extend(names);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], der)
}

fn holder(secret: &str, name: &str) -> Bundle {
    let secret = Secret::new(secret).unwrap();
    secret
        .bundle(&name.parse().unwrap(), LEAF_LIFETIME)
        .unwrap()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
