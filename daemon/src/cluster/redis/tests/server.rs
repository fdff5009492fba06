//! A `redis-server` of a test's own: on a free port, in a folder that goes with it.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nano_wire::InstanceId;

use super::super::{
    super::{Boot, Identity},
    Redis, RedisAccess, RedisOptions, RedisTls,
};

pub(super) struct Server {
    process: Child,
    pub(super) port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts one that answers when this returns.
    pub(super) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .arg("--dir")
            .arg(folder.path())
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed, as test.sh does");
        let server = Self {
            process,
            port,
            _folder: folder,
        };
        server.answers().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A command as an operator gives it.
    pub(super) async fn order(&self, command: &[&str]) {
        let client = ::redis::Client::open(self.url()).expect("a URL");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        let mut order = ::redis::Cmd::new();
        order.arg(command);
        let done: ::redis::RedisResult<::redis::Value> = order.query_async(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }

    /// Stops the process in its tracks, or lets it go on.
    pub(super) fn freeze(&self, is_frozen: bool) {
        let signal = if is_frozen {
            rustix::process::Signal::STOP
        } else {
            rustix::process::Signal::CONT
        };
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, signal).expect("it is our child");
    }

    async fn answers(&self) {
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                .await
                .is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("redis-server does not listen");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A way to a server, with keys of a test's own.
pub(super) fn redis(url: &str, tls: RedisTls) -> Redis {
    let options = RedisOptions {
        access: RedisAccess {
            url: url.parse().expect("a URL"),
            tls,
            sentinel_password: None,
        },
        namespace: "test".to_owned(),
        cluster_key: [7; 32],
    };
    let identity = Identity {
        boot: Boot::NOBODY,
        node: InstanceId([0; 16]),
        address: String::new(),
        authority: [1; 32],
    };
    Redis::new(options, &identity)
}
