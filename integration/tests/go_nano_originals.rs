//! The stand-ins for go-nano's programs, among themselves: they do what those do, and wrong
//! what those do wrong.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_integration::{
    Redis,
    go_nano::{GoCaller, GoHttp, GoServer, GoService},
};
use serde_json::{Value, json};

/// The name of who answers, or the status.
async fn ask(server: &GoServer, pattern: &str) -> Result<String, u16> {
    let message = json!({"Pattern": pattern}).to_string();
    let http = GoHttp::default();
    let response = http.post(server.address, "/", message).await.unwrap();
    let answer: Option<Value> = serde_json::from_slice(&response.body).ok();
    let name = answer.and_then(|answer| Some(answer["Name"].as_str()?.to_owned()));
    name.ok_or(response.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_goes_by_the_server_and_then_by_itself() {
    let redis = Redis::start().await;
    let server = GoServer::start(&redis).await;
    let service = GoService::named(server.address, "a:1", "one").await;
    let caller = GoCaller::new(server.address);
    let message = json!({"Pattern": "a:1", "Tag": 7, "ServiceRequest": true});
    for _ in 0..2 {
        let answer = caller.act(&message, "a:1").await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer, json!({"Name": "one", "Tag": 7}));
        assert_eq!(caller.address_of("a:1"), Some(service.address.to_string()));
    }
    drop(server);
    assert!(caller.act(&message, "a:1").await.is_ok());
    let unknown = json!({"Pattern": "b:2", "ServiceRequest": true});
    assert!(caller.act(&unknown, "b:2").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_patterns_but_not_what_they_have_seen() {
    let redis = Redis::start().await;
    let (one, other) = (GoServer::start(&redis).await, GoServer::start(&redis).await);
    let first = GoService::named(one.address, "a:1", "first").await;
    assert_eq!(ask(&other, "a:1").await.unwrap(), "first");
    let _second = GoService::named(one.address, "a:1", "second").await;
    assert_eq!(
        ask(&one, "a:1").await.unwrap(),
        "second",
        "it replaces the first"
    );
    assert_eq!(
        ask(&other, "a:1").await.unwrap(),
        "first",
        "which is in the tree"
    );
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_matches_by_bytes_what_it_was_asked_for() {
    let redis = Redis::start().await;
    let server = GoServer::start(&redis).await;
    let _general = GoService::named(server.address, "role:math,cmd:sum", "general").await;
    let _special =
        GoService::named(server.address, "role:math,cmd:sum,return:zero", "special").await;
    let server = GoServer::start(&redis).await;
    assert_eq!(ask(&server, "role:math,cmd:summary").await, Err(404));
    assert_eq!(ask(&server, "role:math,cmd:sum").await.unwrap(), "general");
    assert_eq!(
        ask(&server, "role:math,cmd:summary").await.unwrap(),
        "general"
    );
    let special = ask(&server, "role:math,cmd:sum,return:zero").await;
    assert_eq!(special.unwrap(), "general", "it is shadowed");
}
