//! NATS: one nats-server, in plain text or with TLS.

use std::fs;

use serde::Deserialize;
use tokio::process::Command;

use super::{CERTIFICATE, Contender, EITHER, KEY, certify};
use crate::{Result, ends::Protocol, machine::Program, place::Place};

pub(super) const PROGRAM: Program = Program {
    command: "nats-server",
    version: "--version",
    package: "nats-server",
};

/// What nats-server writes once it listens.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// Its limit of a body's bytes is 1 MiB by default.
const CONFIGURATION: &str = "max_payload: 8388608\n";

pub(super) async fn plain(place: &Place) -> Result<Contender> {
    let mut contender = Contender::new("nats", "NATS: plain text")?;
    contender.place = place.clone();
    let at = start(&mut contender, "").await?;
    contender.serve(Protocol::Nats, EITHER, &at, None).await?;
    Ok(contender)
}

pub(super) async fn tls() -> Result<Contender> {
    let mut contender = Contender::new("nats_tls", "NATS: TLS")?;
    let folder = contender.folder.path();
    certify(folder)?;
    let certificate = folder.join(CERTIFICATE);
    let tls = format!(
        "tls {{ cert_file: {certificate:?}, key_file: {:?} }}\n",
        folder.join(KEY)
    );
    let at = start(&mut contender, &tls).await?;
    contender
        .serve(Protocol::Nats, EITHER, &at, Some(certificate))
        .await?;
    Ok(contender)
}

/// Starts a server; its URL.
async fn start(contender: &mut Contender, more: &str) -> Result<String> {
    let folder = contender.folder.path().to_owned();
    let config = folder.join("nats.conf");
    fs::write(&config, format!("{CONFIGURATION}{more}"))?;
    let mut command = Command::new(PROGRAM.command);
    command
        .arg("--config")
        .arg(&config)
        .args(["--addr", &contender.place.host(), "--port", "-1"])
        .arg("--ports_file_dir")
        .arg(&folder)
        .arg("--log")
        .arg(folder.join("log"));
    let ports = contender
        .start_server(command, async |process| {
            let file = folder.join(format!("{}_{}.ports", PROGRAM.command, process.pid()));
            let text = fs::read_to_string(file).ok()?;
            serde_json::from_str::<Ports>(&text).ok()
        })
        .await?;
    let url = ports.nats.into_iter().next();
    url.ok_or_else(|| "nats-server does not say where it listens".into())
}
