//! What is behind the status page: its files, the tree of patterns, the past, calls that are tried out,
//! and the events that viewers are told.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{collections::BTreeSet, fs, time::Duration};

use nano_client::{Body, Client, Service};
use nano_integration::{
    Http, Load, Node, PATIENCE, Response, RulesFile, Viewer, go_nano::GoService, until,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::timeout,
};

const CALL: &str = "/api/v1/call";

/// What is posted to be called.
fn of(subject: &str, body: Value) -> Value {
    json!({"subject": subject, "body": body})
}

async fn called(node: &Node, call: &Value) -> Value {
    let response = node.admin().send_json("POST", CALL, call, "").await;
    assert_eq!(response.status, 200, "{call}: {response:?}");
    response.json()
}

/// A service within this process.
async fn serving(node: &Node, patterns: impl IntoIterator<Item = String>) -> Service {
    let mut service = Service::builder();
    for pattern in patterns {
        service = service.on_raw(&pattern, |_, body| async move { Ok(body) });
    }
    service.start(node.options()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_files_come_with_what_keeps_them_apart_from_others() {
    let node = Node::start().await;
    let page = node.admin().get("/").await;
    let text = String::from_utf8(page.body.clone()).unwrap();
    let of_page = text.split('"').filter(|part| part.starts_with("/page/"));
    let files: BTreeSet<_> = of_page.collect();
    assert!(files.len() >= 3, "{files:?}");
    for path in files.into_iter().chain(["/"]) {
        let response = node.admin().get(path).await;
        let header = |name: &str| response.header(name).unwrap_or_default();
        let expected = match path.rsplit_once('.') {
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(header("content-type"), expected, "{path}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-cache");
        let known = format!("If-None-Match: \"x\", W/{}\r\n", header("etag"));
        let again = node.admin().get_with(path, &known).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let other = "If-None-Match: \"0123\"\r\n";
        assert_eq!(node.admin().get_with(path, other).await.status, 200);
    }
    for path in ["/page/none.js", "/page/..%2fpage.rs", "/page/", "/page"] {
        assert_eq!(node.admin().get(path).await.status, 404, "{path}");
    }
}

/// All children of a prefix, page by page.
async fn children(node: &Node, prefix: Option<&str>, limit: usize) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    let prefix = prefix.map_or_else(String::new, |prefix| format!("&prefix={prefix}"));
    loop {
        let path = format!("/api/v1/tree?limit={limit}{prefix}{after}");
        let page = node.admin().get(&path).await.json();
        let found = page["children"].as_array().unwrap();
        assert!(found.len() <= limit);
        all.extend(found.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// A client whose calls the node passes on, and counts.
async fn through(node: &Node) -> Client {
    let options = node.options().direct(false);
    Client::connect(options).await.unwrap()
}

const HALF: usize = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_is_read_page_by_page_whatever_its_shape() {
    let node = Node::start().await;
    let wide = (0..HALF).map(|n| format!("one:1,id:{n:04}"));
    let flat = (0..HALF).map(|n| format!("r{n:04}:1"));
    let _service = serving(&node, wide.chain(flat)).await;
    let deep = node
        .service("deep")
        .pattern("one:1")
        .pattern("one:1,id:0000,x:1");
    let mut deep = deep.start().await;
    until("all to be counted", async || {
        let roots = node.admin().get("/api/v1/tree?limit=1").await.json();
        (roots["children"][0]["patterns"] == HALF + 2).then_some(())
    })
    .await;

    let roots = children(&node, None, 500).await;
    assert_eq!(roots.len(), HALF + 1);
    let one = json!({
        "field": "one:1", "pattern": "one:1", "is_pattern": true, "patterns": HALF + 2,
        "instances": {"ready": HALF + 2},
    });
    assert_eq!(roots[0], one);
    for (number, root) in roots[1..].iter().enumerate() {
        let name = format!("r{number:04}:1");
        let shown = json!({
            "field": name, "pattern": name, "is_pattern": true, "patterns": 1,
            "instances": {"ready": 1},
        });
        assert_eq!(*root, shown);
    }
    let ids = children(&node, Some("one:1"), 499).await;
    assert_eq!(ids.len(), HALF);
    assert_eq!(ids[0]["patterns"], 2);
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(id["field"], format!("id:{number:04}"));
        assert_eq!(id["pattern"], format!("one:1,id:{number:04}"));
    }
    let leaf = children(&node, Some("one:1,id:0000"), 10).await;
    assert_eq!((leaf.len(), &leaf[0]["field"]), (1, &json!("x:1")));
    assert!(children(&node, Some("one:1,id:0001"), 10).await.is_empty());
    assert!(children(&node, Some("none:1"), 10).await.is_empty());

    deep.process.kill().await;
    until("the lost one to be counted as that", async || {
        let roots = children(&node, None, 500).await;
        let expected = json!({"ready": HALF, "lost": 2});
        (roots[0]["instances"] == expected).then_some(())
    })
    .await;
    for (path, part) in [
        ("prefix=,", "the prefix is none"),
        ("after=,", "not the next"),
        ("prefix=a:1&after=b:1,c:1", "not the next"),
        ("limit=-1", "invalid digit"),
    ] {
        let response = node.admin().get(&format!("/api/v1/tree?{path}")).await;
        let error = response.json()["error"].to_string();
        assert_eq!(response.status, 400, "{path}");
        assert!(error.contains(part), "{path}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_told_page_by_page() {
    let node = Node::start().await;
    let mut services = Vec::new();
    for number in 0..3 {
        let service = node.service("one").pattern(&format!("a:1,b:{number}"));
        services.push(service.start().await);
    }
    let history = async |query: &str| {
        let response = node.admin().get(&format!("/api/v1/history{query}")).await;
        assert_eq!(response.status, 200, "{query}: {response:?}");
        response.json()
    };
    let whole = history("").await;
    let all = whole["changes"].as_array().unwrap();
    let whats: Vec<_> = all.iter().map(|change| change["what"].as_str()).collect();
    let registered = Some("registered");
    assert_eq!(whats, [registered, registered, registered, Some("started")]);
    assert_eq!(all[0]["pattern"], "a:1,b:2");
    assert_eq!(
        (&all[3]["pattern"], &whole["next"]),
        (&Value::Null, &Value::Null)
    );
    let first = history("?limit=3").await;
    assert_eq!(first["next"], all[2]["number"]);
    let rest = history(&format!("?limit=3&before={}", first["next"])).await;
    assert_eq!(rest["changes"], json!([all[3]]));
    let one = history("?prefix=a:1,b:1&since=1h").await;
    assert_eq!(one["changes"], json!([all[1]]));

    let at = all[1]["at"].as_str().unwrap();
    let past = async |subject: &str, at: &str| {
        let path = format!("/api/v1/explain?subject={subject}&at={at}");
        node.admin().get(&path).await
    };
    let then = past("a:1,b:1,c:1", at).await.json();
    assert_eq!(then["winner"]["pattern"], "a:1,b:1");
    let listed = &then["winner"]["listed"][0];
    assert_eq!(listed["instance"], services[1].instance);
    assert_eq!(listed["last"]["what"], "registered");
    for (at, part) in [("soon", "is no time"), ("1d", "begins later")] {
        let refused = past("a:1,b:1", at).await;
        let error = refused.json()["error"].to_string();
        assert!(error.contains(part), "{at}: {error}");
        assert!(refused.status >= 400);
    }
    let wrong = node.admin().get("/api/v1/history?since=soon").await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_or_its_failure_told() {
    let node = Node::start().await;
    let service = node.service("one").pattern("a:1").start().await;
    let answered = called(&node, &of("a:1,b:2", json!({"Do": "name", "Tag": 1.50}))).await;
    assert_eq!(answered["answered"], true);
    assert_eq!(answered["body"], json!({"Name": "one", "Tag": 1.5}));
    let shown = (
        &answered["encoding"],
        &answered["instance"],
        &answered["pattern"],
    );
    assert_eq!(
        shown,
        (&json!("json"), &json!(service.instance), &json!("a:1"))
    );
    assert!(answered["took_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(answered.get("code"), None);

    let failed = called(&node, &of("a:1", json!({"Do": "fail"}))).await;
    let shown = (&failed["answered"], &failed["code"], &failed["certainty"]);
    assert_eq!(
        shown,
        (&json!(false), &json!("handler_failed"), &json!("executed"))
    );
    assert_eq!(failed["body"], json!({"Luck": 0}));
    assert!(failed["message"].as_str().unwrap().contains("out of luck"));
    assert_eq!(failed["instance"], service.instance);

    let nobody = called(&node, &of("z:1", json!(null))).await;
    let shown = (&nobody["code"], &nobody["certainty"]);
    assert_eq!(shown, (&json!("no_route"), &json!("not_sent")));
    let wrong = called(&node, &of(",", json!({}))).await;
    assert_eq!(wrong["code"], "bad_request");

    let mut held = of("a:1", json!({"Do": "hold"}));
    held["timeout_ms"] = json!(50);
    let late = called(&node, &held).await;
    let shown = (&late["code"], &late["certainty"]);
    assert_eq!(shown, (&json!("deadline"), &json!("maybe_executed")));

    // What goes to an HTTP service says its subject itself, as go-nano has it.
    let _http = GoService::named(node.http, "go:1", "there").await;
    let answered = called(&node, &of("go:1", json!({"Do": "name"}))).await;
    assert_eq!(answered["answered"], true, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_call_is_refused() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let refused = async |body: &str, part: &str, status: u16| {
        let response = node.admin().send(posted(&node, body, JSON)).await;
        let text = String::from_utf8(response.body.clone()).unwrap();
        assert_eq!(response.status, status, "{body:.100}: {text}");
        assert!(text.contains(part), "{body:.100}: {text}");
    };
    refused("", "EOF", 400).await;
    refused("{\"subject\":\"a:1\"", "EOF", 400).await;
    refused("[]", "invalid", 422).await;
    refused("{\"subject\":\"a:1\"}", "missing field `body`", 422).await;
    refused(
        "{\"subject\":\"a:1\",\"body\":1,\"x\":1}",
        "unknown field",
        422,
    )
    .await;
    for timeout in ["0", "30001"] {
        let body = format!("{{\"subject\":\"a:1\",\"body\":1,\"timeout_ms\":{timeout}}}");
        refused(&body, "timeout_ms", 400).await;
    }
    let large = of("a:1", json!("x".repeat(256 * 1024))).to_string();
    refused(&large, "limit", 413).await;
    let plain = posted(&node, "{}", "Content-Type: text/plain\r\n");
    assert_eq!(node.admin().send(plain).await.status, 415);
    assert_eq!(node.admin().get(CALL).await.status, 405);
}

const JSON: &str = "Content-Type: application/json\r\n";

/// A request to call, with header lines, each ended by CRLF.
fn posted(node: &Node, body: &str, headers: &str) -> String {
    let (admin, length) = (node.admin.unwrap(), body.len());
    format!(
        "POST {CALL} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_page_itself_may_call() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let call = of("a:1", json!({"Do": "name"})).to_string();
    let admin = node.admin.unwrap();
    let own = format!("{JSON}Origin: http://{admin}\r\nSec-Fetch-Site: same-origin\r\n");
    let answered = node.admin().send(posted(&node, &call, &own)).await;
    assert_eq!(answered.json()["answered"], true);
    for foreign in [
        "Origin: http://evil.example\r\n",
        "Origin: http://localhost:3000\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        let headers = format!("{JSON}{foreign}");
        let refused = node.admin().send(posted(&node, &call, &headers)).await;
        assert_eq!(refused.status, 403, "{foreign}");
        let read = node.admin().get_with("/api/v1/tree", foreign).await;
        assert_eq!(read.status, 403, "{foreign}");
    }
    let bound_anew = "POST /api/v1/call HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\
                      Origin: http://evil.example\r\n\r\n";
    assert_eq!(node.admin().send(bound_anew).await.status, 403);
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    assert_eq!(node.admin().get_with("/", link).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn off_loopback_the_page_is_open_and_what_it_shows_is_not() {
    let tokens = RulesFile::new("client/shop 0123456789abcdef\n");
    let node = Node::builder().admin("0.0.0.0:0");
    let node = node.flag("--tokens-file", tokens.path().display());
    let node = node.start().await;
    let admin = Http::at(([127, 0, 0, 1], node.admin.unwrap().port()).into());
    assert_eq!(admin.get("/").await.status, 200);
    assert_eq!(admin.get("/api/v1/events").await.status, 401);
    let token = "Authorization: Bearer 0123456789abcdef\r\n";
    let call = of("z:1", json!({}));
    let response = admin.send_json("POST", CALL, &call, "").await;
    assert_eq!(response.status, 401);
    let response = admin.send_json("POST", CALL, &call, token).await;
    assert_eq!(response.json()["code"], "no_route");
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\n{token}\r\n");
    let viewer = Viewer::of(admin.open(request).await).await;
    assert!(viewer.head.starts_with("HTTP/1.1 200"), "{}", viewer.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_are_told_what_happens() {
    let node = Node::builder().flag("--grace-ms", 1_000).start().await;
    let mut viewer = Viewer::open(node.admin(), "?sort=rate&limit=1").await;
    assert!(viewer.head.contains("text/event-stream"), "{}", viewer.head);
    let status = viewer.until("status", |_| true).await;
    assert_eq!(status["patterns"], 0);
    let checks = status["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 4);
    for check in checks {
        assert_eq!(
            (&check["ok"], &check["detail"]),
            (&json!(true), &Value::Null)
        );
    }
    let routes = viewer.until("routes", |_| true).await;
    assert_eq!(
        (&routes["patterns"], &routes["routes"]),
        (&json!(0), &json!(0))
    );
    let changes = viewer.until("changes", |_| true).await;
    assert_eq!(changes["changes"][0]["what"], "started");
    assert_eq!(
        (
            changes["changes"].as_array().unwrap().len(),
            &changes["omitted"]
        ),
        (1, &json!(0))
    );

    let mut one = node
        .service("one")
        .pattern("a:1")
        .pattern("b:1")
        .start()
        .await;
    let mut two = node.service("two").pattern("a:1").start().await;
    let counted = |data: &Value| data["patterns"] == 2 && data["routes"] == 3;
    let later = viewer.until("routes", counted).await;
    assert_ne!(later["revision"], routes["revision"]);
    let tree = node.admin().get("/api/v1/tree").await.json();
    assert_eq!(tree["revision"], later["revision"]);

    let client = through(&node).await;
    let load = Load::of_processes(&client, "a:1", 2);
    let busy = |data: &Value| data["total"]["calls_per_s"].as_f64() > Some(0.0);
    let activity = viewer.until("activity", busy).await;
    let first = &activity["patterns"][0];
    assert_eq!(
        (&first["pattern"], &activity["omitted"]),
        (&json!("a:1"), &json!(2))
    );
    assert_eq!(first["instances"], json!({"ready": 2}));
    assert!(first["p99_ms"].as_f64() >= first["p50_ms"].as_f64());
    assert!(load.end().await.is_empty());
    let failed = called(&node, &of("z:1", json!({}))).await;
    assert_eq!(failed["answered"], false);
    let failing = |data: &Value| data["total"]["failures"][0]["code"] == "no_route";
    let activity = viewer.until("activity", failing).await;
    assert_eq!(activity["total"]["failures"][0]["certainty"], "not_sent");

    // What is of the same second comes in one order or the other.
    let mut of_table = Viewer::open(node.admin(), "").await;
    one.process.kill().await;
    let lost = |data: &Value| data["suspect_instances"] == 1;
    viewer.until("status", lost).await;
    let what = |what: &'static str| {
        move |data: &Value| {
            let changes = data["changes"].as_array().unwrap();
            changes.iter().any(|change| change["what"] == what)
        }
    };
    viewer.until("changes", what("expired")).await;
    of_table.until("routes", |data| data["patterns"] == 1).await;
    assert!(two.process.terminate().await.success());
    viewer.until("changes", what("left")).await;
    of_table.until("routes", |data| data["routes"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_events_that_is_none_is_refused() {
    let node = Node::start().await;
    for query in ["?sort=best", "?prefix=,", "?limit=x", "?prefx=a:1"] {
        let response = node.admin().get(&format!("/api/v1/events{query}")).await;
        assert_eq!(response.status, 400, "{query}");
    }
}

const VIEWERS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn there_are_so_many_viewers_and_a_place_is_free_when_one_leaves() {
    let node = Node::start().await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        let viewer = Viewer::open(node.admin(), "").await;
        assert!(viewer.head.starts_with("HTTP/1.1 200"), "{}", viewer.head);
        viewers.push(viewer);
    }
    let refused: Response = node.admin().get("/api/v1/events").await;
    assert_eq!(refused.status, 503);
    let error = refused.json()["error"].to_string();
    assert!(error.contains("16 viewers"), "{error}");
    assert_eq!(node.admin().get("/livez").await.status, 200);
    viewers.pop();
    until("there to be a place again", async || {
        let viewer = Viewer::open(node.admin(), "").await;
        viewer.head.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_by_itself_and_can_be_asked_for_anew() {
    let node = Node::start().await;
    let viewer = Viewer::open(node.admin(), "").await;
    viewer.ended(Duration::from_secs(90)).await;
    let mut viewer = Viewer::open(node.admin(), "").await;
    viewer.until("status", |_| true).await;
}

fn resident_kib(node: &Node) -> u64 {
    let path = format!("/proc/{}/status", node.process.pid());
    let status = fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// With its pattern, as long as fits beside as many as an event has room for.
fn long(number: usize) -> String {
    format!("n:{number:03},long:{}", "x".repeat(100))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_costs_little_and_is_hung_up_on() {
    let node = Node::start().await;
    let service = serving(&node, (0..200).map(long)).await;
    let client = through(&node).await;
    for number in 0..200 {
        client
            .act_raw(&long(number), Body::json("{}"))
            .await
            .unwrap();
    }
    let before = resident_kib(&node);
    let mut silent = Vec::new();
    for _ in 0..VIEWERS {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut stream = socket.connect(node.admin.unwrap()).await.unwrap();
        let request = b"GET /api/v1/events?limit=200 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        silent.push(stream);
    }
    until("all places to be taken", async || {
        let viewer = Viewer::open(node.admin(), "").await;
        viewer.head.starts_with("HTTP/1.1 503").then_some(())
    })
    .await;
    let mut most = 0;
    until("their places to be free", async || {
        most = most.max(resident_kib(&node));
        let viewer = Viewer::open(node.admin(), "").await;
        viewer.head.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, silent[0].read_to_end(&mut rest)).await;
    read.expect("the connection ends").unwrap();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "its stream was not cut off");
    let grown = most.saturating_sub(before);
    assert!(grown < 16 * 1024, "it took {grown} KiB more");
    drop(service);
}
