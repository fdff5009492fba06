//! The status page as people have it before them: real nodes, services and callers, in Chromium.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nano_client::{Client, Service};
use nano_integration::{Browser, Load, Node, RulesFile, axe, keys, until};
use serde_json::{Value, json};

const CHARGE: &str = "role:pay,cmd:charge";

/// A page that its node tells of itself.
async fn open(node: &Node) -> Browser {
    let browser = Browser::open(&node.page()).await;
    browser.until_text("#link", "Live").await;
    browser
}

/// Ends a browser whose console has said nothing but what was to be expected.
async fn close(browser: Browser, expected: &[&str]) {
    let said = browser.console().await;
    let is_expected = |line: &String| expected.iter().any(|part| line.contains(part));
    let rest: Vec<_> = said.iter().filter(|line| !is_expected(line)).collect();
    assert!(rest.is_empty(), "{rest:#?}");
    browser.close().await;
}

/// Whether handlers panic.
#[derive(Clone, Default)]
struct Mood(Arc<AtomicBool>);

impl Mood {
    fn is_bad(&self, is_bad: bool) {
        self.0.store(is_bad, Ordering::Relaxed);
    }

    /// A service whose handlers are in it.
    async fn serve(&self, node: &Node, pattern: &str) -> Service {
        let mood = self.clone();
        let service = Service::builder().on(pattern, move |_, message: Value| {
            let mood = mood.clone();
            async move {
                assert!(!mood.0.load(Ordering::Relaxed), "out of mind");
                Ok(message)
            }
        });
        service.start(node.options()).await.unwrap()
    }
}

/// A client whose calls the node passes on, and counts.
async fn through(node: &Node) -> Client {
    let options = node.options().direct(false);
    Client::connect(options).await.unwrap()
}

/// The selector of a pattern's row in a part of the page.
fn row(part: &str, pattern: &str) -> String {
    format!("#{part} [data-key=\"{pattern}\"]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_appears_fails_is_ejected_and_recovers_before_ones_eyes() {
    let node = Node::start().await;
    let browser = open(&node).await;
    browser
        .run("window.marker = 'the same page';", json!([]))
        .await;
    browser.until_text("#busiest-note", "No call").await;
    browser.until_text("#tree-note", "no such pattern").await;

    let (well, bad) = (Mood::default(), Mood::default());
    let _well = well.serve(&node, CHARGE).await;
    browser.until_text("#tree-count", "1").await;
    browser
        .until_text(&row("tree", "role:pay"), "1 ready")
        .await;
    browser.until_text("#changes", "registered").await;
    let second = bad.serve(&node, CHARGE).await;
    browser
        .until_text(&row("tree", "role:pay"), "2 ready")
        .await;

    let client = through(&node).await;
    let load = Load::paced(&client, CHARGE, 2);
    let busiest = row("busiest", CHARGE);
    browser.until_text(&busiest, "2 ready").await;
    browser.until_text(&format!("{busiest} .of-p99"), "s").await;
    let drawn = "document.querySelector('[data-tile=calls] .line').getAttribute('d').includes('L')";
    browser.until(drawn).await;
    assert_eq!(browser.text(&format!("{busiest} .of-failed")).await, "0");

    browser.click(&format!("{busiest} .pattern")).await;
    browser.until_text("#chosen-note", "2 instances").await;
    bad.is_bad(true);
    browser
        .until_text(&busiest, "handler_panicked, executed")
        .await;
    browser
        .until_text("[data-tile=failures]", "handler_panicked, executed")
        .await;
    browser.until_text(&busiest, "1 ejected").await;
    browser
        .until_text(&row("tree", "role:pay"), "1 ejected")
        .await;
    browser.until_text("#chosen-list", "ejected").await;
    browser.until_text("#chosen-list", "left out for").await;

    bad.is_bad(false);
    browser.until_text(&busiest, "2 ready").await;
    browser
        .until_text(&row("tree", "role:pay"), "2 ready")
        .await;
    let no_longer = "!document.querySelector('#chosen-list').textContent.includes('ejected')";
    browser.until(no_longer).await;

    second.drain().await;
    browser.until_text(&busiest, "1 ready").await;
    browser.until_text("#changes .pill", "left").await;
    load.end().await;
    let still = browser.run("return window.marker;", json!([])).await;
    assert_eq!(still, "the same page");
    close(browser, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_and_comes_back_needs_no_reload() {
    let mut node = Node::start().await;
    let browser = open(&node).await;
    browser
        .run("window.marker = 'the same page';", json!([]))
        .await;
    node.process.kill().await;
    browser.until_text("#link", "Reconnecting").await;
    browser.until_text("#age", "old").await;
    let node = node.start_again().await;
    browser.until_text("#link", "Live").await;
    browser
        .until("document.querySelector('#age').textContent === ''")
        .await;
    let _service = Mood::default().serve(&node, CHARGE).await;
    browser
        .until_text(&row("tree", "role:pay"), "1 ready")
        .await;
    let still = browser.run("return window.marker;", json!([])).await;
    assert_eq!(still, "the same page");
    close(browser, &["net::ERR_"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_would_tell_of_an_error() {
    let node = Node::start().await;
    let browser = open(&node).await;
    browser
        .run(
            "setTimeout(() => { throw new Error('not here'); });",
            json!([]),
        )
        .await;
    until("the console to tell", async || {
        let said = browser.console().await;
        said.iter()
            .any(|line| line.contains("not here"))
            .then_some(())
    })
    .await;
    close(browser, &[]).await;
}

/// Fills a field of a form in.
async fn fill(browser: &Browser, id: &str, text: &str) {
    let clear =
        "const field = document.getElementById(arguments[0]); field.value = ''; field.focus();";
    browser.run(clear, json!([id])).await;
    browser.press(text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_explained_as_it_is_and_as_it_was() {
    let node = Node::start().await;
    let mut service = node.service("one").pattern(CHARGE).start().await;
    let browser = open(&node).await;
    fill(
        &browser,
        "explain-subject",
        "role:pay,cmd:charge,currency:eur",
    )
    .await;
    browser.click("#explain-form [type=submit]").await;
    browser
        .until_text(
            "#explained .verdict",
            "role:pay,cmd:charge wins, with 1 instance.",
        )
        .await;
    browser
        .until_text("#explained", &service.instance[..8])
        .await;
    fill(&browser, "explain-subject", "role:pay,cmd:refund").await;
    browser.click("#explain-form [type=submit]").await;
    browser
        .until_text("#explained .verdict", "No pattern matches.")
        .await;
    browser
        .until_text(
            "#explained",
            "field 2 is cmd:charge; the subject has cmd:refund",
        )
        .await;

    // A moment at which it was there: that of its registration, as the page tells it.
    browser.until_text("#changes", "registered").await;
    let at = "return document.querySelector('#changes li time').dateTime;";
    let at = browser.run(at, json!([])).await;
    service.process.terminate().await;
    browser.until_text("#changes .pill", "left").await;
    fill(&browser, "explain-subject", CHARGE).await;
    browser.click("#explain-form [type=submit]").await;
    browser
        .until_text("#explained .verdict", "No pattern matches.")
        .await;
    fill(&browser, "explain-at", at.as_str().unwrap()).await;
    browser.click("#explain-form [type=submit]").await;
    browser
        .until_text(
            "#explained .verdict",
            "role:pay,cmd:charge won, with 1 instance.",
        )
        .await;
    browser.until_text("#explained", "registered at").await;
    browser.until_text("#explained", "at this node").await;
    fill(&browser, "explain-at", "yesterday").await;
    browser.click("#explain-form [type=submit]").await;
    browser.until_text("#explained .wrong", "yesterday").await;
    close(browser, &["400 (Bad Request)"]).await;
}

/// Calls from the page, and waits for what it then says.
async fn call(browser: &Browser, subject: &str, body: &str, expected: &[&str]) {
    fill(browser, "call-subject", subject).await;
    fill(browser, "call-body", body).await;
    browser
        .run(
            "document.getElementById('called').replaceChildren();",
            json!([]),
        )
        .await;
    browser.click("#call-form [type=submit]").await;
    for words in expected {
        browser.until_text("#called", words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_made_and_a_failure_says_what_it_means() {
    let node = Node::start().await;
    let service = node.service("one").pattern(CHARGE).start().await;
    let browser = open(&node).await;
    let name = r#"{"Do": "name", "Tag": "<b>bold</b>"}"#;
    let answered = ["answered", "one", "<b>bold</b>", &service.instance[..8]];
    call(&browser, CHARGE, name, &answered).await;
    assert_eq!(browser.count("#called b").await, 0);
    let failed = [
        "handler_failed",
        "executed",
        "out of luck",
        "The handler ran",
        "Luck",
    ];
    call(&browser, CHARGE, r#"{"Do": "fail"}"#, &failed).await;
    let nobody = ["no_route", "not_sent", "It is safe to try again"];
    call(&browser, "role:nobody", "{}", &nobody).await;
    call(&browser, CHARGE, "{oops", &["The message is no JSON"]).await;
    fill(&browser, "call-timeout", "50").await;
    let late = ["deadline", "maybe_executed", "it may have been done"];
    call(&browser, CHARGE, r#"{"Do": "hold"}"#, &late).await;
    close(browser, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_say_who_what_and_when() {
    let node = Node::start().await;
    let pay = node.service("pay").pattern(CHARGE).start().await;
    let _mail = node
        .service("mail")
        .pattern("role:mail,cmd:send")
        .start()
        .await;
    let browser = open(&node).await;
    browser.until_text("#changes", "role:mail,cmd:send").await;
    let told = "return [...document.querySelectorAll('#changes li')].map((one) => ({
        when: one.querySelector('time').dateTime, what: one.querySelector('.pill').textContent,
        pattern: one.children[2].textContent, who: one.children[3].textContent}));";
    let told = browser.run(told, json!([])).await;
    let history = node.admin().get("/api/v1/history").await.json();
    let (told, known) = (
        told.as_array().unwrap(),
        history["changes"].as_array().unwrap(),
    );
    assert_eq!(told.len(), known.len());
    for (told, known) in told.iter().zip(known) {
        assert_eq!(told["when"], known["at"]);
        assert_eq!(told["what"], known["what"]);
        let Some(pattern) = known["pattern"].as_str() else {
            continue;
        };
        assert_eq!(told["pattern"], pattern);
        let who = told["who"].as_str().unwrap();
        let identity = known["identity"]
            .as_str()
            .unwrap()
            .trim_start_matches("spiffe://");
        assert!(who.contains(identity), "{who}");
        assert!(
            who.contains(&known["instance"].as_str().unwrap()[..8]),
            "{who}"
        );
    }
    fill(&browser, "changes-prefix", "role:pay").await;
    browser.until("![...document.querySelectorAll('#changes li')].some((one) => one.textContent.includes('mail'))").await;
    browser.until_text("#changes", &pay.instance[..8]).await;
    // One is asked about by its own moment.
    browser.click("#changes li .pattern").await;
    browser
        .until_text("#explained .verdict", "role:pay,cmd:charge won")
        .await;
    close(browser, &[]).await;
}

const TOKENS: &str = "client/shop 0123456789abcdef\n";

#[tokio::test(flavor = "multi_thread")]
async fn off_loopback_a_token_opens_the_page() {
    let tokens = RulesFile::new(TOKENS);
    let node = Node::builder().admin("0.0.0.0:0");
    let node = node
        .flag("--tokens-file", tokens.path().display())
        .start()
        .await;
    let _service = Mood::default().serve(&node, CHARGE).await;
    let browser = Browser::open(&node.page()).await;
    browser
        .until("document.querySelector('#token-dialog').open")
        .await;
    browser.until("document.activeElement.id === 'token'").await;
    assert_clean(&browser, "the dialog").await;
    browser.press("0123456789abcdee").await;
    browser.press(&keys::ENTER.to_string()).await;
    browser.until_text("#token-wrong", "Not that one").await;
    browser
        .until("document.querySelector('#token-dialog').open")
        .await;
    browser.press("0123456789abcdef").await;
    browser.press(&keys::ENTER.to_string()).await;
    browser.until_text("#link", "Live").await;
    browser
        .until_text(&row("tree", "role:pay"), "1 ready")
        .await;
    browser
        .until("!document.querySelector('#token-dialog').open")
        .await;
    let call = ["answered"];
    self::call(&browser, CHARGE, "{}", &call).await;
    // The tab keeps it; no other one has it.
    browser.go(&node.page()).await;
    browser.until_text("#link", "Live").await;
    let other = Browser::open(&node.page()).await;
    other
        .until("document.querySelector('#token-dialog').open")
        .await;
    close(other, &["401 (Unauthorized)"]).await;
    close(browser, &["401 (Unauthorized)"]).await;
}

/// Nothing is found on the page that keeps people out of it.
async fn assert_clean(browser: &Browser, what: &str) {
    if browser.run("return typeof axe;", json!([])).await == "undefined" {
        browser.run(&axe(), json!([])).await;
    }
    let script = "const done = arguments[arguments.length - 1];
        axe.run(document, {resultTypes: ['violations']}).then(
            ({violations, passes}) => done({passes: passes.map((rule) => rule.id),
                violations: violations.map((rule) => ({id: rule.id, help: rule.help,
                    nodes: rule.nodes.map((node) => [node.html, node.failureSummary])}))}),
            (error) => done({violations: [String(error)]}));";
    let found = browser.run_async(script, json!([])).await;
    assert_eq!(
        found["violations"],
        json!([]),
        "{what}: {:#}",
        found["violations"]
    );
    let passed = found["passes"].as_array().unwrap();
    assert!(
        passed.contains(&json!("color-contrast")),
        "{what}: {passed:?}"
    );
}

/// What has the focus can be seen, and that it has it.
const IS_SEEN: &str = "const one = document.activeElement;
    const {outlineStyle, outlineWidth} = getComputedStyle(one);
    const {top, bottom, width, height} = one.getBoundingClientRect();
    const isOutlined = outlineStyle !== 'none' && parseFloat(outlineWidth) > 1;
    const isInSight = width > 0 && height > 0 && bottom > 0 && top < innerHeight;
    return one === document.body || (isOutlined && isInSight) || one.outerHTML;";

/// Presses Tab, with Shift to go back, until what a selector finds has the focus.
async fn tab_to(browser: &Browser, selector: &str, is_back: bool) {
    let is_there = "return document.activeElement.matches(arguments[0]);";
    for _ in 0..60 {
        if is_back {
            browser.press_with(keys::SHIFT, keys::TAB).await;
        } else {
            browser.press(&keys::TAB.to_string()).await;
        }
        let seen = browser.run(IS_SEEN, json!([])).await;
        assert_eq!(seen, true, "the focus cannot be seen");
        if browser.run(is_there, json!([selector])).await == true {
            return;
        }
    }
    panic!("no Tab leads to {selector}");
}

async fn key(browser: &Browser, key: char) {
    browser.press(&key.to_string()).await;
}

async fn until_focused(browser: &Browser, selector: &str) {
    let is_there = format!("document.activeElement.matches({})", json!(selector));
    browser.until(&is_there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_can_be_done_by_keyboard() {
    let node = Node::start().await;
    let mood = Mood::default();
    let patterns = [CHARGE, "role:mail,cmd:send"];
    let _pay = mood.serve(&node, patterns[0]).await;
    let _mail = mood.serve(&node, patterns[1]).await;
    let client = through(&node).await;
    let _loads = patterns.map(|pattern| Load::paced(&client, pattern, 1));
    let browser = open(&node).await;
    browser.until_text("#busiest", "role:mail,cmd:send").await;

    key(&browser, keys::TAB).await;
    until_focused(&browser, ".skip").await;
    tab_to(&browser, "#scheme", false).await;
    key(&browser, keys::ENTER).await;
    browser
        .until("document.documentElement.dataset.scheme === 'light'")
        .await;
    tab_to(&browser, ".skip", true).await;
    key(&browser, keys::ENTER).await;
    until_focused(&browser, "#main").await;

    key(&browser, keys::TAB).await;
    until_focused(&browser, "#busiest-prefix").await;
    browser.press("role:pay").await;
    browser
        .until("document.querySelectorAll('#busiest tr').length === 1")
        .await;
    tab_to(&browser, ".of-failed .sort", false).await;
    key(&browser, keys::ENTER).await;
    browser
        .until("document.querySelector('.of-failed').ariaSort === 'descending'")
        .await;
    tab_to(&browser, "#busiest .pattern", false).await;
    key(&browser, keys::ENTER).await;
    until_focused(&browser, "#chosen-title").await;
    browser.until_text("#chosen-note", "1 instance").await;
    tab_to(&browser, "#chosen-explain", false).await;
    key(&browser, keys::ENTER).await;
    until_focused(&browser, "#explain-subject").await;
    browser
        .until_text("#explained .verdict", "wins, with 1 instance.")
        .await;

    the_tree_by_keyboard(&browser).await;

    tab_to(&browser, "#changes .pattern", false).await;
    key(&browser, keys::ENTER).await;
    browser.until_text("#explained .verdict", " won, ").await;
    tab_to(&browser, "#call-subject", false).await;
    browser.press(CHARGE).await;
    tab_to(&browser, "#call-body", false).await;
    tab_to(&browser, "#call-form [type=submit]", false).await;
    key(&browser, keys::ENTER).await;
    browser.until_text("#called", "answered").await;
    close(browser, &[]).await;
}

/// To the tree and through it, with the keys of a tree view.
async fn the_tree_by_keyboard(browser: &Browser) {
    tab_to(browser, "[role=treeitem]", true).await;
    let roots = ["role:mail", "role:pay"].map(|root| row("tree", root));
    until_focused(browser, &roots[0]).await;
    key(browser, keys::DOWN).await;
    until_focused(browser, &roots[1]).await;
    key(browser, keys::UP).await;
    until_focused(browser, &roots[0]).await;
    key(browser, keys::RIGHT).await;
    let child = row("tree", "role:mail,cmd:send");
    browser.until_text(&child, "cmd:send").await;
    key(browser, keys::RIGHT).await;
    until_focused(browser, &child).await;
    key(browser, keys::ENTER).await;
    browser
        .until_text("#chosen-title", "role:mail,cmd:send")
        .await;
    until_focused(browser, &child).await;
    key(browser, keys::LEFT).await;
    until_focused(browser, &roots[0]).await;
    key(browser, keys::LEFT).await;
    browser
        .until("document.querySelectorAll('#tree [role=treeitem]').length === 2")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_keeps_people_out_whatever_the_colours_and_the_width() {
    let node = Node::start().await;
    let (well, bad) = (Mood::default(), Mood::default());
    let _well = well.serve(&node, CHARGE).await;
    let _bad = bad.serve(&node, CHARGE).await;
    let long = format!("role:pay,cmd:charge,{}:1", "currency".repeat(12));
    let _long = well.serve(&node, &long).await;
    let client = through(&node).await;
    let _load = Load::paced(&client, CHARGE, 2);
    let _other = Load::paced(&client, &long, 1);
    let browser = open(&node).await;
    bad.is_bad(true);
    browser
        .until_text(&row("busiest", CHARGE), "1 ejected")
        .await;
    browser
        .click(&format!("{} .pattern", row("busiest", CHARGE)))
        .await;
    browser.until_text("#chosen-list", "ejected").await;
    browser.click(&row("tree", "role:pay")).await;
    browser.until_text(&row("tree", CHARGE), "ejected").await;
    browser.click("#chosen-explain").await;
    browser
        .until_text("#explained .verdict", "No pattern matches.")
        .await;
    call(&browser, "role:nobody", "{}", &["no_route"]).await;
    for (width, height) in [(320, 700), (390, 844), (820, 1180), (1440, 900)] {
        browser.resize(width, height).await;
        let wide = "return document.documentElement.scrollWidth;";
        assert_eq!(browser.run(wide, json!([])).await, width, "it overflows");
        for colours in ["light", "dark"] {
            browser.scheme(colours).await;
            let ground = format!("matchMedia('(prefers-color-scheme: {colours})').matches");
            browser.until(&ground).await;
            assert_clean(&browser, &format!("{colours}, {width} wide")).await;
        }
    }
    close(browser, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_name_is_no_markup() {
    let node = Node::start().await;
    let pattern = "role:<i>pay</i>,cmd:<script>1</script>";
    let _service = Mood::default().serve(&node, pattern).await;
    let client = through(&node).await;
    let load = Load::paced(&client, pattern, 1);
    let browser = open(&node).await;
    browser.until_text("#busiest", pattern).await;
    browser.until_text("#tree", "role:<i>pay</i>").await;
    browser.until_text("#changes", pattern).await;
    browser.click("#busiest .pattern").await;
    browser.until_text("#chosen-title", pattern).await;
    browser.click("#chosen-explain").await;
    browser.until_text("#explained", pattern).await;
    assert_eq!(browser.count("body i, body script").await, 0);
    load.end().await;
    close(browser, &[]).await;
}
