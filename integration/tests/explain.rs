//! Why calls of a subject go where they go: `nanod explain`, and what the library adds of what a
//! client knows by itself.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{process::Stdio, time::Duration};

use nano_client::{
    Client, Code, Context, Explanation, HandlerError, Known, Pick, Service, Source, Standing,
};
use nano_integration::{Cluster, Node, named, nanod, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What `nanod explain` says: its exit code, output and errors.
async fn run(node: &Node, arguments: &[&str]) -> (i32, String, String) {
    let mut command = nanod();
    command.arg("explain").args(arguments);
    command.args(["--node", &node.quic.to_string()]);
    command.arg("--state").arg(node.state());
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

async fn in_json(node: &Node, subject: &str) -> (i32, Value) {
    let (code, out, err) = run(node, &[subject, "--json"]).await;
    (code, serde_json::from_str(&out).expect(&err))
}

/// A client that calls through its node.
async fn caller(node: &Node) -> Client {
    Client::connect(node.options().direct(false)).await.unwrap()
}

fn hold(client: &Client) -> JoinHandle<()> {
    let client = client.clone();
    tokio::spawn(async move {
        let _ = client.act::<_, Value>("a:1", &json!({"Do": "hold"})).await;
    })
}

/// How an instance stands, once it stands so.
async fn until_pick(client: &Client, instance: &str, pick: Pick) -> Standing {
    until(&format!("{instance} to be {pick}"), async || {
        let explained = client.explain("a:1").await.unwrap().node.unwrap();
        let mut listed = explained.winner?.listed.into_iter();
        listed.find(|standing| standing.instance.to_string() == instance && standing.pick == pick)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_pattern_wins_and_others_lose_or_miss() {
    let node = Node::start().await;
    let maths = node.service("one").pattern("role:math");
    let one = maths.pattern("role:math,cmd:sum").start().await;
    let two = node.service("two").pattern("role:math,cmd:sum,left:1");
    let _two = two.pattern("role:moth,cmd:sum").start().await;

    let (code, out, err) = run(&node, &["role:math, cmd:sum,x:2"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "subject    role:math,cmd:sum,x:2");
    assert_eq!(
        lines[1],
        "winner     role:math,cmd:sum: the pattern with the most fields of those that match"
    );
    let short = &one.instance[..8];
    assert!(lines[2].starts_with(&format!(
        "instance   {short} client/local here ready, may be picked, 0 calls, "
    )));
    assert!(lines[2].ends_with("known by its session, now"), "{out}");
    assert_eq!(
        lines[3..],
        [
            "runner-up  role:math: matches with fewer fields, 1 instance",
            "near miss  role:moth,cmd:sum: its field 1 is role:moth, not role:math, 1 instance",
            "near miss  role:math,cmd:sum,left:1: its field 3 is left:1, not x:2, 1 instance",
        ],
        "{out}"
    );

    let (code, explained) = in_json(&node, "role:math,cmd:sum,x:2").await;
    assert_eq!(code, 0);
    assert_eq!(explained["winner"]["pattern"], "role:math,cmd:sum");
    let listed = &explained["winner"]["listed"][0];
    assert_eq!(listed["instance"], one.instance);
    assert_eq!(
        (&listed["pick"], &listed["source"]),
        (&json!("yes"), &json!("session"))
    );
    assert_eq!(
        explained["runners_up"],
        json!([{"pattern": "role:math", "instances": 1}])
    );
    let near = &explained["near_misses"][1];
    assert_eq!(near["pattern"], "role:math,cmd:sum,left:1");
    assert_eq!((&near["field"], &near["found"]), (&json!(3), &json!("x:2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_matches_nothing_or_is_none_is_said() {
    let node = Node::start().await;
    let _one = node
        .service("one")
        .pattern("role:math,cmd:sum")
        .start()
        .await;
    let (code, out, _) = run(&node, &["role:math,cmd:summ"]).await;
    assert_eq!(code, 4);
    assert!(
        out.contains("winner     none: no registered pattern matches\n"),
        "{out}"
    );
    assert!(
        out.contains("its field 2 is cmd:sum, not cmd:summ"),
        "{out}"
    );
    let (code, out, _) = run(&node, &["role:math"]).await;
    assert_eq!(code, 4);
    assert!(out.contains("the subject has no field 2, cmd:sum"), "{out}");
    let (code, explained) = in_json(&node, "x").await;
    assert_eq!((code, &explained["winner"]), (4, &Value::Null));
    let (code, out, err) = run(&node, &["a,,b"]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("the subject is none: field 2"), "{err}");
    let mut nobody = nanod();
    nobody.args(["explain", "a", "--node", "127.0.0.1:9"]);
    let nobody = nobody.arg("--state").arg(node.state()).output().await;
    assert_eq!(nobody.unwrap().status.code(), Some(3));
    let failure = caller(&node).await.explain("").await.unwrap_err();
    assert_eq!(failure.code, Code::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instance_says_why_it_is_not_picked() {
    let node = Node::start().await;
    let client = caller(&node).await;
    let full = node.service("full").pattern("a:1").max_concurrent(1);
    let full = full.start().await;
    let held = hold(&client);
    let standing = until_pick(&client, &full.instance, Pick::Full).await;
    assert_eq!((standing.in_flight, standing.source), (1, Source::Session));
    let (_, out, _) = run(&node, &["a:1"]).await;
    assert!(
        out.contains("it has as many calls as it takes, 1 of 1 calls"),
        "{out}"
    );

    let mut well = node.service("well").pattern("a:1").start().await;
    let bad = node.service("bad").pattern("a:1").panics().start().await;
    let ejected = until("the bad one to be ejected", async || {
        let _ = client.act::<_, Value>("a:1", &json!({"Do": "name"})).await;
        let explained = client.explain("a:1").await.unwrap().node.unwrap();
        let mut listed = explained.winner?.listed.into_iter();
        listed.find(|standing| standing.pick == Pick::Ejected)
    })
    .await;
    assert_eq!(ejected.instance.to_string(), bad.instance);
    assert!(ejected.ejected().unwrap() <= Duration::from_secs(60));
    until("an answer of the good one", async || {
        client
            .act::<_, Value>("a:1", &json!({"Do": "name"}))
            .await
            .ok()
    })
    .await;
    let answered = until_pick(&client, &well.instance, Pick::Yes).await;
    assert!(answered.latency_us.is_some());

    // It holds a call and says nothing any more.
    full.freeze();
    let silent = until_pick(&client, &full.instance, Pick::Silent).await;
    assert_eq!(silent.in_flight, 1);
    full.thaw();
    until_pick(&client, &full.instance, Pick::Full).await;
    held.abort();

    well.process.kill().await;
    let lost = until_pick(&client, &well.instance, Pick::Lost).await;
    assert_eq!(lost.source, Source::LostSession);
    let later = until("time to pass", async || {
        let later = until_pick(&client, &well.instance, Pick::Lost).await;
        (later.age_ms > lost.age_ms).then_some(later)
    });
    assert!(later.await.age() > lost.age());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_known_from_the_disk_until_it_comes_back() {
    let mut node = Node::builder().flag("--grace-ms", 60_000).start().await;
    let mut one = node.service("one").pattern("a:1").start().await;
    one.process.kill().await;
    node.process.kill().await;
    let node = node.start_again().await;
    let standing = until_pick(&caller(&node).await, &one.instance, Pick::Lost).await;
    assert_eq!(standing.source, Source::Disk);
    let (code, out, _) = run(&node, &["a:1"]).await;
    assert_eq!(code, 0);
    assert!(
        out.contains("known from the node's disk, which was read "),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_has_is_told_with_how_that_does() {
    let cluster = Cluster::apart(2).await;
    let never = |_: Context, _: Value| std::future::pending::<Result<Value, HandlerError>>();
    let service = Service::builder().on("a:1", never);
    let service = service.start(cluster.at(0)).await.unwrap();
    let client = cluster.client(1).await;
    let instance = service.instance().to_string();
    let ready = until_pick(&client, &instance, Pick::Yes).await;
    assert_eq!((ready.source, ready.age_ms), (Source::Redis, 0));

    cluster.cut_from_redis(1, nano_integration::Way::Silent);
    until("its knowledge to grow old", async || {
        let old = until_pick(&client, &instance, Pick::Yes).await;
        (old.age_ms > 0).then_some(())
    })
    .await;
    // A node that leaves lets the calls that came by it end.
    let held = hold(&client);
    until("the call", async || {
        let standing = until_pick(&client, &instance, Pick::Yes).await;
        (standing.in_flight == 1).then_some(())
    })
    .await;
    cluster.nodes[0].process.signal(Signal::TERM);
    until_pick(&client, &instance, Pick::Leaving).await;
    held.abort();
    until_pick(&client, &instance, Pick::NoWay).await;
    drop(service);
}

/// What a client knows by itself.
async fn own(client: &Client) -> Option<Known> {
    let hasty = client.with_timeout(Duration::from_millis(200));
    let explanation: Explanation = hasty.explain("a:1,x:2").await.unwrap();
    explanation.own
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_what_it_knows_by_itself_and_how_old_that_is() {
    let mut node = Node::start().await;
    let _one = named("a:1", "one").start(node.options()).await.unwrap();
    let client = Client::connect(node.options()).await.unwrap();
    assert_eq!(own(&client).await, None);
    let known = until("the client to call directly", async || {
        client.act::<_, Value>("a:1,x:2", &json!({})).await.unwrap();
        let known = own(&client).await?;
        known.listed[0].is_connected.then_some(known)
    })
    .await;
    assert_eq!((known.pattern.as_str(), known.is_whole), ("a:1", true));
    assert_eq!((known.instances, known.age), (1, Duration::ZERO));
    assert_eq!(known.listed[0].pick, Pick::Yes);
    assert!(known.listed[0].address.is_some());
    let explanation = client.explain("a:1,x:2").await.unwrap();
    let winner = explanation.node.unwrap().winner.unwrap();
    assert_eq!(winner.listed[0].address, known.listed[0].address);

    node.process.kill().await;
    let old = until("the loss of the session", async || {
        own(&client)
            .await
            .filter(|known| known.age > Duration::ZERO)
    })
    .await;
    let hasty = client.with_timeout(Duration::from_millis(200));
    let explanation = hasty.explain("a:1,x:2").await.unwrap();
    assert!(explanation.own.unwrap().age > old.age);
    assert!(explanation.node.is_err());
    // By that it is called.
    client.act::<_, Value>("a:1,x:2", &json!({})).await.unwrap();

    let _node = node.start_again().await;
    until("the answer to be given anew", async || {
        own(&client).await.filter(|known| known.age.is_zero())
    })
    .await;
}
