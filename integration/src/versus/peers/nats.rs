//! NATS: one nats-server, in plain text or with TLS.

use std::{fs, path::Path};

use rcgen::generate_simple_self_signed;
use serde::Deserialize;
use tokio::process::Command;

use super::Contender;
use crate::{Result, ends::Protocol, machine::Program};

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

pub(super) async fn plain() -> Result<Contender> {
    let mut contender = Contender::new("nats", "NATS: plain text")?;
    let at = start(&mut contender, &[]).await?;
    contender.serve(Protocol::Nats, &at, None).await?;
    Ok(contender)
}

pub(super) async fn tls() -> Result<Contender> {
    let mut contender = Contender::new("nats_tls", "NATS: TLS")?;
    let folder = contender.folder.path();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    certify(&certificate, &key)?;
    let arguments = [
        "--tls",
        "--tlscert",
        path(&certificate)?,
        "--tlskey",
        path(&key)?,
    ];
    let at = start(&mut contender, &arguments).await?;
    contender
        .serve(Protocol::Nats, &at, Some(certificate.clone()))
        .await?;
    Ok(contender)
}

/// Starts a server; its URL.
async fn start(contender: &mut Contender, arguments: &[&str]) -> Result<String> {
    let folder = contender.folder.path().to_owned();
    let mut command = Command::new(PROGRAM.command);
    command
        .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
        .arg(&folder)
        .arg("--log")
        .arg(folder.join("log"))
        .args(arguments);
    let ports = contender
        .start_server(&mut command, async |process| {
            let file = folder.join(format!("{}_{}.ports", PROGRAM.command, process.pid()));
            let text = fs::read_to_string(file).ok()?;
            serde_json::from_str::<Ports>(&text).ok()
        })
        .await?;
    let url = ports.nats.into_iter().next();
    url.ok_or_else(|| "nats-server does not say where it listens".into())
}

/// A certificate that is its own authority.
fn certify(certificate: &Path, key: &Path) -> Result<()> {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(certificate, made.cert.pem())?;
    fs::write(key, made.signing_key.serialize_pem())?;
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    let text = path.to_str();
    text.ok_or_else(|| format!("{path:?} is not UTF-8").into())
}
