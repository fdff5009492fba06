//! A service for tests: each message says in `Do` what its handler is to do.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clap::Parser;
use nano_client::{Body, Context, HandlerError, Options, Secret, Service};
use nano_wire::message::Policy;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    node: String,
    #[arg(long)]
    state: PathBuf,
    #[arg(long)]
    tls: Option<PathBuf>,
    #[arg(long)]
    name: String,
    #[arg(long)]
    pattern: Vec<String>,
    /// Most calls at a time that it declares.
    #[arg(long)]
    max_concurrent: Option<u32>,
    /// The deadline of calls that name none that it declares.
    #[arg(long)]
    deadline_ms: Option<u32>,
    /// Panics at each message but `count`.
    #[arg(long)]
    panics: bool,
    /// Declares that a call may be given to it twice.
    #[arg(long)]
    idempotent: bool,
    /// Is only called through its node.
    #[arg(long)]
    through_node: bool,
    /// Where its callers are to find it.
    #[arg(long)]
    advertise: Option<String>,
    /// The cluster's secret, in place of certificates.
    #[arg(long)]
    secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "Do", rename_all = "lowercase")]
enum Task {
    /// Answers with the service's name and the message's own `Tag`.
    Name {
        #[serde(rename = "Tag", default)]
        tag: Value,
    },
    /// Answers after a while.
    Sleep {
        #[serde(rename = "Ms")]
        ms: u64,
        #[serde(rename = "Tag", default)]
        tag: Value,
    },
    /// Answers after a while in which it cannot be stopped.
    Block {
        #[serde(rename = "Ms")]
        ms: u64,
        #[serde(rename = "Tag", default)]
        tag: Value,
    },
    /// Never answers.
    Hold,
    /// Fails with a message and data.
    Fail,
    /// Panics.
    Panic,
    /// Asks another subject, and answers with its answer.
    Ask {
        #[serde(rename = "Subject")]
        subject: String,
        #[serde(rename = "Message")]
        message: Value,
    },
    /// Answers with so many bytes.
    Grow {
        #[serde(rename = "Bytes")]
        bytes: usize,
    },
    /// Adds its name, as a line, to a file, and never answers; or, once there is another file,
    /// adds that it has ended, and answers.
    Note {
        #[serde(rename = "File")]
        file: PathBuf,
        #[serde(rename = "Until")]
        until: Option<PathBuf>,
    },
    /// Answers with how many handlers have begun and were stopped before their end.
    Count,
}

static BEGUN: AtomicU64 = AtomicU64::new(0);
static STOPPED: AtomicU64 = AtomicU64::new(0);

/// Counts a handler that is dropped before it has ended.
struct Running(bool);

impl Drop for Running {
    fn drop(&mut self) {
        if !self.0 {
            STOPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn handle(
    context: Context,
    task: Task,
    name: String,
    panics: bool,
) -> Result<Value, HandlerError> {
    if let Task::Count = task {
        let (begun, stopped) = (BEGUN.load(Ordering::SeqCst), STOPPED.load(Ordering::SeqCst));
        return Ok(json!({"Begun": begun, "Stopped": stopped}));
    }
    BEGUN.fetch_add(1, Ordering::SeqCst);
    let mut running = Running(false);
    assert!(!panics, "out of mind");
    let answer = act(context, task, name).await;
    running.0 = true;
    answer
}

async fn act(context: Context, task: Task, name: String) -> Result<Value, HandlerError> {
    match task {
        Task::Name { tag } => Ok(json!({"Name": name, "Tag": tag})),
        Task::Sleep { ms, tag } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(json!({"Name": name, "Tag": tag}))
        }
        Task::Block { ms, tag } => {
            std::thread::sleep(Duration::from_millis(ms));
            Ok(json!({"Name": name, "Tag": tag}))
        }
        Task::Note { file, until } => {
            note(&file, &name);
            match until {
                Some(until) => wait_for(&until).await,
                None => std::future::pending().await,
            }
            note(&file, &format!("{name} has ended"));
            Ok(Value::Null)
        }
        Task::Hold => std::future::pending().await,
        Task::Fail => Err(HandlerError::new("out of luck").with_data(Body::json(r#"{"Luck":0}"#))),
        Task::Panic => panic!("out of mind"),
        Task::Ask { subject, message } => Ok(context.act(&subject, &message).await?),
        Task::Grow { bytes } => Ok(json!({"Filling": "x".repeat(bytes)})),
        Task::Count => Ok(Value::Null),
    }
}

async fn wait_for(file: &Path) {
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Adds a line to a file.
fn note(file: &Path, line: &str) {
    let file = File::options().create(true).append(true).open(file);
    let mut file = file.expect("the test's folder is there");
    writeln!(file, "{line}").expect("the test's folder can be written");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut options = Options::default()
        .node(arguments.node)
        .state(arguments.state)
        .direct(!arguments.through_node);
    options.tls = arguments.tls;
    options.advertise = arguments.advertise;
    if let Some(secret) = arguments.secret {
        options = options.cluster_secret(Secret::new(secret)?);
    }
    let policy = Policy {
        max_concurrent: arguments.max_concurrent,
        idempotent: arguments.idempotent,
        deadline_ms: arguments.deadline_ms,
        ..Policy::default()
    };
    let mut builder = Service::builder().policy(policy);
    for pattern in &arguments.pattern {
        let name = arguments.name.clone();
        builder = builder.on(pattern, move |context, task| {
            handle(context, task, name.clone(), arguments.panics)
        });
    }
    let service = builder.start(options).await?;
    let instance = service.instance();
    // Who hears that it is ready may end it at once, which it has to hear.
    let tell = async { println!("ready {instance}") };
    let (ended, ()) = tokio::join!(service.run(), tell);
    ended?;
    Ok(())
}
