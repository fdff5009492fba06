//! The admin listener: what it says of a node, to whom, and what it does not let itself be used for.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{collections::BTreeSet, process::Stdio};

use nano_integration::{Http, Node, Response, RulesFile, nanod, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, time::timeout};

const LEVEL: &str = "/api/v1/log-level";

fn text(response: &Response) -> String {
    String::from_utf8(response.body.clone()).unwrap()
}

/// What a command of the program prints about a node as JSON.
async fn printed(node: &Node, arguments: &[&str]) -> Vec<Value> {
    let mut command = nanod();
    command.args(arguments);
    command.args(["--json", "--node", &node.quic.to_string()]);
    command.arg("--state").arg(node.state());
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    values.map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_told_in_the_words_of_kubernetes() {
    let node = Node::start().await;
    for probe in ["livez", "readyz"] {
        let response = node.admin().get(&format!("/{probe}")).await;
        assert_eq!((response.status, text(&response)), (200, "ok".to_owned()));
    }
    let response = node.admin().get("/readyz?verbose").await;
    let words = "[+]listeners ok\n[+]routes ok\n[+]threads ok\n[+]drain ok\nreadyz check passed\n";
    assert_eq!((response.status, &*text(&response)), (200, words));
    let plain = Some("text/plain; charset=utf-8");
    assert_eq!(response.header("content-type"), plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_lives_and_is_not_ready() {
    let mut node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let held = node.http();
    let held = tokio::spawn(async move {
        let message = json!({"Pattern": "a:1", "Do": "sleep", "Ms": 3000});
        held.post(&message).await.status
    });
    until("the call to be in flight", async || {
        let scrape = node.scrape().await;
        (scrape.value("nanod_calls_in_flight", &[]) == Some(1.0)).then_some(())
    })
    .await;
    node.process.signal(Signal::TERM);
    let refused = until("the node not to be ready", async || {
        let response = node.admin().get("/readyz").await;
        (response.status == 503).then_some(response)
    })
    .await;
    let words = text(&refused);
    assert!(
        words.contains("[-]drain failed: the node is stopping\n"),
        "{words}"
    );
    assert!(words.ends_with("readyz check failed\n"), "{words}");
    assert_eq!(node.admin().get("/livez").await.status, 200);
    assert_eq!(node.scrape().await.value("nanod_ready", &[]), Some(0.0));
    assert_eq!(held.await.unwrap(), 200);
    assert!(node.process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_says_what_the_commands_print() {
    let node = Node::start().await;
    let service = node.service("one").pattern("role:math,cmd:sum");
    let _service = service.pattern("role:math").start().await;
    let _other = node.service("two").pattern("role:math").start().await;

    let routes = node.admin().get("/api/v1/routes").await.json();
    assert_eq!(routes["next"], Value::Null);
    let printed_routes = printed(&node, &["routes"]).await;
    assert_eq!(routes["routes"], Value::from(printed_routes));
    assert_eq!(routes["routes"].as_array().unwrap().len(), 3);
    let prefix = "/api/v1/routes?prefix=role:math,cmd:sum";
    let some = node.admin().get(prefix).await.json();
    assert_eq!(some["routes"].as_array().unwrap().len(), 1);

    let subject = "role:math,cmd:sum,left:1";
    let path = format!("/api/v1/explain?subject={subject}");
    let explained = node.admin().get(&path).await.json();
    let steady = |mut explained: Value| {
        for standing in explained["winner"]["listed"].as_array_mut().unwrap() {
            standing["age_ms"].take();
        }
        explained
    };
    let printed_one = printed(&node, &["explain", subject]).await.remove(0);
    assert_eq!(steady(explained), steady(printed_one));

    let status = node.admin().get("/api/v1/status").await.json();
    let printed_one = printed(&node, &["status"]).await.remove(0);
    let steady = |mut status: Value| {
        // The command has a session of its own.
        for changing in ["uptime_ms", "sessions"] {
            assert!(status[changing].take().is_u64(), "{changing}");
        }
        status
    };
    assert_eq!(steady(status), steady(printed_one));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_page_by_page() {
    let node = Node::start().await;
    let mut services = Vec::new();
    for number in 0..3 {
        let service = node.service("one").pattern("a:1");
        let service = service.pattern(&format!("a:1,b:{number}"));
        services.push(service.start().await);
    }
    let pages = async |list: &str| {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/{list}?limit=2{after}");
            let page = node.admin().get(&path).await.json();
            let found = page[list].as_array().unwrap();
            assert!(found.len() <= 2);
            all.extend(found.iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", next.replace('"', "%22")),
                None => return all,
            }
        }
    };
    let routes = pages("routes").await;
    let whole = node.admin().get("/api/v1/routes").await.json();
    assert_eq!(Value::from(routes), whole["routes"]);
    let instances = pages("instances").await;
    let ids: BTreeSet<_> = instances
        .iter()
        .map(|one| one["instance"].as_str())
        .collect();
    let started = services.iter().map(|service| Some(&*service.instance));
    assert_eq!(ids, started.collect());
    for instance in &instances {
        let shown = (&instance["patterns"], &instance["state"]);
        assert_eq!(shown, (&json!(2), &json!("ready")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_said() {
    let node = Node::start().await;
    for (path, status, part) in [
        ("/api/v1/routes?prefix=", 400, "the prefix is none"),
        ("/api/v1/routes?after=x", 400, "not the next"),
        ("/api/v1/routes?prefx=a:1", 400, "prefx"),
        ("/api/v1/instances?limit=many", 400, "invalid digit"),
        ("/api/v1/explain", 400, "subject"),
        ("/api/v1/explain?subject=,", 400, "the subject is none"),
        ("/api/v2/routes", 404, "/api/openapi.json"),
    ] {
        let response = node.admin().get(path).await;
        let error = response.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(response.status, status, "{path}: {error}");
        assert!(error.contains(part), "{path}: {error}");
    }
    let admin = node.admin();
    let posted = admin.send_json("POST", "/metrics", &json!({}), "").await;
    assert_eq!(posted.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_lists_what_is_served() {
    let node = Node::start().await;
    let description = node.admin().get("/api/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    let paths = description["paths"].as_object().unwrap();
    let known: Vec<_> = paths.keys().map(String::as_str).collect();
    assert_eq!(
        known,
        [
            "/",
            "/api/openapi.json",
            "/api/v1/call",
            "/api/v1/events",
            "/api/v1/explain",
            "/api/v1/history",
            "/api/v1/instances",
            "/api/v1/log-level",
            "/api/v1/routes",
            "/api/v1/status",
            "/api/v1/tree",
            "/livez",
            "/metrics",
            "/page/{name}",
            "/readyz",
        ]
    );
    for path in known {
        let asked = path.replace("{name}", "style.css") + "?subject=a:1";
        let status = node.admin().get(&asked).await.status;
        // A question of which the subject is no part is none, and a call is posted.
        assert!([200, 400, 405].contains(&status), "{path}: {status}");
    }
    let methods = paths[LEVEL].as_object().unwrap().keys();
    assert_eq!(methods.collect::<Vec<_>>(), ["get", "post", "put"]);
    let shapes = description["components"]["schemas"].as_object().unwrap();
    for shape in ["Route", "Status", "Explained", "RoutesPage", "LogLevel"] {
        assert!(shapes.contains_key(shape), "{shape} is missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_another_filter_while_the_node_runs() {
    let node = Node::start().await;
    let client = node.client().await;
    let level = node.admin().get(LEVEL).await.json();
    assert_eq!(level, json!({"filter": "info"}));
    assert!(!node.process.said().contains("DEBUG"));

    let wanted = json!({"filter": "info,nanod=debug"});
    let changed = node.admin().send_json("PUT", LEVEL, &wanted, "").await;
    assert_eq!((changed.status, changed.json()), (200, wanted.clone()));
    assert_eq!(node.admin().get(LEVEL).await.json(), wanted);
    drop(client);
    let _client = node.client().await;
    until("a line to be written that was not before", async || {
        node.process.said().contains("DEBUG").then_some(())
    })
    .await;
    assert!(node.process.said().contains("the log has another filter"));

    let wrong = json!({"filter": "nanod=loudly"});
    let refused = node.admin().send_json("POST", LEVEL, &wrong, "").await;
    assert_eq!(refused.status, 400);
    assert!(
        text(&refused).contains("is no filter of logs"),
        "{}",
        text(&refused)
    );
    let long = json!({"filter": "x".repeat(5000)});
    let refused = node.admin().send_json("POST", LEVEL, &long, "").await;
    assert_eq!(refused.status, 413);
    assert_eq!(node.admin().get(LEVEL).await.json(), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_do_not_reach_it() {
    let node = Node::start().await;
    let admin = node.admin.unwrap();
    let form = "{\"filter\":\"trace\"}";
    let post = |headers: &str| {
        let length = form.len();
        format!(
            "POST {LEVEL} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{form}"
        )
    };
    for (headers, status) in [
        (
            format!(
                "Host: {admin}\r\nContent-Type: application/json\r\nOrigin: http://evil.example\r\n"
            ),
            403,
        ),
        (
            "Host: evil.example\r\nContent-Type: application/json\r\n".to_owned(),
            403,
        ),
        // What a page may send without being asked for leave first.
        (
            format!("Host: {admin}\r\nContent-Type: text/plain\r\n"),
            415,
        ),
        (format!("Host: {admin}\r\n"), 415),
    ] {
        let response = node.admin().send(post(&headers)).await;
        assert_eq!(response.status, status, "{headers}");
    }
    let read = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(node.admin().send(read).await.status, 403);
    assert_eq!(
        node.admin().get(LEVEL).await.json(),
        json!({"filter": "info"})
    );
}

const TOKENS: &str = "client/shop 0123456789abcdef\nclient/ops fedcba9876543210\n";
const SHOP: &str = "Authorization: Bearer 0123456789abcdef\r\n";
const OPS: &str = "Authorization: Bearer fedcba9876543210\r\n";

const RULES: &str = "[[call]]\nidentity = \"client/ops\"\npatterns = [\"nano:admin\"]\n";

/// A node whose admin listener others reach, by way of this machine.
async fn exposed(rules: Option<&RulesFile>, tokens: &RulesFile) -> (Node, Http) {
    let mut node = Node::builder().admin("0.0.0.0:0");
    node = node.flag("--tokens-file", tokens.path().display());
    if let Some(rules) = rules {
        node = node.flag("--rules", rules.path().display());
    }
    let node = node.start().await;
    let port = node.admin.unwrap().port();
    (node, Http::at(([127, 0, 0, 1], port).into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn off_loopback_the_api_wants_a_token_and_probes_and_scrapers_none() {
    let tokens = RulesFile::new(TOKENS);
    let (_node, admin) = exposed(None, &tokens).await;
    for open in ["/", "/page/style.css", "/livez", "/readyz", "/metrics"] {
        assert_eq!(admin.get(open).await.status, 200, "{open}");
    }
    let paths = [
        "/api/openapi.json",
        "/api/v1/routes",
        "/api/v1/instances",
        "/api/v1/explain?subject=a:1",
        "/api/v1/status",
        "/api/v1/tree",
        "/api/v1/history",
        LEVEL,
    ];
    for path in paths {
        let refused = admin.get(path).await;
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        let wrong = "Authorization: Bearer 0123456789abcdee\r\n";
        assert_eq!(admin.get_with(path, wrong).await.status, 401, "{path}");
        assert_eq!(admin.get_with(path, SHOP).await.status, 200, "{path}");
    }
    let wanted = json!({"filter": "warn"});
    let refused = admin.send_json("POST", LEVEL, &wanted, "").await;
    assert_eq!(refused.status, 401);
    let level = admin.get_with(LEVEL, SHOP).await.json();
    assert_eq!(level, json!({"filter": "info"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_a_node_is_for_the_rules_to_say() {
    let (tokens, rules) = (RulesFile::new(TOKENS), RulesFile::new(RULES));
    let (_node, admin) = exposed(Some(&rules), &tokens).await;
    let wanted = json!({"filter": "warn"});
    for (who, status) in [("", 401), (SHOP, 403), (OPS, 200)] {
        let response = admin.send_json("PUT", LEVEL, &wanted, who).await;
        assert_eq!(response.status, status, "{who}: {}", text(&response));
    }
    assert_eq!(admin.get_with(LEVEL, SHOP).await.json(), wanted);
}

/// More than the listener has at a time.
const IDLE: usize = 80;

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_keep_no_probe_out() {
    let node = Node::start().await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(node.admin().open("GET /livez HTTP/1.1\r\n").await);
    }
    assert_eq!(node.admin().get("/livez").await.status, 200);
    let mut rest = Vec::new();
    let ended = timeout(nano_integration::PATIENCE, idle[0].read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it was cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_have_no_admin_listener() {
    let node = Node::builder().admin("off").start().await;
    assert_eq!(node.admin, None);
    assert_eq!(
        node.http().post(&json!({"Pattern": "a:1"})).await.status,
        404
    );
}
