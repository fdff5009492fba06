//! A `redis-server` of a test's own: on a port of its own, in a folder that goes with it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use redis::{Cmd, FromRedisValue};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::{PATIENCE, Process, until};

/// A running server. It keeps nothing over its end.
pub struct Redis {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

impl Redis {
    /// Starts one, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not start, or not in time.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let address = free_address();
        let process = serve(address, &folder).await;
        Self {
            process,
            address,
            folder,
        }
    }

    /// As `--redis` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it by SIGKILL.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again once it has ended, empty.
    pub async fn start_again(&mut self) {
        self.process = serve(self.address, &self.folder).await;
    }

    /// Ends it by SIGKILL, and starts it again, empty.
    pub async fn lose_everything(&mut self) {
        self.kill().await;
        self.start_again().await;
    }

    /// What it holds, as it writes it to its disk.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn dump(&self) -> Vec<u8> {
        self.order("SAVE").await;
        let dump = fs::read(self.dump_file()).expect("it has saved");
        fs::remove_file(self.dump_file()).expect("it was there");
        dump
    }

    /// Ends it by SIGKILL, and starts it again with what it held at another time.
    ///
    /// # Panics
    ///
    /// If the system does not allow it.
    pub async fn restore(&mut self, dump: &[u8]) {
        self.kill().await;
        fs::write(self.dump_file(), dump).expect("the folder can be written");
        self.start_again().await;
        fs::remove_file(self.dump_file()).expect("it was there");
    }

    fn dump_file(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    /// Stops it in its tracks, or lets it go on.
    pub fn freeze(&self, is_frozen: bool) {
        self.process.signal(match is_frozen {
            true => Signal::STOP,
            false => Signal::CONT,
        });
    }

    /// Gives it a command without arguments, as an operator does by hand.
    ///
    /// # Panics
    ///
    /// If it does not do it.
    pub async fn order(&self, command: &str) {
        let answered = timeout(PATIENCE, inline(self.address, command)).await;
        let answer = answered.expect("a server that runs answers in time");
        assert_eq!(answer.as_deref().ok(), Some("+OK\r\n"), "{command}");
    }

    /// What it answers to any command.
    ///
    /// # Panics
    ///
    /// If it does not, or something else than was expected.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let asked = async {
            let client = redis::Client::open(self.url())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            command.query_async(&mut connection).await
        };
        let answered = timeout(PATIENCE, asked).await;
        let answer = answered.expect("a server that runs answers in time");
        answer.expect("the command is one")
    }
}

async fn serve(address: SocketAddr, folder: &TempDir) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .args(["--save", ""])
        .arg("--dir")
        .arg(folder.path());
    let process = Process::start(&mut command);
    until("redis-server to answer", async || {
        let answer = inline(address, "PING").await;
        (answer.ok()? == "+PONG\r\n").then_some(())
    })
    .await;
    process
}

async fn inline(address: SocketAddr, command: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    connection
        .write_all(format!("{command}\r\n").as_bytes())
        .await?;
    let mut answer = [0; 64];
    let length = connection.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// redis-server takes no port 0: what the system just gave away is free for the moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("the system has a port left")
}
