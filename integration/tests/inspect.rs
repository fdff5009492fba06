//! What a node tells of its routes and of itself: `nanod routes`, `nanod status`, and the
//! library's way to ask the same.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    collections::BTreeSet,
    process::{Output, Stdio},
};

use nano_client::{
    Client, Context, Options, Place, Route, RouteState, Secret, Service, ServiceBuilder,
};
use nano_integration::{Node, Peer, Process, Redis, nanod, until, until_status};
use nano_wire::{
    Code, Failure,
    inspect::{ListRoutes, Routes},
    message::Control,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

const SECRET: &str = "what-every-party-of-the-test-knows";

fn serving(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> ServiceBuilder {
    let answer = |_: Context, _: Value| async { Ok(json!({})) };
    let builder = Service::builder();
    let patterns = patterns.into_iter();
    patterns.fold(builder, |builder, pattern| {
        builder.on(pattern.as_ref(), answer)
    })
}

/// A command of the program, told where the node is.
fn about(node: &Node, arguments: &[&str]) -> Command {
    let mut command = nanod();
    command.args(arguments);
    command.args(["--node", &node.quic.to_string()]);
    command.arg("--state").arg(node.state());
    command
}

async fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// All routes that a client is told of.
async fn list(client: &Client, prefix: Option<&str>) -> Vec<Route> {
    let mut routes = client.routes(prefix).unwrap();
    let mut listed = Vec::new();
    while let Some(page) = routes.next_page().await.unwrap() {
        listed.extend(page);
    }
    listed
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_listed_in_words_and_in_json() {
    let node = Node::start().await;
    let (code, out, err) = run(&mut about(&node, &["routes"])).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let service = node
        .service("one")
        .pattern("role:math,cmd:sum")
        .pattern("role:mathx");
    let service = service.pattern("role:math").start().await;

    let (code, out, _) = run(&mut about(&node, &["routes"])).await;
    let lines: Vec<_> = out.lines().collect();
    let columns: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!((code, lines.len()), (0, 4), "{out}");
    assert_eq!(
        &columns[..5],
        ["PATTERN", "INSTANCE", "IDENTITY", "AT", "STATE"]
    );
    let at = lines[0].find("INSTANCE").unwrap();
    for (line, pattern) in lines[1..]
        .iter()
        .zip(["role:math", "role:math,cmd:sum", "role:mathx"])
    {
        assert_eq!(line[..at].trim_end(), pattern);
        assert!(service.instance.starts_with(&line[at..at + 8]), "{line}");
        assert!(
            line.contains(" here ") && line.contains(" ready "),
            "{line}"
        );
    }

    let (code, out, _) = run(&mut about(&node, &["routes", "--json", " role:math "])).await;
    let routes: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let patterns: Vec<_> = routes.iter().map(|route| &route["pattern"]).collect();
    assert_eq!(code, 0);
    assert_eq!(patterns, ["role:math", "role:math,cmd:sum"]);
    for route in routes {
        assert_eq!(route["instance"], service.instance);
        assert_eq!(route["state"], "ready");
        assert_eq!(
            (&route["place"], &route["node"]),
            (&json!("here"), &Value::Null)
        );
        assert_eq!(route["policy"]["idempotent"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_said_clearly() {
    let (node, stranger) = (Node::start().await, Node::start().await);
    for command in [
        &["routes", "a,,b"][..],
        &["routes", ""],
        &["routes", "--watch", "a\tb"],
    ] {
        let (code, out, err) = run(&mut about(&node, command)).await;
        assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
        assert!(err.contains("the prefix is none: "), "{err}");
    }
    for command in ["routes", "status"] {
        let mut nobody = nanod();
        nobody
            .args([command, "--node", "127.0.0.1:9"])
            .arg("--state")
            .arg(node.state());
        let (code, _, err) = run(&mut nobody).await;
        assert_eq!(code, 3);
        assert!(
            err.contains("no session with the node at 127.0.0.1:9"),
            "{err}"
        );
        let mut distrusted = nanod();
        let at = node.quic.to_string();
        distrusted
            .args([command, "--node", &at])
            .arg("--state")
            .arg(stranger.state());
        let (code, _, err) = run(&mut distrusted).await;
        assert_eq!(code, 3);
        assert!(err.contains("do not trust each other"), "{err}");
    }
}

/// Its next line without the time, which it begins with.
async fn change(watch: &mut Process) -> String {
    let line = watch.line().await.expect("the watch goes on");
    let (time, change) = line.split_once(' ').unwrap();
    assert!(
        time.len() == "00:00:00Z".len() && time.ends_with('Z'),
        "{line}"
    );
    change.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_what_comes_changes_and_goes() {
    let node = Node::builder().flag("--grace-ms", 500).start().await;
    let mut one = node.service("one").pattern("a").start().await;
    let mut watch = Process::start(&mut about(&node, &["routes", "--watch", "a"]));
    let mut in_json = Process::start(&mut about(&node, &["routes", "--watch", "--json"]));
    let (short, identity) = (one.instance[..8].to_owned(), "client/local");
    assert_eq!(
        change(&mut watch).await,
        format!("+ a {short} {identity} here ready")
    );
    let _other = node.service("other").pattern("b:1").start().await;
    let two = node.service("two").pattern("a,b:1").start().await;
    let came = change(&mut watch).await;
    assert!(
        came.starts_with(&format!("+ a,b:1 {}", &two.instance[..8])),
        "{came}"
    );
    one.process.kill().await;
    assert_eq!(
        change(&mut watch).await,
        format!("~ a {short} {identity} at here -> nowhere, state ready -> lost")
    );
    assert_eq!(change(&mut watch).await, format!("- a {short} {identity}"));
    watch.signal(Signal::INT);
    assert!(watch.ended().await.success());

    let mut seen = Vec::new();
    while seen.len() < 5 {
        let line = in_json.line().await.expect("the watch goes on");
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        seen.push((text("change"), text("pattern"), text("state")));
    }
    let expected = [
        ("added", "a", "ready"),
        ("added", "b:1", "ready"),
        ("added", "a,b:1", "ready"),
        ("changed", "a", "lost"),
        ("removed", "a", "lost"),
    ];
    for line in expected {
        let line = (line.0.to_owned(), line.1.to_owned(), line.2.to_owned());
        assert!(seen.contains(&line), "{line:?} is not in {seen:?}");
    }
    in_json.signal(Signal::TERM);
    assert!(in_json.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_when_its_node_is_started_anew() {
    let mut node = Node::start().await;
    let one = node.service("one").pattern("a:1").start().await;
    let mut watch = Process::start(&mut about(&node, &["routes", "--watch"]));
    assert!(change(&mut watch).await.starts_with("+ a:1 "));
    node.process.kill().await;
    let node = node.start_again().await;
    let _two = node.service("two").pattern("a:2").start().await;
    // The first may be shown as lost before it is back.
    until("what came later", async || {
        let line = change(&mut watch).await;
        line.starts_with("+ a:2 ").then_some(())
    })
    .await;
    drop(one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_whole_while_routes_come_and_go() {
    const STAY: usize = 20_000;
    let node = Node::start().await;
    let stays = (0..STAY).map(|number| format!("stays:{number}"));
    let _service = serving(stays.clone()).start(node.options()).await.unwrap();
    let client = node.client().await;
    let options = node.options();
    let others = tokio::spawn(async move {
        loop {
            let passing = (0..200).map(|number| format!("stays:{number},passing:1"));
            let passing = serving(passing).start(options.clone()).await.unwrap();
            passing.drain().await;
        }
    });
    for _ in 0..3 {
        let mut routes = client.routes(None).unwrap();
        let (mut listed, mut pages) = (Vec::new(), 0);
        while let Some(page) = routes.next_page().await.unwrap() {
            listed.extend(page.into_iter().map(|route| route.pattern));
            pages += 1;
        }
        assert!(pages > 20, "{pages} pages");
        listed.retain(|pattern| !pattern.contains("passing"));
        assert_eq!(listed.len(), STAY);
        assert_eq!(
            listed.into_iter().collect::<BTreeSet<_>>(),
            stays.clone().collect()
        );
    }
    others.abort();
    // Whoever reads the list stops in the middle of it, and nothing is said about that.
    let list = about(&node, &["routes", "--json"]);
    let list = list.as_std();
    let mut piped = Command::new("bash");
    piped.args([
        "-c",
        r#""$0" "$@" | head -n 1 >&2; exit "${PIPESTATUS[0]}""#,
    ]);
    piped.arg(list.get_program()).args(list.get_args());
    let (code, _, err) = run(&mut piped).await;
    assert_eq!((code, err.lines().count()), (0, 1), "{err}");
}

/// Some nodes that share a Redis.
struct Cluster {
    _redis: Redis,
    nodes: Vec<Node>,
}

impl Cluster {
    async fn start(nodes: usize) -> Self {
        let redis = Redis::start().await;
        let mut started = Vec::new();
        for number in 0..nodes {
            let node = Node::builder()
                .flag("--redis", redis.url())
                .flag("--name", format!("n{number}"))
                .flag("--grace-ms", 30_000)
                .variable("NANO_CLUSTER_SECRET", SECRET);
            started.push(node.start().await);
        }
        Self {
            _redis: redis,
            nodes: started,
        }
    }

    fn at(&self, node: usize) -> Options {
        Options::default()
            .node(self.nodes[node].quic)
            .state("/nonexistent")
            .cluster_secret(Secret::new(SECRET).unwrap())
            .direct(false)
    }

    async fn client(&self, node: usize) -> Client {
        Client::connect(self.at(node)).await.unwrap()
    }

    /// What `nanod status` says of a node, in words.
    async fn words(&self, node: usize) -> String {
        let mut command = nanod();
        command.args(["status", "--node", &self.nodes[node].quic.to_string()]);
        command.env("NANO_CLUSTER_SECRET", SECRET);
        let (code, words, err) = run(&mut command).await;
        assert_eq!((code, err.as_str()), (0, ""));
        words
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_redis_says_how_it_does() {
    let node = Node::start().await;
    let mut one = node
        .service("one")
        .pattern("a:1")
        .pattern("a:2")
        .start()
        .await;
    let (code, words, _) = run(&mut about(&node, &["status"])).await;
    assert_eq!(code, 0);
    for line in [
        "patterns     2\n",
        "instances    1\n",
        "Redis        none is configured\n",
    ] {
        assert!(words.contains(line), "{words}");
    }
    let (code, status, _) = run(&mut about(&node, &["status", "--json"])).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(code, 0);
    assert_eq!(status["quic"], node.quic.to_string());
    assert_eq!(status["http"], node.http.to_string());
    assert_eq!(
        (&status["sessions"], &status["redis"]),
        (&json!(2), &Value::Null)
    );

    let client = Client::connect(node.options().direct(false)).await.unwrap();
    let held = client.clone();
    let call =
        tokio::spawn(async move { held.act::<_, Value>("a:1", &json!({"Do": "hold"})).await });
    until_status(&client, "the call", |status| status.in_flight == 1).await;
    assert_eq!(list(&client, Some("a:1")).await[0].in_flight, 1);
    call.abort();
    until_status(&client, "the call to end", |status| status.in_flight == 0).await;
    one.process.kill().await;
    let lost = until_status(&client, "the loss", |status| status.suspect == 1).await;
    assert_eq!((lost.instances, lost.patterns), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_says_at_which_node_it_is() {
    let mut cluster = Cluster::start(2).await;
    let _service = serving(["a:1"]).start(cluster.at(0)).await.unwrap();
    let (here, there) = (cluster.client(0).await, cluster.client(1).await);
    assert_eq!(list(&here, None).await[0].place, Place::Here);
    let mut routes = there.routes(None).unwrap();
    let ready = until("the route to be ready", async || {
        let page = routes.next_page().await.unwrap().unwrap_or_default();
        let ready = page
            .into_iter()
            .find(|route| route.state == RouteState::Ready);
        if ready.is_none() {
            routes.changed().await.unwrap();
        }
        ready
    })
    .await;
    let Place::Node { node, address } = ready.place else {
        panic!("{:?}", ready.place);
    };
    assert_eq!(node, here.status().await.unwrap().instance);
    assert_eq!(address, cluster.nodes[0].quic.to_string());

    cluster.nodes[0].process.kill().await;
    let suspect = until_status(&there, "the node to be suspect", |status| {
        (status.suspect, status.suspect_nodes) == (1, 1)
    });
    let suspect = suspect.await;
    assert_eq!((suspect.instances, suspect.listed[0].instance), (1, node));
    assert!(suspect.listed[0].is_suspect);
    // Its connection may not be known to be lost yet.
    let state = list(&there, None).await[0].state;
    assert!(
        matches!(state, RouteState::Suspect | RouteState::Unreachable),
        "{state}"
    );
    let words = cluster.words(1).await;
    assert!(
        words.contains("other nodes  1, 1 of them suspect\n"),
        "{words}"
    );
}

/// A list that waits for a change, as the node is asked for it.
fn unless(revision: u64) -> Control {
    Control::ListRoutes(ListRoutes {
        unless: Some(revision),
        ..ListRoutes::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_wait_are_few_and_end() {
    let node = Node::start().await;
    let peer = Peer::connect(&node).await;
    let (mut sender, mut receiver) = peer.greet().await;
    let all = Control::ListRoutes(ListRoutes::default());
    sender.send(1, &all).await.unwrap();
    let (1, Control::Routes(Routes { revision, .. })) = receiver.recv().await.unwrap() else {
        panic!("no page");
    };
    // One that knows another revision does not wait.
    sender.send(2, &unless(revision + 1)).await.unwrap();
    let (id, answer) = receiver.recv().await.unwrap();
    assert!(
        id == 2 && matches!(answer, Control::Routes(_)),
        "{answer:?}"
    );
    for id in 3..20 {
        sender.send(id, &unless(revision)).await.unwrap();
    }
    let (id, Control::Refused(failure)) = receiver.recv().await.unwrap() else {
        panic!("as many as one likes may wait");
    };
    let Failure { code, .. } = *failure;
    assert_eq!((id, code), (19, Code::Overloaded));
    // Nothing changes: each hears that in the end, and that it need not read anything.
    let mut unchanged = BTreeSet::new();
    while unchanged.len() < 16 {
        let (id, Control::Routes(page)) = receiver.recv().await.unwrap() else {
            panic!("no page");
        };
        assert_eq!(
            (page.revision, page.routes.len(), page.more),
            (revision, 0, false)
        );
        unchanged.insert(id);
    }
    assert_eq!(unchanged, (3..19).collect());
    // A change is told at once.
    sender.send(20, &unless(revision)).await.unwrap();
    let _service = node.service("one").pattern("a:1").start().await;
    let (id, Control::Routes(page)) = receiver.recv().await.unwrap() else {
        panic!("no page");
    };
    assert_eq!((id, page.routes.len()), (20, 1));
    assert_ne!(page.revision, revision);
}
