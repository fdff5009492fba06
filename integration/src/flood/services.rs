//! The services that behave: echoes in a process of their own, each on a session of its own.

use std::{future::pending, net::SocketAddr, path::PathBuf};

use clap::Args;
use nano_client::{Options, Service};
use nano_integration::{Node, Process};

use crate::{Result, round::this_program, runtime};

/// Services that the calls are spread over.
const SERVICES: usize = 4;

/// The node that is served.
#[derive(Args)]
pub(crate) struct Serve {
    #[arg(long)]
    node: SocketAddr,
    #[arg(long)]
    state: PathBuf,
}

/// The subject of a call, by its number.
pub(crate) fn subject(number: usize) -> String {
    format!("flood:echo,service:{}", number % SERVICES)
}

/// Starts the process; when this returns every pattern is registered.
pub(crate) async fn start(node: &Node) -> Result<Process> {
    let mut command = this_program()?;
    command
        .arg("serve")
        .args(["--node", &node.quic.to_string()])
        .arg("--state")
        .arg(node.state());
    let mut process = Process::start(&mut command);
    match process.line().await {
        Some(_) => Ok(process),
        None => Err("the services did not start".into()),
    }
}

/// Serves until it is killed.
pub(crate) fn run(serve: &Serve) -> Result<()> {
    runtime()?.block_on(async {
        let mut services = Vec::new();
        for number in 0..SERVICES {
            let builder = Service::builder().on_raw(&subject(number), |_, body| async { Ok(body) });
            let options = Options::default()
                .direct(false)
                .node(serve.node)
                .state(&serve.state);
            services.push(builder.start(options).await?);
        }
        println!("ready");
        pending().await
    })
}
