//! nanod: one node with one data thread.

use std::{fs, path::PathBuf};

use nano_integration::{ANY, go_nano::GoHttp, nanod};
use serde::Deserialize;
use serde_json::json;

use super::{Contender, Load};
use crate::{
    Result,
    ends::{End, Protocol, Threads, pattern},
    wrk::Wrk,
};

/// Where a node says it listens.
#[derive(Deserialize)]
struct Ready {
    http: String,
    quic: String,
}

pub(super) async fn switched() -> Result<Contender> {
    let (mut contender, ready) = start("nanod: QUIC, mutual TLS").await?;
    let trust = trust(&contender);
    contender
        .serve(Protocol::Nano, &ready.quic, Some(trust))
        .await?;
    Ok(contender)
}

pub(super) async fn http_quic() -> Result<Contender> {
    let (mut contender, ready) = start("nanod: HTTP to QUIC with mutual TLS").await?;
    let service = End {
        protocol: Protocol::Nano,
        threads: Threads::One,
        at: ready.quic,
        trust: Some(trust(&contender)),
    };
    contender.serve_on(&service).await?;
    let folder = contender.folder.path();
    let wrk = Wrk::new(folder, &ready.http, &pattern(service.threads))?;
    contender.loads.push(Load::Http(wrk));
    Ok(contender)
}

pub(super) async fn http_http() -> Result<Contender> {
    let (mut contender, ready) = start("nanod: HTTP to HTTP, plain text").await?;
    let service = contender.serve_http().await?;
    let pattern = pattern(Threads::One);
    let registration = json!({ "Pattern": pattern, "ServiceAddress": service });
    let answer = GoHttp::default()
        .post(&ready.http, "/register", registration.to_string())
        .await?;
    if answer.status != 200 {
        return Err(format!("nanod does not register {service}: {answer:?}").into());
    }
    let wrk = Wrk::new(contender.folder.path(), &ready.http, &pattern)?;
    contender.loads.push(Load::Http(wrk));
    Ok(contender)
}

/// What `nanod --version` says.
pub(crate) async fn version() -> Result<String> {
    let output = nanod().arg("--version").output().await;
    let output = output.map_err(|error| format!("cannot run nanod: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn start(says: &'static str) -> Result<(Contender, Ready)> {
    let mut contender = Contender::new("nanod", says)?;
    let ready_file = contender.folder.path().join("ready.json");
    let mut command = nanod();
    command
        .args(["--http", ANY, "--quic", ANY, "--admin", ANY])
        .args(["--threads", "1"])
        .arg("--state")
        .arg(state(&contender))
        .arg("--ready-file")
        .arg(&ready_file);
    let (pid, text) = contender
        .start_server(&mut command, async |process| {
            let text = fs::read_to_string(&ready_file).ok()?;
            Some((process.pid(), text))
        })
        .await?;
    contender.node = Some(pid);
    Ok((contender, serde_json::from_str(&text)?))
}

fn state(contender: &Contender) -> PathBuf {
    contender.folder.path().join("state")
}

/// What the node issued to clients and services of its machine.
fn trust(contender: &Contender) -> PathBuf {
    nano_tls::client_dir(&state(contender).join("tls"))
}
