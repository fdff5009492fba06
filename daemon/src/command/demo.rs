//! `nanod demo`: a node on its embedded default, three services and a client, in one
//! process, for people who want to see a message travel, or many.

mod load;

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use nano_client::{CallError, Client, ConnectError, Context, HandlerError, Options, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{StopSignals, fail};
use crate::{
    cli::Demo,
    config::Config,
    node::{Node, StartError},
};

use load::Load;

/// Why the demo did not get to its end.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("cannot make a temporary state folder: {0}")]
    Folder(std::io::Error),
    #[error("{0}")]
    Config(#[from] crate::config::Errors),
    #[error("{0}\nTry: nanod demo --http 127.0.0.1:0 --quic 127.0.0.1:0 --admin 127.0.0.1:0")]
    Taken(StartError),
    #[error(transparent)]
    Start(StartError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("cannot wait for Ctrl-C: {0}")]
    Signal(std::io::Error),
}

pub(super) fn run(demo: Demo) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let shown = runtime
        .map_err(DemoError::Signal)
        .and_then(|runtime| runtime.block_on(show(demo)));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, error),
    }
}

async fn show(demo: Demo) -> Result<(), DemoError> {
    let folder = tempfile::Builder::new()
        .prefix("nanod-demo-")
        .tempdir()
        .map_err(DemoError::Folder)?;
    let state = folder.path().to_string_lossy().into_owned();
    let flags = BTreeMap::from([
        ("http", demo.http),
        ("quic", demo.quic),
        ("admin", demo.admin),
        ("state", state),
    ]);
    let config = Config::load(&flags)?;
    let mut options = Options::default().state(folder.path());
    options.cluster_secret = config.cluster_secret.clone();
    let node = Node::start(config).map_err(|error| match error {
        StartError::Bind(ref bind) if bind.is_in_use() => DemoError::Taken(error),
        error => DemoError::Start(error),
    })?;
    let mut stops = StopSignals::new().map_err(DemoError::Signal)?;
    node.tell_ready().map_err(DemoError::Start)?;
    println!(
        "A node serves HTTP on {} and QUIC on {}.",
        node.http(),
        node.quic()
    );
    // What its programs called by themselves the node would not see.
    let options = options.node(node.quic()).direct(!demo.load);
    let services = start_services(&options).await?;
    println!("Three services have registered their patterns.\n");
    let client = Client::connect(options.clone()).await?;
    call_each(&client).await?;
    print_curl(&node);
    let load = match demo.load {
        true => Some(Load::start(&options).await?),
        false => None,
    };
    if load.is_some() {
        print_what_to_look_at(&node, folder.path());
    }
    println!("\nCtrl-C stops it.");
    stops.next().await;
    if let Some(load) = load {
        load.end().await;
    }
    drop(client);
    for service in services {
        service.drain().await;
    }
    node.stop().await;
    Ok(())
}

const SUM: &str = "role:math,cmd:sum";
const POSITIVE: &str = "role:math,cmd:positive";
const ZERO: &str = "role:math,cmd:sum,return:zero";
const UNKNOWN: &str = "role:math,cmd:summary";

/// The messages of the demo: one a pattern, and one that nobody answers.
fn messages() -> [(&'static str, Value); 4] {
    [
        (SUM, json!({"Left": 1, "Right": 2})),
        (POSITIVE, json!({"Value": 1})),
        (ZERO, json!({"Left": 1, "Right": 2})),
        (UNKNOWN, json!({})),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Terms {
    left: i64,
    right: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Number {
    value: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<T> {
    result: T,
}

/// Adds what is positive, which it asks another service.
async fn sum(context: Context, terms: Terms) -> Result<Answer<i64>, HandlerError> {
    let mut result = 0_i64;
    for value in [terms.left, terms.right] {
        let positive: Answer<bool> = context.act(POSITIVE, &Number { value }).await?;
        if positive.result {
            result = result
                .checked_add(value)
                .ok_or_else(|| HandlerError::new("the sum is too large"))?;
        }
    }
    Ok(Answer { result })
}

async fn positive(_: Context, number: Number) -> Result<Answer<bool>, HandlerError> {
    Ok(Answer {
        result: number.value > 0,
    })
}

async fn zero(_: Context, _: Value) -> Result<Answer<i64>, HandlerError> {
    Ok(Answer { result: 0 })
}

async fn start_services(options: &Options) -> Result<Vec<Service>, ConnectError> {
    let builders = [
        Service::builder().on(SUM, sum),
        Service::builder().on(POSITIVE, positive),
        Service::builder().on(ZERO, zero),
    ];
    let mut services = Vec::new();
    for builder in builders {
        services.push(builder.start(options.clone()).await?);
    }
    Ok(services)
}

async fn call_each(client: &Client) -> Result<(), CallError> {
    println!("Calls over QUIC:");
    for (subject, message) in messages() {
        match client.act::<_, Value>(subject, &message).await {
            Ok(answer) => println!("  {subject} {message} -> {answer}"),
            Err(failure) if subject == UNKNOWN => println!("  {subject} -> {failure}"),
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

fn print_curl(node: &Node) {
    println!("\nThe same from another terminal:");
    for (subject, mut message) in messages() {
        message["Pattern"] = subject.into();
        println!("  curl -X POST http://{}/ -d '{message}'", node.http());
    }
    if let Some(admin) = node.admin() {
        println!("\nIts metrics, and whether it is ready:");
        println!("  curl http://{admin}/metrics");
        println!("  curl http://{admin}/readyz?verbose");
    }
}

fn print_what_to_look_at(node: &Node, state: &Path) {
    println!("\nIts services are kept busy. Two places show how:");
    if let Some(admin) = node.admin() {
        println!("  http://{admin}/");
    }
    let (quic, state) = (node.quic(), state.display());
    println!("  nanod top --node {quic} --state {state}");
}
