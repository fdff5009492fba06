//! What becomes of calls by pattern, as the library asks a node for it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_client::{Activity, Certainty, Client, Code, Of, PatternActivity, Service, State};
use nano_integration::{Authority, Node, RulesFile, until};
use serde_json::{Value, json};

/// A client whose calls go through the node, each once.
async fn client(node: &Node) -> Client {
    let mut options = node.options().direct(false);
    options.retry.percent = 0;
    options.retry.per_second = 0;
    Client::connect(options).await.unwrap()
}

async fn act(client: &Client, subject: &str, what: &str) -> Result<Value, Code> {
    let answer = client.act(subject, &json!({"Do": what})).await;
    answer.map_err(|failure| failure.code)
}

fn of<'a>(activity: &'a Activity, name: &str) -> &'a PatternActivity {
    let mut patterns = activity.patterns.iter();
    patterns.find(|pattern| pattern.of.name() == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_told_by_pattern_and_by_how_they_failed() {
    let node = Node::start().await;
    let service = node.service("one").pattern("a:1").pattern("b:2");
    let _service = service.start().await;
    let client = client(&node).await;
    for _ in 0..5 {
        act(&client, "a:1,user:7", "name").await.unwrap();
    }
    act(&client, "b:2", "name").await.unwrap();
    for _ in 0..2 {
        let failed = act(&client, "a:1", "fail").await;
        assert_eq!(failed, Err(Code::HandlerFailed));
    }
    assert_eq!(act(&client, "c:1", "name").await, Err(Code::NoRoute));

    let before = client.activity(None).await.unwrap();
    let names: Vec<_> = before.patterns.iter().map(|one| one.of.name()).collect();
    assert_eq!(names, ["other", "none", "a:1", "b:2"]);
    let one = &of(&before, "a:1").figures;
    assert_eq!((one.given(), one.refused), (7, 0));
    let failed = (Code::HandlerFailed, Certainty::Executed, 2);
    assert_eq!(one.failures, [failed]);
    assert!(one.micros > 0);
    assert_eq!(one.instances, [(State::Ready, 1)]);
    let none = &of(&before, "none").figures;
    assert_eq!((none.given(), none.refused), (0, 1));
    assert_eq!(none.failures, [(Code::NoRoute, Certainty::NotSent, 1)]);
    assert_eq!(of(&before, "other").figures.calls(), 0);

    let held = client.clone();
    let held = tokio::spawn(async move { act(&held, "b:2", "hold").await });
    until("the call to be in flight", async || {
        let now = client.activity(None).await.unwrap();
        (of(&now, "b:2").figures.in_flight == 1).then_some(())
    })
    .await;
    held.abort();
    let after = client.activity(Some("a:1")).await.unwrap();
    let [only] = &after.patterns[..] else {
        panic!("{after:?}");
    };
    assert_eq!(only.of, Of::Pattern("a:1".to_owned()));
    assert!(after.at_us > before.at_us && after.at_ms >= before.at_ms);
    let error = client.activity(Some(",")).await.unwrap_err();
    assert_eq!(error.code, Code::BadRequest, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_patterns_than_one_answer_has_room_for_come_once_each() {
    const PATTERNS: usize = 400;
    let node = Node::start().await;
    let pattern = |number| format!("role:of-many,number:{number:03}");
    let mut service = Service::builder();
    for number in 0..PATTERNS {
        service = service.on_raw(&pattern(number), |_, body| async move { Ok(body) });
    }
    let _service = service.start(node.options()).await.unwrap();
    let client = client(&node).await;
    for number in 0..PATTERNS {
        act(&client, &pattern(number), "name").await.unwrap();
    }
    let told = client.activity(Some("role:of-many")).await.unwrap();
    assert!(!told.more);
    let told: Vec<_> = told.patterns.iter().map(|one| one.of.name()).collect();
    let expected: Vec<_> = (0..PATTERNS).map(pattern).collect();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_let_in_is_told_as_of_routes() {
    // Nobody may call or register anything but the service.
    let rules = RulesFile::new(
        r#"default = "closed"

[[register]]
identity = "service/one"
patterns = ["a:1"]
"#,
    );
    let authority = Authority::new();
    let node = Node::builder().authority(&authority);
    let node = node.flag("--rules", rules.path().display()).start().await;
    let service = Service::builder().on_raw("a:1", |_, body| async move { Ok(body) });
    let _service = service.start(node.options_of("service/one")).await.unwrap();
    let options = node.options_of("client/other").direct(false);
    let other = Client::connect(options).await.unwrap();
    assert_eq!(act(&other, "a:1", "name").await, Err(Code::Forbidden));
    let routes = other.routes(None).unwrap().next_page().await.unwrap();
    assert_eq!(routes.unwrap()[0].pattern, "a:1");
    let told = other.activity(None).await.unwrap();
    let failed: Vec<_> = told
        .patterns
        .iter()
        .flat_map(|one| &one.figures.failures)
        .collect();
    assert_eq!(failed, [&(Code::Forbidden, Certainty::NotSent, 1)]);
}
