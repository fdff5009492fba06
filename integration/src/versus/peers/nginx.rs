//! nginx: two workers that pass HTTP on to an echo over connections that stay.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use nano_integration::free_port;
use tokio::{net::TcpStream, process::Command};

use super::{Contender, Load};
use crate::{Result, machine::Program, wrk::Wrk};

pub(super) const PROGRAM: Program = Program {
    command: "nginx",
    version: "-v",
    package: "nginx",
};

pub(super) async fn start() -> Result<Contender> {
    let mut contender = Contender::new("nginx", "nginx: HTTP to HTTP, plain text")?;
    let upstream = contender.serve_http().await?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let folder = contender.folder.path().to_owned();
    let config = folder.join("nginx.conf");
    fs::write(&config, configuration(&folder, address, &upstream))?;
    let mut command = Command::new(PROGRAM.command);
    command
        .arg("-p")
        .arg(&folder)
        .arg("-c")
        .arg(&config)
        .arg("-e")
        .arg(folder.join("error.log"));
    contender
        .start_server(command, async |_| TcpStream::connect(address).await.ok())
        .await?;
    let wrk = Wrk::new(&folder, &address.to_string(), "bench:echo")?;
    contender.loads.push(Load::Http(wrk));
    Ok(contender)
}

/// Connections stay open on both sides for as long as a run takes.
fn configuration(folder: &Path, listen: SocketAddr, upstream: &str) -> String {
    let folder = folder.display();
    format!(
        r#"daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream echo {{
        server {upstream};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://echo;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"#
    )
}
