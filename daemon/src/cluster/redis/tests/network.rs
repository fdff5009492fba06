//! Logging in, TLS, sentinels and clusters.

use super::{
    super::super::{Boot, Command, Reply, Trouble},
    super::{Provider, Redis, RedisAccess, RedisTls},
    server::{Server, redis},
};

async fn beat(redis: &Redis) -> Result<Reply, Trouble> {
    let (boot, authority) = (Boot([1; 16]), [1; 32]);
    redis
        .execute(Command::Beat {
            boot,
            counter: 1,
            authority,
        })
        .await
}

#[tokio::test]
async fn a_password_is_needed_and_enough() {
    let server = Server::start(&["--requirepass", "p@ss"]).await;
    let with = format!("redis://:p%40ss@127.0.0.1:{}", server.port);
    assert!(matches!(
        beat(&redis(&with, RedisTls::default())).await,
        Ok(Reply::Listing(_))
    ));
    let without = redis(&server.url(), RedisTls::default());
    assert!(beat(&without).await.is_err());
}

#[test]
fn a_password_that_a_server_repeats_is_not_shown() {
    let access = RedisAccess {
        url: "redis+sentinel://u:hunter2@a/s".parse().expect("a URL"),
        tls: RedisTls::default(),
        sentinel_password: Some("swordfish".to_owned()),
    };
    let said = "unknown command `AUTH`, with args beginning with: `u` `hunter2`, `swordfish`";
    assert_eq!(
        Provider::new(access).without_passwords(said),
        "unknown command `AUTH`, with args beginning with: `u` `(password)`, `(password)`"
    );
}

#[tokio::test]
async fn a_server_with_a_certificate_of_our_authority_is_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, certificate, key) = certificates();
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    for (name, text) in [("ca", &authority), ("cert", &certificate), ("key", &key)] {
        std::fs::write(path(name), text).expect("written");
    }
    let port = super::server::free_port();
    let _server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-ca-cert-file",
        &path("ca"),
        "--tls-cert-file",
        &path("cert"),
        "--tls-key-file",
        &path("key"),
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let url = format!("rediss://127.0.0.1:{port}");
    let trusting = RedisTls {
        authority: Some(authority.into_bytes()),
        client: None,
    };
    assert!(matches!(
        beat(&redis(&url, trusting)).await,
        Ok(Reply::Listing(_))
    ));
    let (other, ..) = certificates();
    let wary = RedisTls {
        authority: Some(other.into_bytes()),
        client: None,
    };
    assert!(beat(&redis(&url, wary)).await.is_err());
}

#[tokio::test]
async fn sentinels_lead_to_the_master() {
    let master = Server::start(&[]).await;
    let sentinel = Sentinel::start(master.port).await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    assert!(matches!(
        beat(&redis(&url, RedisTls::default())).await,
        Ok(Reply::Listing(_))
    ));
}

#[tokio::test]
async fn a_cluster_is_one_too() {
    let evicting = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let arguments = [&["--cluster-enabled", "yes"], &evicting[..]].concat();
    let server = Server::start(&arguments).await;
    server
        .order(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])
        .await;
    let url = format!("redis+cluster://127.0.0.1:{}", server.port);
    let redis = redis(&url, RedisTls::default());
    let mut answer = beat(&redis).await;
    // It takes the server a moment to find that it is whole.
    for _ in 0..50 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        answer = beat(&redis).await;
    }
    assert!(matches!(answer, Ok(Reply::Listing(_))), "{answer:?}");
    assert_eq!(*redis.evicts.borrow(), Some(true));
}

/// A sentinel is a server in another mode.
struct Sentinel {
    process: std::process::Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    async fn start(master: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = super::server::free_port();
        let config = folder.path().join("sentinel.conf");
        let text =
            format!("port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n");
        std::fs::write(&config, text).expect("written");
        let process = std::process::Command::new("redis-server")
            .arg(&config)
            .arg("--sentinel")
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server is installed, as test.sh does");
        let sentinel = Self {
            process,
            port,
            _folder: folder,
        };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        sentinel
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An authority, and a certificate for 127.0.0.1 with its key.
pub(super) fn certificates() -> (String, String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).expect("signed");
    let issuer = rcgen::Issuer::new(authority, key);
    let server_key = rcgen::KeyPair::generate().expect("a key");
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let server = server.signed_by(&server_key, &issuer).expect("signed");
    (certificate.pem(), server.pem(), server_key.serialize_pem())
}
