//! nanod: one node, with one data thread where nothing else is said.

use std::{fs, path::PathBuf};

use nano_integration::{ANY, go_nano::GoHttp, nanod};
use serde::Deserialize;
use serde_json::json;

use super::{Contender, EITHER, Load};
use crate::{
    Result,
    ends::{End, Protocol, Threads, pattern},
    place::Place,
    wrk::Wrk,
};

/// Where a node says it listens.
#[derive(Deserialize)]
struct Ready {
    http: String,
    quic: String,
}

/// Data threads of a node.
const ONE: &str = "1";
const TWO: &str = "2";

/// Calls by this protocol, through the node or past it.
pub(super) async fn calls(
    name: &'static str,
    protocol: Protocol,
    threads: &[Threads],
    place: &Place,
) -> Result<Contender> {
    let says = match protocol {
        Protocol::NanoJson => "nanod: through a node, JSON",
        Protocol::Direct => "nanod: direct, mutual TLS",
        Protocol::DirectJson => "nanod: direct, JSON",
        _ => "nanod: through a node, mutual TLS",
    };
    let mut contender = Contender::new(name, says)?;
    contender.place = place.clone();
    serve(&mut contender, protocol, threads, ONE).await?;
    Ok(contender)
}

/// Calls through a node with two data threads.
pub(super) async fn two_data_threads() -> Result<Contender> {
    let mut contender = Contender::new("nanod_2", "nanod: two data threads")?;
    serve(&mut contender, Protocol::Nano, EITHER, TWO).await?;
    Ok(contender)
}

async fn serve(
    contender: &mut Contender,
    protocol: Protocol,
    threads: &[Threads],
    data_threads: &str,
) -> Result<()> {
    let ready = start(contender, data_threads).await?;
    let trust = Some(trust(contender));
    contender.serve(protocol, threads, &ready.quic, trust).await
}

pub(super) async fn http_quic() -> Result<Contender> {
    let mut contender = Contender::new("nanod", "nanod: HTTP to QUIC with mutual TLS")?;
    let ready = start(&mut contender, ONE).await?;
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
    let mut contender = Contender::new("nanod", "nanod: HTTP to HTTP, plain text")?;
    let ready = start(&mut contender, ONE).await?;
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

async fn start(contender: &mut Contender, data_threads: &str) -> Result<Ready> {
    let ready_file = contender.folder.path().join("ready.json");
    let mut command = nanod();
    command
        .args(["--http", ANY, "--admin", ANY])
        .args(["--quic", &contender.place.any()])
        .args(["--threads", data_threads])
        .arg("--state")
        .arg(state(contender))
        .arg("--ready-file")
        .arg(&ready_file);
    let text = contender
        .start_server(command, async |_| fs::read_to_string(&ready_file).ok())
        .await?;
    Ok(serde_json::from_str(&text)?)
}

fn state(contender: &Contender) -> PathBuf {
    contender.folder.path().join("state")
}

/// What the node issued to clients and services of its machine.
fn trust(contender: &Contender) -> PathBuf {
    nano_tls::client_dir(&state(contender).join("tls"))
}
