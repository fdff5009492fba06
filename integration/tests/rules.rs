//! Who may register and who may call what: each kind of rule, allowed and refused, at the node and
//! at the instance, over QUIC, over HTTP and without a node, also when the rules change.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{process::Output, sync::Arc, time::Duration};

use nano_client::{
    CallError, Certainty, Client, Code, ConnectError, Context, HandlerError, Hop, Service,
};
use nano_integration::{
    Authority, Cluster, Load, Node, Peer, Response, RulesFile, ask, go_nano::GoService, named,
    nanod, until, until_status,
};
use nano_tls::{Expect, Identity};
use nano_wire::{message::Control, transport};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const SHOP: &str = "client/shop";
const OTHER: &str = "client/other";

/// A node with rules, and parties of whatever names with it.
struct Scene {
    node: Node,
    rules: RulesFile,
    authority: Authority,
}

impl Scene {
    async fn start(rules: &str) -> Self {
        Self::with_tokens(rules, None).await
    }

    async fn with_tokens(rules: &str, tokens: Option<&RulesFile>) -> Self {
        let rules = RulesFile::new(rules);
        let authority = Authority::new();
        let mut node = Node::builder()
            .authority(&authority)
            .flag("--grace-ms", 600_000)
            .flag("--rules", rules.path().display());
        if let Some(tokens) = tokens {
            node = node.flag("--tokens-file", tokens.path().display());
        }
        Self {
            node: node.start().await,
            rules,
            authority,
        }
    }

    async fn register(&self, name: &str, pattern: &str) -> Result<Service, ConnectError> {
        let service = named(pattern, name).start(self.node.options_of(name));
        service.await
    }

    /// How a registration was refused.
    async fn refusal(&self, name: &str, pattern: &str) -> CallError {
        match self.register(name, pattern).await.err().unwrap() {
            ConnectError::Registration { failure, .. } => *failure,
            other => panic!("{other}"),
        }
    }

    /// A client that calls through the node.
    async fn client(&self, name: &str) -> Client {
        let options = self.node.options_of(name).direct(false);
        Client::connect(options).await.unwrap()
    }

    /// A client that calls instances without the node.
    async fn direct(&self, name: &str) -> Client {
        let options = self.node.options_of(name);
        Client::connect(options).await.unwrap()
    }

    /// Has the node read other rules now.
    fn change(&self, rules: &str) {
        self.rules.write(rules);
        self.node.process.signal(Signal::HUP);
    }

    /// Waits until a client has a connection with the only instance of a subject: where it is.
    async fn reached(
        &self,
        client: &Client,
        subject: &str,
    ) -> (Identity, nano_client::KnownInstance) {
        until("a connection without the node", async || {
            ask(client, subject).await.ok()?;
            let known = client.explain(subject).await.ok()?.own?;
            let instance = known.listed.first()?.clone();
            let identity = Identity::parse_uri(instance.identity.as_deref()?).ok()?;
            instance.is_connected.then_some((identity, instance))
        })
        .await
    }

    /// How an instance refuses a caller that comes by itself, whatever the node tells others.
    async fn refused_by(
        &self,
        (identity, instance): &(Identity, nano_client::KnownInstance),
        caller: &str,
        subject: &str,
    ) -> Option<CallError> {
        let tls = self
            .authority
            .tls(caller, Expect::Identity(identity.clone()));
        let address = instance.address.as_ref().unwrap().parse().unwrap();
        let peer = Peer::dial_at(address, tls, transport::config()).await;
        let peer = peer.unwrap();
        let (_sender, _receiver, answer) = peer.dial_instance(instance.instance).await;
        assert!(matches!(answer, Control::Welcome(_)), "{answer:?}");
        peer.call(subject, b"{}").await
    }
}

fn is_refused(failure: &CallError, hop: Hop, rule: &str) {
    let certainty = match hop {
        Hop::Instance => Certainty::Refused,
        Hop::Node | Hop::Caller => Certainty::NotSent,
    };
    assert_eq!(failure.code, Code::Forbidden, "{failure}");
    assert_eq!(
        (failure.hop, failure.certainty),
        (hop, certainty),
        "{failure}"
    );
    assert!(failure.message.contains(rule), "{failure}");
    assert!(
        failure.message.contains("; ask ops@example.org"),
        "{failure}"
    );
}

async fn forbidden(client: &Client, subject: &str) -> CallError {
    let failure = ask(client, subject).await.unwrap_err();
    assert_eq!(failure.code, Code::Forbidden, "{failure}");
    failure
}

/// Waits until a client may not call a subject.
async fn until_forbidden(client: &Client, subject: &str) -> CallError {
    until("the call to be forbidden", async || {
        let failure = ask(client, subject).await.err()?;
        (failure.code == Code::Forbidden).then_some(failure)
    })
    .await
}

fn code(response: &Response) -> (u16, Option<&str>) {
    (response.status, response.header("nano-error"))
}

const OPEN: &str = r#"contact = "ops@example.org"
[[own]]
prefix = "role:math"
identity = "service/math"
[[register]]
identity = "service/cart*"
patterns = ["role:cart"]
[[call]]
identity = "client/shop"
patterns = ["role:math", "role:cart"]
[[call]]
identity = "service/math"
patterns = ["role:cart"]
[[own]]
prefix = "a:1,b:1"
identity = "service/math"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_is_registered_by_whom_the_rules_let() {
    let scene = Scene::start(OPEN).await;
    let _math = scene
        .register("service/math", "role:math,cmd:sum")
        .await
        .unwrap();
    let _cart = scene.register("service/cart-2", "role:cart").await.unwrap();
    let _free = scene.register("service/any", "role:free").await.unwrap();
    // Shorter than what is owned: it gets what the owner does not serve.
    let _short = scene.register("service/any", "a:1").await.unwrap();
    for (name, pattern, rule) in [
        (
            "service/any",
            "role:math",
            "line 2, says that \"role:math\" is owned by service/math",
        ),
        ("service/any", "role:math,cmd:sum,return:zero", "line 2,"),
        ("service/mathx", "role:math,cmd:sum", "line 2,"),
        (
            "service/any",
            "role:cart,x:1",
            "line 5, grants \"role:cart\" to service/cart*",
        ),
        ("client/cart", "role:cart", "line 5,"),
    ] {
        let failure = scene.refusal(name, pattern).await;
        is_refused(&failure, Hop::Node, rule);
    }
    let client = scene.client(SHOP).await;
    assert_eq!(
        ask(&client, "role:math,cmd:sum,return:zero").await.unwrap(),
        "service/math"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_called_by_whom_the_rules_let() {
    let tokens = RulesFile::new("client/shop 0123456789abcdef\nclient/other fedcba9876543210\n");
    let scene = Scene::with_tokens(OPEN, Some(&tokens)).await;
    let _cart = scene.register("service/cart", "role:cart").await.unwrap();
    let nested = |context: Context, subject: Value| async move {
        let subject = subject["Subject"].as_str().unwrap_or_default().to_owned();
        context
            .act::<_, Value>(&subject, &json!({}))
            .await
            .map_err(HandlerError::from)
    };
    let math = Service::builder()
        .on("role:math", nested)
        .on("free:1", nested);
    let _math = math
        .start(scene.node.options_of("service/math").direct(false))
        .await
        .unwrap();
    let free = Service::builder().on("free:2", nested);
    let _free = free
        .start(scene.node.options_of("service/free").direct(false))
        .await
        .unwrap();

    // Over QUIC.
    let (shop, other) = (scene.client(SHOP).await, scene.client(OTHER).await);
    assert_eq!(ask(&shop, "role:cart,x:1").await.unwrap(), "service/cart");
    let failure = forbidden(&other, "role:cart,x:1").await;
    is_refused(
        &failure,
        Hop::Node,
        "line 8, grants \"role:cart\" to client/shop",
    );
    // It hears nothing of what there is.
    let nobody = forbidden(&other, "role:cart,nobody:1").await;
    assert!(
        nobody.pattern.is_none() && nobody.instance.is_none(),
        "{nobody:?}"
    );

    // By a handler, which is its service and not its caller.
    let cart = json!({"Subject": "role:cart"});
    let answer: Value = other.act("free:1", &cart).await.unwrap();
    assert_eq!(answer["Name"], "service/cart");
    let failure = shop.act::<_, Value>("free:2", &cart).await.unwrap_err();
    assert_eq!(failure.code, Code::HandlerFailed, "{failure}");
    assert!(
        failure.message.contains("service/free may not call"),
        "{failure}"
    );

    // Over HTTP, as who has no token and as whose token is shown.
    let http = scene.node.http();
    let message = json!({"Pattern": "role:cart"});
    let as_token = async |token: &str| {
        let headers = format!("Accept: */*\r\nAuthorization: Bearer {token}\r\n");
        http.post_with(&message, &headers).await
    };
    let local = http.post(&message).await;
    assert_eq!(code(&local), (403, Some("forbidden")));
    let text = local.json()["error"]["message"].to_string();
    assert!(
        text.contains("client/http-local may not call") && text.contains("line 8"),
        "{text}"
    );
    assert_eq!(as_token("0123456789abcdef").await.status, 200);
    assert_eq!(
        code(&as_token("fedcba9876543210").await),
        (403, Some("forbidden"))
    );
    let wrong = as_token("0123456789abcdee").await;
    assert_eq!(code(&wrong), (401, Some("unauthenticated")));
    assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));
    let free = json!({"Pattern": "free:1", "Subject": "role:cart"});
    assert_eq!(http.post(&free).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_refuses_who_comes_without_a_node_and_may_not_call() {
    let scene = Scene::start(OPEN).await;
    let _cart = scene.register("service/cart", "role:cart").await.unwrap();
    let shop = scene.direct(SHOP).await;
    let reached = scene.reached(&shop, "role:cart").await;
    assert!(
        scene
            .refused_by(&reached, SHOP, "role:cart")
            .await
            .is_none()
    );
    let failure = scene
        .refused_by(&reached, OTHER, "role:cart,x:1")
        .await
        .unwrap();
    is_refused(
        &failure,
        Hop::Instance,
        "line 8, grants \"role:cart\" to client/shop",
    );
    // Who may not call it is not told where it is.
    let other = scene.direct(OTHER).await;
    is_refused(&forbidden(&other, "role:cart").await, Hop::Node, "line 8");
    assert!(other.explain("role:cart").await.unwrap().own.is_none());

    scene.change(&OPEN.replace("client/shop", "client/other"));
    until("the instance to know the new rules", async || {
        scene.refused_by(&reached, SHOP, "role:cart").await
    })
    .await;
    assert!(
        scene
            .refused_by(&reached, OTHER, "role:cart")
            .await
            .is_none()
    );
    until_forbidden(&shop, "role:cart").await;
    until("the other to be let in", async || {
        ask(&other, "role:cart").await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_rules_let_in_whom_they_name() {
    const CLOSED: &str = r#"default = "closed"
contact = "ops@example.org"
[[register]]
identity = "service/math"
patterns = ["role:math"]
[[call]]
identity = "client/*"
"#;
    let scene = Scene::start(CLOSED).await;
    let _math = scene.register("service/math", "role:math").await.unwrap();
    let closed = "no rule of ";
    is_refused(
        &scene.refusal("service/math", "role").await,
        Hop::Node,
        closed,
    );
    is_refused(
        &scene.refusal("service/other", "role:math").await,
        Hop::Node,
        "line 3",
    );
    let client = scene.client(OTHER).await;
    assert_eq!(ask(&client, "role:math").await.unwrap(), "service/math");
    let service = scene.client("service/other").await;
    is_refused(&forbidden(&service, "role:math").await, Hop::Node, closed);
    let direct = scene.direct(SHOP).await;
    let reached = scene.reached(&direct, "role:math").await;
    let failure = scene
        .refused_by(&reached, "service/other", "role:math")
        .await;
    is_refused(&failure.unwrap(), Hop::Instance, closed);
    let message = json!({"Pattern": "role:math"});
    assert_eq!(scene.node.http().post(&message).await.status, 200);
    scene.change(&CLOSED.replace("client/*", SHOP));
    until("HTTP to be closed", async || {
        (scene.node.http().post(&message).await.status == 403).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_change_under_load_and_cost_no_call_that_is_allowed() {
    const BOTH: &str = "[[call]]\nidentity = \"client/*\"\npatterns = [\"a:1\"]\n";
    const ONE: &str = "[[call]]\nidentity = \"client/shop\"\npatterns = [\"a:1\"]\n";
    let scene = Scene::start(BOTH).await;
    let _one = scene.register("service/one", "a:1").await.unwrap();
    let (by_node, direct) = (scene.client(SHOP).await, scene.direct(SHOP).await);
    let others = [scene.client(OTHER).await, scene.direct(OTHER).await];
    scene.reached(&direct, "a:1").await;
    scene.reached(&others[1], "a:1").await;
    let loads = [
        Load::paced(&by_node, "a:1", 2),
        Load::paced(&direct, "a:1", 2),
    ];
    for _ in 0..5 {
        scene.change(ONE);
        for other in &others {
            until_forbidden(other, "a:1").await;
        }
        // Without a signal: that the file is another is seen.
        scene.rules.write(BOTH);
        for other in &others {
            until("the other to be let in", async || {
                ask(other, "a:1").await.ok()
            })
            .await;
        }
    }
    for load in loads {
        load.runs(50).await;
        assert_eq!(load.end().await, Vec::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_is_no_longer_allowed_goes_and_comes_back_and_calls_in_flight_end() {
    const OWNED: &str = "[[own]]\nprefix = \"a:1\"\nidentity = \"service/owner\"\n";
    let scene = Scene::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let slow = {
        let gate = Arc::clone(&gate);
        move |_, _: Value| {
            let gate = Arc::clone(&gate);
            async move {
                let _open = gate.acquire_owned().await;
                Ok(json!({"Name": "slow"}))
            }
        }
    };
    let service = Service::builder().on("a:1", slow.clone()).on("b:1", slow);
    let _service = service
        .start(scene.node.options_of("service/one"))
        .await
        .unwrap();
    let client = scene.client(SHOP).await;
    let in_flight = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "a:1").await }
    });
    until_status(&client, "a call in flight", |status| status.in_flight == 1).await;
    scene.change(OWNED);
    let hasty = client.with_timeout(Duration::from_millis(200));
    until("the route to be taken out", async || {
        let failure = ask(&hasty, "a:1").await.err()?;
        (failure.code == Code::NoRoute).then_some(())
    })
    .await;
    gate.add_permits(1);
    assert_eq!(in_flight.await.unwrap().unwrap(), "slow");
    assert_eq!(ask(&client, "b:1").await.unwrap(), "slow");
    let _owner = scene.register("service/owner", "a:1").await.unwrap();
    assert_eq!(ask(&client, "a:1").await.unwrap(), "service/owner");
    scene.change("");
    until("the route to come back", async || {
        (ask(&client, "a:1").await.ok()? == "slow").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_no_longer_serve_leaves_the_load_to_others_and_costs_no_call() {
    const OWNED: &str = "[[own]]\nprefix = \"a:1\"\nidentity = \"service/owner\"\n";
    let scene = Scene::start("").await;
    let _owner = scene.register("service/owner", "a:1").await.unwrap();
    let _other = scene.register("service/other", "a:1").await.unwrap();
    let (by_node, direct) = (scene.client(SHOP).await, scene.direct(SHOP).await);
    let clients = [&by_node, &direct];
    let hear = async |client: &Client, name: &str| {
        until("an answer of the one", async || {
            (ask(client, "a:1").await.unwrap() == name).then_some(())
        })
        .await;
    };
    let loads = clients.map(|client| Load::paced(client, "a:1", 2));
    for _ in 0..3 {
        for client in clients {
            hear(client, "service/other").await;
        }
        scene.change(OWNED);
        for client in clients {
            until("the owner alone", async || {
                for _ in 0..20 {
                    if ask(client, "a:1").await.unwrap() != "service/owner" {
                        return None;
                    }
                }
                Some(())
            })
            .await;
        }
        scene.change("");
    }
    for load in loads {
        load.runs(50).await;
        assert_eq!(load.end().await, Vec::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_subject_to_the_rules_of_the_next_start() {
    let scene = Scene::start("").await;
    let service = scene.node.service("one").pattern("a:1").pattern("b:1");
    let mut service = service.start().await;
    service.process.kill().await;
    scene
        .rules
        .write("[[own]]\nprefix = \"a:1\"\nidentity = \"service/owner\"\n");
    let mut node = scene.node;
    node.process.kill().await;
    let node = node.start_again().await;
    let client = node.client().await;
    assert_eq!(ask(&client, "a:1").await.unwrap_err().code, Code::NoRoute);
    assert_eq!(
        ask(&client, "b:1").await.unwrap_err().code,
        Code::NoInstance
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_over_http_comes_back_with_the_rules() {
    const OWNED: &str = "[[own]]\nprefix = \"a:1\"\nidentity = \"service/owner\"\n";
    let mut scene = Scene::start("").await;
    let _service = GoService::named(scene.node.http, "a:1", "one").await;
    let answered = async |node: &Node, status: u16| {
        until("the status to be answered", async || {
            let answer = node.http().post(&json!({"Pattern": "a:1"})).await;
            (answer.status == status).then_some(())
        })
        .await;
    };
    answered(&scene.node, 200).await;
    scene.change(OWNED);
    answered(&scene.node, 404).await;
    scene.change("");
    answered(&scene.node, 200).await;

    // It registers only once, so it is kept over a start too.
    scene.change(OWNED);
    answered(&scene.node, 404).await;
    scene.node.process.kill().await;
    scene.node = scene.node.start_again().await;
    answered(&scene.node, 404).await;
    scene.change("");
    answered(&scene.node, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_may_no_longer_serve_one_pattern_serves_the_others() {
    let scene = Scene::start("").await;
    let both = named("a:1", "both").on("b:1", |_, _: Value| async { Ok(json!({})) });
    let options = scene.node.options_of("service/both");
    let _both = both.start(options).await.unwrap();
    let mut node = scene.node;
    node.process.kill().await;
    scene
        .rules
        .write("[[own]]\nprefix = \"a:1\"\nidentity = \"service/owner\"\n");
    let node = node.start_again().await;
    let client = node.client().await;
    until("the service to be back", async || {
        ask(&client, "b:1").await.ok()
    })
    .await;
    assert_eq!(ask(&client, "a:1").await.unwrap_err().code, Code::NoRoute);
    // Who is new is told that it cannot serve what it is for.
    let thief = named("a:1", "thief").on("c:1", |_, _: Value| async { Ok(json!({})) });
    assert!(thief.start(node.options_of("service/thief")).await.is_err());
    assert_eq!(ask(&client, "c:1").await.unwrap_err().code, Code::NoRoute);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_keeps_the_rules_and_says_so_and_keeps_a_node_from_starting() {
    let bad = "[[own]]\nprefix = \"a,,b\"\nidentity = \"nobody\"\n[[cal]]\n";
    let scene = Scene::start("[[call]]\nidentity = \"client/shop\"\npatterns = [\"a:1\"]\n").await;
    let _one = scene.register("service/one", "a:1").await.unwrap();
    let other = scene.client(OTHER).await;
    forbidden(&other, "a:1").await;
    scene.change(bad);
    let said = scene
        .node
        .process
        .says("rules and tokens stay as they were")
        .await;
    assert!(said.contains("3 problems in the rules"), "{said}");
    forbidden(&other, "a:1").await;
    scene.change("");
    until("the good rules", async || ask(&other, "a:1").await.ok()).await;

    let rules = RulesFile::new(bad);
    let node = Node::builder().flag("--rules", rules.path().display());
    let (status, said) = node.refused().await;
    assert!(!status.success());
    for line in ["line 2:", "line 3:", "line 4:"] {
        assert!(said.contains(line), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_change_while_the_node_runs_and_are_never_shown() {
    const OLD: &str = "client/shop 0123456789abcdef\n";
    const NEW: &str = "client/shop fedcba9876543210\n";
    let tokens = RulesFile::new(OLD);
    let scene = Scene::with_tokens("", Some(&tokens)).await;
    let _one = scene.register("service/one", "a:1").await.unwrap();
    let http = scene.node.http();
    let status = async |token: &str| {
        let headers = format!("Authorization: Bearer {token}\r\n");
        http.post_with(&json!({"Pattern": "a:1"}), &headers)
            .await
            .status
    };
    assert_eq!(status("0123456789abcdef").await, 200);
    tokens.write(NEW);
    until("the new token", async || {
        (status("fedcba9876543210").await == 200).then_some(())
    })
    .await;
    assert_eq!(status("0123456789abcdef").await, 401);
    tokens.write("client/shop short-secret\n");
    let said = scene
        .node
        .process
        .says("rules and tokens stay as they were")
        .await;
    for secret in ["0123456789abcdef", "fedcba9876543210", "short-secret"] {
        assert!(!said.contains(secret), "{said}");
    }
    assert_eq!(status("fedcba9876543210").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_other_nodes_are_subject_to_the_rules() {
    let rules = RulesFile::new("[[own]]\nprefix = \"a:1\"\nidentity = \"service/owner\"\n");
    let cluster = Cluster::start_with(2, |number, node| match number {
        0 => node.flag("--rules", rules.path().display()),
        _ => node,
    })
    .await;
    let as_name = |node: usize, name: &str| {
        let mut options = cluster.at(node);
        options.name = Some(name.to_owned());
        options
    };
    let _b = named("b:1", "b").start(as_name(1, "thief")).await.unwrap();
    let _a = named("a:1", "thief")
        .start(as_name(1, "thief"))
        .await
        .unwrap();
    let clients = cluster.clients().await;
    until("the other route", async || {
        ask(&clients[0], "b:1").await.ok()
    })
    .await;
    let withheld = until_status(&clients[0], "a withheld route", |it| it.added.withheld == 1);
    withheld.await;
    assert_eq!(
        ask(&clients[0], "a:1").await.unwrap_err().code,
        Code::NoRoute
    );
    assert_eq!(ask(&clients[1], "a:1").await.unwrap(), "thief");
    let said = cluster.nodes[0].process.says("they are not shown").await;
    assert_eq!(said.matches("they are not shown").count(), 1, "{said}");

    rules.write("");
    until("the route to be let in", async || {
        ask(&clients[0], "a:1").await.ok()
    })
    .await;
    rules.write("[[own]]\nprefix = \"a:1\"\nidentity = \"service/owner\"\n");
    until("the route to be taken out", async || {
        (ask(&clients[0], "a:1").await.err()?.code == Code::NoRoute).then_some(())
    })
    .await;
    let _owner = named("a:1", "owner")
        .start(as_name(1, "owner"))
        .await
        .unwrap();
    until("the owner's route", async || {
        ask(&clients[0], "a:1").await.ok()
    })
    .await;
    for _ in 0..20 {
        assert_eq!(ask(&clients[0], "a:1").await.unwrap(), "owner");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_a_dead_node_is_taken_over_by_whom_the_rules_let() {
    let rules = RulesFile::new("[[own]]\nprefix = \"a:1\"\nidentity = \"service/owner\"\n");
    let mut cluster = Cluster::start_with(3, |number, node| match number {
        1 => node.flag("--rules", rules.path().display()),
        _ => node,
    })
    .await;
    let [registered_at, ruled, open] = [0, 1, 2];
    let _service = GoService::named(cluster.nodes[registered_at].http, "a:1", "one").await;
    let status = async |node: &Node| node.http().post(&json!({"Pattern": "a:1"})).await.status;
    until("the route at the open node", async || {
        (status(&cluster.nodes[open]).await == 200).then_some(())
    })
    .await;
    let client = cluster.client(ruled).await;
    let withheld = until_status(&client, "a withheld route", |it| it.added.withheld == 1);
    withheld.await;
    // Only the ruled node can take it over, and does not; then the other can.
    cluster.nodes[open].process.signal(Signal::STOP);
    cluster.nodes[registered_at].process.kill().await;
    let _said = cluster.nodes[ruled].process.says("is not taken over").await;
    cluster.nodes[open].process.signal(Signal::CONT);
    let _said = cluster.nodes[open]
        .process
        .says("took over the route")
        .await;
    assert_eq!(status(&cluster.nodes[ruled]).await, 404);
    assert_eq!(status(&cluster.nodes[open]).await, 200);

    // It is the open node's own: there again without the others.
    cluster.nodes[open].process.kill().await;
    cluster.start_again(open).await;
    assert_eq!(status(&cluster.nodes[open]).await, 200);
    assert_eq!(status(&cluster.nodes[ruled]).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_can_be_checked_beforehand() {
    let scene = Scene::start(OPEN).await;
    let _sum = scene
        .register("service/math", "role:math,cmd:sum")
        .await
        .unwrap();
    let _short = scene.register("service/short", "a:1").await.unwrap();
    let check = async |name: &str, pattern: &str, json: bool| {
        let mut command = nanod();
        command.args([
            "register",
            "--check",
            pattern,
            "--node",
            &scene.node.quic.to_string(),
        ]);
        command.arg("--tls").arg(scene.authority.named(name));
        command.args(json.then_some("--json"));
        command.output().await.unwrap()
    };
    let said = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let refused = check("service/any", "role:math", false).await;
    assert_eq!(refused.status.code(), Some(1));
    let text = said(&refused);
    assert!(text.starts_with("no "), "{text}");
    for part in [
        "is owned by service/math; ask ops@example.org",
        "longer   role:math,cmd:sum: service/math, 1 instance",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let parsed = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();
    let allowed = check("service/math", "a:1,b:1", true).await;
    assert_eq!(allowed.status.code(), Some(0));
    let answer = parsed(&allowed);
    assert_eq!(answer["allowed"], true);
    let reason = answer["reason"].as_str().unwrap();
    assert!(reason.contains("is owned by service/math"), "{reason}");
    let shorter = json!([{
        "pattern": "a:1",
        "identity": "spiffe://nano.local/service/short",
        "instances": 1,
        "relation": "shorter",
    }]);
    assert_eq!(answer["others"], shorter);
    let same = parsed(&check("service/any", "a:1", true).await);
    assert_eq!(
        (&same["allowed"], &same["others"][0]["relation"]),
        (&json!(true), &json!("same"))
    );
    // What is its own is nothing to be told of.
    let own = parsed(&check("service/short", "a:1", true).await);
    assert_eq!(own["others"], json!([]));
    let none = check("service/any", "a,,b", false).await;
    assert_eq!(none.status.code(), Some(2));
    // Nothing was registered by it.
    let client = scene.client(OTHER).await;
    let status = client.status().await.unwrap();
    assert_eq!(status.patterns, 2);
}
