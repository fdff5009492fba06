//! Calls that are tried again when an instance dies in their handler: what is not declared
//! idempotent runs once at most, however the call has come. Each handler that runs notes it in
//! a file, which outlives its process.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{fs, path::PathBuf, time::Duration};

use nano_client::Client;
use nano_integration::{Cluster, Http, Node, ServiceBuilder, ServiceProcess, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Longer than it takes to see that an instance has died, more than once.
const LONG: Duration = Duration::from_secs(60);

/// How a test calls.
#[derive(Clone)]
enum Caller {
    Http(Http),
    Library(Client),
}

/// How a call ended.
#[derive(Debug)]
struct Failed {
    code: String,
    certainty: String,
}

impl Caller {
    async fn call(&self, subject: &str, message: Value) -> Result<Value, Failed> {
        match self {
            Self::Http(http) => {
                let mut message = message;
                message["Pattern"] = json!(subject);
                let timeout = format!("Nano-Timeout-Ms: {}\r\n", LONG.as_millis());
                let response = http.post_within(&message, &timeout, 2 * LONG).await;
                let header = |name| response.header(name).unwrap().to_owned();
                match response.status {
                    200 => Ok(response.json()),
                    _ => Err(Failed {
                        code: header("nano-error"),
                        certainty: header("nano-certainty"),
                    }),
                }
            }
            Self::Library(client) => {
                let answer = client.with_timeout(LONG).act(subject, &message).await;
                answer.map_err(|failure: nano_client::CallError| Failed {
                    code: failure.code.to_string(),
                    certainty: failure.certainty.to_string(),
                })
            }
        }
    }

    /// Waits until a call is answered by the service of this name.
    async fn hears(&self, subject: &str, name: &str) {
        until(&format!("an answer of {name}"), async || {
            let answer = self.call(subject, json!({"Do": "name"})).await.ok()?;
            (answer["Name"] == name).then_some(())
        })
        .await;
    }
}

/// A call that no handler answers.
struct Held {
    call: JoinHandle<Result<Value, Failed>>,
    notes: PathBuf,
    _folder: TempDir,
}

impl Held {
    fn begin(caller: &Caller, subject: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        let (caller, message) = (caller.clone(), json!({"Do": "note", "File": notes}));
        Self {
            call: tokio::spawn(async move { caller.call(subject, message).await }),
            notes,
            _folder: folder,
        }
    }

    /// Who has run it.
    fn ran(&self) -> Vec<String> {
        let notes = fs::read_to_string(&self.notes).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    async fn has_run(&self, names: &[&str]) {
        until(&format!("{names:?} to have run it"), async || {
            (self.ran() == names).then_some(())
        })
        .await;
    }

    /// It has failed, and has been run by these alone.
    async fn has_failed(mut self, names: &[&str]) {
        let failed = (&mut self.call).await.unwrap().unwrap_err();
        assert_eq!(self.ran(), names, "{failed:?}");
        assert_eq!(failed.certainty, "maybe_executed", "{failed:?}");
        let is_expected = ["connection_lost", "no_instance"].contains(&failed.code.as_str());
        assert!(is_expected, "{failed:?}");
    }
}

/// Two idempotent instances die in the handler of one call, one after the other, among others
/// that are not idempotent and have joined since.
async fn only_the_idempotent_run_twice(caller: &Caller, service: impl Fn(&str) -> ServiceBuilder) {
    let start = async |name| service(name).pattern("a:1").start().await;
    let idempotent = async |name| service(name).idempotent().pattern("a:1").start().await;
    let mut first = idempotent("first").await;
    caller.hears("a:1", "first").await;
    let held = Held::begin(caller, "a:1");
    held.has_run(&["first"]).await;
    let mut second = idempotent("second").await;
    let mut others: Vec<ServiceProcess> = Vec::new();
    for name in ["x", "y", "z"] {
        others.push(start(name).await);
    }
    for name in ["second", "x", "y", "z"] {
        caller.hears("a:1", name).await;
    }
    first.process.kill().await;
    held.has_run(&["first", "second"]).await;
    second.process.kill().await;
    held.has_failed(&["first", "second"]).await;
}

/// One that is not idempotent has left its pattern to one that is, and dies in its last call.
async fn what_was_not_idempotent_is_not_tried_again(
    caller: &Caller,
    service: impl Fn(&str) -> ServiceBuilder,
) {
    let mut leaving = service("leaving").pattern("b:1").start().await;
    caller.hears("b:1", "leaving").await;
    let held = Held::begin(caller, "b:1");
    held.has_run(&["leaving"]).await;
    let staying = service("staying").idempotent().pattern("b:1").start().await;
    leaving.process.signal(rustix::process::Signal::TERM);
    let mut in_a_row = 0;
    until("no answers but of the one that stays", async || {
        let answer = caller.call("b:1", json!({"Do": "name"})).await.ok()?;
        in_a_row = match answer["Name"] == "staying" {
            true => in_a_row + 1,
            false => 0,
        };
        (in_a_row == 20).then_some(())
    })
    .await;
    leaving.process.kill().await;
    held.has_failed(&["leaving"]).await;
    drop(staying);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_only_the_idempotent_run_twice() {
    let node = Node::start().await;
    let caller = Caller::Http(node.http());
    tokio::join!(
        only_the_idempotent_run_twice(&caller, |name| node.service(name)),
        what_was_not_idempotent_is_not_tried_again(&caller, |name| node.service(name)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_node_only_the_idempotent_run_twice() {
    let node = Node::start().await;
    let caller = Caller::Library(node.client().await);
    tokio::join!(
        only_the_idempotent_run_twice(&caller, |name| node.service(name)),
        what_was_not_idempotent_is_not_tried_again(&caller, |name| node.service(name)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_node_only_the_idempotent_run_twice() {
    let node = Node::start().await;
    let caller = Caller::Library(node.client().await);
    let service = |name: &str| node.service(name).through_node();
    tokio::join!(
        only_the_idempotent_run_twice(&caller, service),
        what_was_not_idempotent_is_not_tried_again(&caller, service),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_through_a_node_only_learns_what_may_run_twice() {
    let node = Node::start().await;
    let client = Client::connect(node.options().direct(false)).await.unwrap();
    let caller = Caller::Library(client);
    tokio::join!(
        only_the_idempotent_run_twice(&caller, |name| node.service(name)),
        what_was_not_idempotent_is_not_tried_again(&caller, |name| node.service(name)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn through_two_nodes_only_the_idempotent_run_twice() {
    let cluster = Cluster::start(2).await;
    let caller = Caller::Http(cluster.nodes[0].http());
    let direct = cluster.at(0).direct(true);
    let library = Caller::Library(Client::connect(direct).await.unwrap());
    let service = |name: &str| cluster.service(1, name).through_node();
    tokio::join!(
        only_the_idempotent_run_twice(&caller, service),
        what_was_not_idempotent_is_not_tried_again(&library, service),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_in_a_subject_makes_no_other_route_of_it() {
    let node = Node::start().await;
    let charge = async |name| {
        let service = node.service(name).pattern("role:math,cmd:charge");
        service.start().await
    };
    let mut charging = [charge("one").await, charge("other").await];
    let math = node.service("math").idempotent().pattern("role:math");
    let _math = math.start().await;
    let held = Held::begin(&Caller::Http(node.http()), " role:math , cmd:charge ");
    let name = until("the call to run", async || held.ran().pop()).await;
    let running = usize::from(name == "other");
    charging[running].process.kill().await;
    held.has_failed(&[&name]).await;
}
