//! A node in the place of a go-nano server, row by row of what services and callers of
//! go-nano and curl send it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::collections::BTreeSet;

use bytes::Bytes;
use nano_client::{CallError, Client, Code, Options};
use nano_integration::{
    Node, Response,
    go_nano::{GoAnswer, GoCaller, GoHttp, GoService},
    until,
};
use serde_json::{Value, json};

/// Posts a body to a path as curl would.
async fn post_to(node: &Node, path: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    node.http().send(request).await
}

async fn register(node: &Node, body: &str) -> Response {
    post_to(node, "/register", "Accept: */*\r\n", body).await
}

/// Waits until a subject is answered with a name.
async fn answers(node: &Node, subject: &str, name: &str) {
    until("the service to be called", async || {
        let response = node.http().post(&json!({"Pattern": subject})).await;
        (response.status == 200 && response.json()["Name"] == name).then_some(())
    })
    .await;
}

fn says(body: impl Into<Bytes>) -> impl Fn(&Value) -> GoAnswer + Send + Sync + 'static {
    let body = body.into();
    move |message| {
        let status = message["Status"].as_u64().unwrap_or(200);
        GoAnswer::Raw(status.try_into().unwrap(), body.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_registers_once_and_before_it_listens() {
    let mut node = Node::start().await;
    let service = GoService::register(node.http, "a:1").await;
    let early = node.http().post(&json!({"Pattern": "a:1"})).await;
    assert!(matches!(early.status, 502 | 503), "{early:?}");
    assert_eq!(early.header("nano-certainty"), Some("not_sent"));
    let service = service.listen_as("one");
    answers(&node, "a:1", "one").await;
    // It never registers again, so a node that starts anew has to know it still.
    assert!(node.process.terminate().await.success());
    let node = node.start_again().await;
    answers(&node, "a:1", "one").await;
    drop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_answered_as_go_nano_does() {
    let node = Node::start().await;
    for body in [
        r#"{"Cache":{},"Pattern":"a:1","ServiceAddress":"127.0.0.1:4444","ServicePort":4444,"ServerAddress":"127.0.0.1:9999","ServerPort":9999}"#,
        r#"{"pattern":"a:1","SERVICEADDRESS":"127.0.0.1:4444"}"#,
        r#"{"Pattern":"a:2","ServiceAddress":"localhost:4444","Other":[1,{"Pattern":3}]}"#,
    ] {
        let answer = register(&node, body).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        assert_eq!(answer.body, b"");
        assert_eq!(answer.header("content-type"), None);
    }
    for body in [
        "",
        "x",
        "null",
        "[]",
        "{}",
        r#"{"Pattern":"","ServiceAddress":"127.0.0.1:4444"}"#,
        r#"{"Pattern":"a,,b","ServiceAddress":"127.0.0.1:4444"}"#,
        r#"{"Pattern":"a:3"}"#,
        r#"{"Pattern":"a:3","ServiceAddress":""}"#,
        r#"{"Pattern":"a:3","ServiceAddress":"127.0.0.1"}"#,
        r#"{"Pattern":"a:3","ServiceAddress":"127.0.0.1:99999"}"#,
        r#"{"Pattern":"a:3","ServiceAddress":"a b:4444"}"#,
        r#"{"Pattern":"a:3","ServiceAddress":"http://127.0.0.1:4444/"}"#,
        r#"{"Pattern":1,"ServiceAddress":"127.0.0.1:4444"}"#,
        r#"{"Pattern":"a:3","ServiceAddress":4444}"#,
        r#"{"Pattern":"a:3","ServiceAddress":"127.0.0.1:4444"} x"#,
    ] {
        let refusal = register(&node, body).await;
        assert_eq!(refusal.status, 400, "{body}: {refusal:?}");
        let message = refusal.json()["error"]["message"].clone();
        assert!(!message.as_str().unwrap().is_empty(), "{body}");
        let silent = post_to(&node, "/register", "", body).await;
        assert_eq!(
            (silent.status, silent.body.as_slice()),
            (400, &b""[..]),
            "{body}"
        );
    }
    assert_eq!(
        node.http().post(&json!({"Pattern": "a:3"})).await.status,
        404
    );
    for method in ["GET", "PUT", "DELETE"] {
        let request =
            format!("{method} /register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let refusal = node.http().send(request).await;
        assert_eq!(
            (refusal.status, refusal.header("allow")),
            (405, Some("POST"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_arrives_as_it_was_sent_and_few_headers_do() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    let body = "  {\"pattern\":\"b\", \"Pattern\" : \"a:1,x:\\u0031\",\"N\":1e5,\n\"N\":2} ";
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!(
        "Content-Type: text/plain\r\nCookie: a=b\r\nAuthorization: Basic eDp5\r\n\
         X-Forwarded-For: 192.0.2.1\r\nX-Request-Id: seven\r\ntracestate: v=1\r\n\
         traceparent: {trace}\r\nNano-Timeout-Ms: 20000\r\n"
    );
    assert_eq!(
        post_to(&node, "/any/path?x=1", &headers, body).await.status,
        200
    );
    let request = service.last().unwrap();
    assert_eq!(request.path, "/");
    assert_eq!(request.body, body);
    let header = |name: &str| {
        let value = request.headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("content-type").unwrap(), "application/json");
    assert_eq!(header("host").unwrap(), service.address.to_string());
    assert_eq!(header("x-request-id").unwrap(), "seven");
    assert_eq!(header("tracestate").unwrap(), "v=1");
    let passed = header("traceparent").unwrap();
    assert!(
        passed.contains("0af7651916cd43dd8448eb211c80319c"),
        "{passed}"
    );
    let remaining: u64 = header("nano-timeout-ms").unwrap().parse().unwrap();
    assert!(remaining <= 20_000);
    for name in ["cookie", "authorization", "x-forwarded-for"] {
        assert_eq!(header(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_status_and_bytes_come_back() {
    let node = Node::start().await;
    let _service = GoService::start(node.http, "a:1", says(r#"{"Any": 1}"#)).await;
    let ask = async |status: u16, headers: &str| {
        let message = json!({"Pattern": "a:1", "Status": status});
        node.http().post_with(&message, headers).await
    };
    until("the service to be called", async || {
        (ask(200, "").await.status == 200).then_some(())
    })
    .await;
    for status in [200, 201, 202, 400, 404, 418, 503] {
        for headers in ["", "Accept: */*\r\n"] {
            let answer = ask(status, headers).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.body, br#"{"Any": 1}"#, "{status}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(
                answer.header("x-service"),
                None,
                "headers are the node's own"
            );
        }
    }
    let empty = ask(204, "").await;
    assert_eq!((empty.status, empty.body.as_slice()), (204, &b""[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handlers_error_is_told_by_status_and_an_empty_body() {
    let node = Node::start().await;
    let service = GoService::start(node.http, "a:1", |_| GoAnswer::Fail).await;
    let message = json!({"Pattern": "a:1"});
    let failed = until("the service to be called", async || {
        let answer = node.http().post_with(&message, "").await;
        (answer.status == 500).then_some(answer)
    })
    .await;
    assert_eq!(failed.body, b"");
    assert_eq!(
        service.handled(),
        1,
        "a call whose handler ran is not repeated"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let node = Node::start().await;
    let other = GoService::named(node.http, "b:2", "other").await;
    let to = format!("http://{}/", other.address);
    let _service =
        GoService::start(node.http, "a:1", move |_| GoAnswer::Redirect(to.clone())).await;
    let message = json!({"Pattern": "a:1"});
    let answer = until("the service to be called", async || {
        let answer = node.http().post(&message).await;
        (answer.header("nano-certainty") != Some("not_sent")).then_some(answer)
    })
    .await;
    assert_ne!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("location"), None);
    assert_eq!(other.handled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_match_by_fields_from_the_first() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "role:math,cmd:sum", "sum").await;
    answers(&node, "role:math,cmd:sum", "sum").await;
    answers(&node, "role:math,cmd:sum,more:1", "sum").await;
    let handled = service.handled();
    for subject in [
        "role:math",
        "cmd:sum,role:math",
        "x,role:math,cmd:sum",
        "role:math,cmd:summary",
        "role:math,cmd:su",
        "ROLE:math,cmd:sum",
    ] {
        let answer = node.http().post(&json!({"Pattern": subject})).await;
        assert_eq!(answer.status, 404, "{subject}");
    }
    assert_eq!(service.handled(), handled);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_any_form_reach_a_go_service() {
    let node = Node::start().await;
    let _service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    let body = r#"{"Pattern":"a:1","Tag":7}"#;
    let (length, half) = (body.len(), body.len() / 2);
    let (front, back) = body.split_at(half);
    let close = "Connection: close\r\n";
    for request in [
        format!("POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"),
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\n{close}Transfer-Encoding: chunked\r\n\r\n\
             {half:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n",
            back.len()
        ),
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\n{close}Content-Length: {length}\r\n\r\n{body}"
        ),
    ] {
        let answer = node.http().send(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), json!({"Name": "one", "Tag": 7}));
    }
    let http = GoHttp::default();
    for tag in 0..20 {
        let message = json!({"Pattern": "a:1", "Tag": tag}).to_string();
        let answer = http.post(node.http, "/", message).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["Tag"], tag);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_the_calls_and_outlive_each_other() {
    let node = Node::start().await;
    let one = GoService::named(node.http, "a:1", "one").await;
    let other = GoService::named(node.http, "a:1", "other").await;
    let mut names = BTreeSet::new();
    until("both to be called", async || {
        let answer = node.http().post(&json!({"Pattern": "a:1"})).await;
        if answer.status == 200 {
            names.insert(answer.json()["Name"].as_str().unwrap().to_owned());
        }
        (names.len() == 2).then_some(())
    })
    .await;
    drop(other);
    answers(&node, "a:1", "one").await;
    // No call is for one that does not listen, but for those that find that out.
    for _ in 0..50 {
        let answer = node.http().post(&json!({"Pattern": "a:1"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["Name"], "one");
    }
    drop(one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_where_a_go_service_is() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    let caller = GoCaller::new(node.http);
    let message = json!({"Pattern": "a:1,b:2", "Tag": 7, "ServiceRequest": true});
    let answer = caller.act(&message, "a:1,b:2").await.unwrap();
    assert_eq!(answer, json!({"Name": "one", "Tag": 7}).to_string());
    assert_eq!(
        caller.address_of("a:1,b:2"),
        Some(service.address.to_string())
    );
    // It then goes there; and back to the node once nobody listens there.
    let handled = service.handled();
    caller.act(&message, "a:1,b:2").await.unwrap();
    assert_eq!(service.handled(), handled + 1);
    let _other = GoService::named(node.http, "a:1", "other").await;
    drop(service);
    until("the caller to go by the node", async || {
        caller.act(&message, "a:1,b:2").await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_told_the_node_where_a_service_has_no_http() {
    let node = Node::start().await;
    let _service = node.service("one").pattern("a:1").start().await;
    let message = json!({"Pattern": "a:1,b:2", "Do": "name", "Tag": 7, "ServiceRequest": true});
    let own = node.http.to_string();
    let expected = json!({
        "Service": {
            "Cache": {},
            "Pattern": "a:1",
            "ServiceAddress": own,
            "ServicePort": node.http.port(),
            "ServerAddress": own,
            "ServerPort": node.http.port(),
        },
        "Payload": "eyJOYW1lIjoib25lIiwiVGFnIjo3fQ==",
    });
    assert_eq!(node.http().post(&message).await.json(), expected);
    let caller = GoCaller::new(node.http);
    for _ in 0..2 {
        let answer = caller.act(&message, "a:1,b:2").await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer, json!({"Name": "one", "Tag": 7}));
        assert_eq!(caller.address_of("a:1,b:2"), Some(own.clone()));
    }
    // Errors are empty bodies, which is what makes `Act` fail.
    for failing in [
        json!({"Pattern": "a:1", "Do": "fail", "ServiceRequest": true}),
        json!({"Pattern": "nobody", "ServiceRequest": true}),
    ] {
        let caller = GoCaller::new(node.http);
        assert!(caller.act(&failing, "a:1").await.is_err());
        assert_eq!(caller.address_of("a:1"), None);
    }
}

async fn quic(node: &Node) -> Client {
    let options: Options = node.options();
    Client::connect(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_the_library_call_a_go_service_too() {
    let node = Node::start().await;
    let service = GoService::named(node.http, "a:1", "one").await;
    answers(&node, "a:1", "one").await;
    let client = quic(&node).await;
    let answer: Value = client.act("a:1,b:2", &json!({"Tag": 7})).await.unwrap();
    assert_eq!(answer, json!({"Name": "one", "Tag": 7}));
    let message: Value = serde_json::from_slice(&service.last().unwrap().body).unwrap();
    assert_eq!(message, json!({"Pattern": "a:1,b:2", "Tag": 7}));
    let handled = service.handled();
    let refused: CallError = client.act::<_, Value>("a:1", &[1, 2]).await.unwrap_err();
    assert_eq!(refused.code, Code::BadRequest, "{refused}");
    assert!(!refused.message.is_empty());
    assert_eq!(service.handled(), handled);
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_end() {
    let node = Node::start().await;
    let own = json!({"Pattern": "a:1", "ServiceAddress": node.http.to_string()});
    let refusal = register(&node, &own.to_string()).await;
    assert!(matches!(refusal.status, 400 | 508), "{refusal:?}");

    let other = Node::start().await;
    for (node, to) in [(&node, &other), (&other, &node)] {
        let body = json!({"Pattern": "b:2", "ServiceAddress": to.http.to_string()});
        assert_eq!(register(node, &body.to_string()).await.status, 200);
    }
    let answer = until("the node to pass it on", async || {
        let answer = node.http().post(&json!({"Pattern": "b:2"})).await;
        (answer.header("nano-error") != Some("no_instance")).then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 508, "{answer:?}");
}
