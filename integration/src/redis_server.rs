//! A `redis-server` as an operator sets it up: with a password, users, certificates, as a
//! replica, a sentinel or a part of a cluster. Commands are given to it by `redis-cli`.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::{PATIENCE, Process, until};

/// How a server is to be started.
pub struct RedisServerBuilder {
    folder: TempDir,
    port: u16,
    lines: Vec<String>,
    is_sentinel: bool,
    password: Option<String>,
    certificates: Option<RedisCertificates>,
}

/// A running server. It keeps nothing over its end.
pub struct RedisServer {
    /// Its process.
    pub process: Process,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    password: Option<String>,
    certificates: Option<RedisCertificates>,
    _folder: TempDir,
}

/// Certificates of an authority that nobody else knows; gone with the last clone.
#[derive(Clone)]
pub struct RedisCertificates(Arc<TempDir>);

impl RedisServer {
    /// One that listens on a free port.
    ///
    /// # Panics
    ///
    /// If the system has no place for temporary files, or no port.
    #[must_use]
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            port: free_port(),
            lines: Vec::new(),
            is_sentinel: false,
            password: None,
            certificates: None,
        }
    }

    /// Gives it a command, as an operator does by hand; what it answers.
    ///
    /// # Panics
    ///
    /// If it does not answer in time.
    pub async fn ask(&self, command: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        client
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .kill_on_drop(true);
        if let Some(password) = &self.password {
            client.env("REDISCLI_AUTH", password);
        }
        if let Some(certificates) = &self.certificates {
            let [ca, cert, key] = ["ca", "client", "client-key"].map(|it| certificates.path(it));
            client.arg("--tls").arg("--cacert").arg(ca);
            client.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        let output = timeout(PATIENCE, client.args(command).output()).await;
        let output = output.expect("a server that runs answers in time");
        let output = output.expect("redis-cli is installed, as test.sh does");
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Gives it a command that has nothing to answer but that it was done.
    ///
    /// # Panics
    ///
    /// If it was not.
    pub async fn order(&self, command: &[&str]) {
        assert_eq!(self.ask(command).await, "OK", "{command:?}");
    }

    /// Stops it in its tracks, or lets it go on.
    pub fn freeze(&self, is_frozen: bool) {
        self.process.signal(match is_frozen {
            true => Signal::STOP,
            false => Signal::CONT,
        });
    }
}

impl RedisServerBuilder {
    /// One more line of its configuration file.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// What everybody has to say first.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.line(format!("requirepass {password}"))
    }

    /// Speaks TLS alone, and wants certificates of the same authority.
    #[must_use]
    pub fn certificates(mut self, certificates: &RedisCertificates) -> Self {
        self.certificates = Some(certificates.clone());
        let path = |name| certificates.path(name).display().to_string();
        self.line(format!("tls-ca-cert-file {}", path("ca")))
            .line(format!("tls-cert-file {}", path("server")))
            .line(format!("tls-key-file {}", path("server-key")))
    }

    /// Watches over others in place of holding anything.
    #[must_use]
    pub fn sentinel(mut self) -> Self {
        self.is_sentinel = true;
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not start, or not in time.
    pub async fn start(self) -> RedisServer {
        let config = self.folder.path().join("redis.conf");
        fs::write(&config, self.config()).expect("a temporary file can be written");
        let mut command = Command::new("redis-server");
        command.arg(config);
        if self.is_sentinel {
            command.arg("--sentinel");
        }
        let server = RedisServer {
            process: Process::start(&mut command),
            port: self.port,
            password: self.password,
            certificates: self.certificates,
            _folder: self.folder,
        };
        until("redis-server to answer", async || {
            (server.ask(&["PING"]).await == "PONG").then_some(())
        })
        .await;
        server
    }

    fn config(&self) -> String {
        let folder = self.folder.path().display();
        // Nobody reads its standard output, which would fill up.
        let mut config = format!("bind 127.0.0.1\ndir {folder}\nlogfile {folder}/log\n");
        let (plain, tls) = match &self.certificates {
            Some(_) => (0, self.port),
            None => (self.port, 0),
        };
        config += &format!("port {plain}\ntls-port {tls}\n");
        if !self.is_sentinel {
            config += "save \"\"\n";
        }
        config + &self.lines.join("\n") + "\n"
    }
}

impl RedisCertificates {
    /// A new authority, with a certificate for servers on 127.0.0.1 and one for clients.
    ///
    /// # Panics
    ///
    /// If the system has no place for temporary files.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it does I/O")]
    pub fn new() -> Self {
        let certificates = Self(Arc::new(tempfile::tempdir().expect("a temporary folder")));
        let mut authority = CertificateParams::new(Vec::new()).expect("no names are no problem");
        authority.distinguished_name = called("authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let signed = authority.self_signed(&key).expect("it can sign itself");
        certificates.write("ca", &signed.pem());
        let issuer = Issuer::new(authority, key);
        for (name, host) in [("server", "127.0.0.1"), ("client", "client")] {
            let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host");
            params.distinguished_name = called(name);
            let key = KeyPair::generate().expect("a key can be made");
            let signed = params.signed_by(&key, &issuer).expect("it can be signed");
            certificates.write(name, &signed.pem());
            certificates.write(&format!("{name}-key"), &key.serialize_pem());
        }
        certificates
    }

    /// The file of `ca`, `server`, `server-key`, `client` or `client-key`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, pem: &str) {
        write_private(&self.path(name), pem);
    }
}

/// OpenSSL takes a certificate for self-signed that is called as its authority is.
fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// A file that its owner alone can read.
///
/// # Panics
///
/// If it cannot be written.
pub fn write_private(path: &Path, text: &str) {
    fs::write(path, text).expect("a temporary file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is our own");
}

/// For programs that take no port 0, as redis-server: what the system just gave away is free for
/// the moment.
///
/// # Panics
///
/// If the system has none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("the system has a port left")
        .port()
}
