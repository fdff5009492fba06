//! Rules as files have them, and callers as listeners see them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::net::Ipv4Addr;

use super::*;

const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));

fn rules(text: &str) -> Result<Rules, Vec<String>> {
    let in_words = |mistakes: Vec<Mistake>| mistakes.iter().map(Mistake::to_string).collect();
    file::parse("rules.toml", text).map_err(in_words)
}

#[test]
fn the_sample_is_right() {
    assert!(rules(include_str!("../../../deploy/rules.toml")).is_ok());
}

#[test]
fn a_file_says_who_may_do_what() {
    let rules = rules(
        r#"
default = "closed"
contact = "ops@example.org"

[[own]]
prefix = "role:math"
identity = "service/math"

[[register]]
identity = "service/*"
patterns = ["a:1", "b:1, c:1"]

[[call]]
identity = "client/*"
"#,
    )
    .unwrap();
    let may = |deed, identity, pattern| rules.judge(deed, identity, pattern).is_allowed;
    assert!(may(Deed::Register, "service/math", "role:math,cmd:sum"));
    assert!(!may(Deed::Register, "service/x", "role:math"));
    assert!(may(Deed::Register, "service/x", "b:1,c:1"));
    assert!(!may(Deed::Register, "service/x", "b:1"));
    assert!(!may(Deed::Register, "client/x", "a:1"));
    assert!(may(Deed::Call, "client/x", "anything"));
    let refused = rules.judge(Deed::Register, "service/x", "role:math");
    let refused = refused.refusal(Deed::Register, "service/x", "role:math");
    assert!(refused.contains("rules.toml, line 5,"), "{refused}");
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let mistakes = rules(
        r#"default = "shut"
[[call]]
identity = "shop"
patterns = ["a,,b",
  "a:1"]
[[register]]
patterns = "a:1"
[[own]]
identity = "service/*"
prefixes = ["a"]
"#,
    )
    .unwrap_err();
    let lines: Vec<_> = mistakes
        .iter()
        .map(|mistake| mistake.split(':').next().unwrap())
        .collect();
    let wanted = [
        "line 1", "line 3", "line 4", "line 6", "line 7", "line 8", "line 10",
    ];
    assert_eq!(lines, wanted, "{mistakes:#?}");
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let mistakes = rules("default = \"open\"\n[[call\n").unwrap_err();
    assert!(mistakes[0].starts_with("line 2:"), "{mistakes:?}");
}

fn access(http_callers: HttpCallers, register_from: &str) -> Access {
    let settings = Settings {
        rules_file: None,
        tokens_from: Some(TokenSource::Given(
            b"client/shop 0123456789abcdef".to_vec().into(),
        )),
        http_callers,
        register_from: register_from.parse().unwrap(),
        targets: Networks::private(),
    };
    let access = Access::default();
    access.settings.store(Arc::new(settings));
    access
}

fn outcome(result: Result<Arc<str>, Failure>) -> String {
    result.map_or_else(
        |failure| failure.code.to_string(),
        |identity| identity.to_string(),
    )
}

#[test]
fn a_caller_over_http_is_whom_its_token_says_or_local_or_nobody() {
    let shop: Option<&[u8]> = Some(b"Bearer 0123456789abcdef");
    let wrong: Option<&[u8]> = Some(b"Bearer 0123456789abcdee");
    let other: Option<&[u8]> = Some(b"Basic YTph");
    for (is_on_loopback, authorization, callers, wanted) in [
        (true, None, HttpCallers::Token, HTTP_LOCAL),
        (true, shop, HttpCallers::Token, "client/shop"),
        (true, wrong, HttpCallers::Token, "unauthenticated"),
        (true, other, HttpCallers::Token, HTTP_LOCAL),
        (false, other, HttpCallers::Token, "unauthenticated"),
        (false, None, HttpCallers::Token, "unauthenticated"),
        (false, shop, HttpCallers::Token, "client/shop"),
        (false, None, HttpCallers::Anyone, HTTP_LOCAL),
        (false, wrong, HttpCallers::Anyone, "unauthenticated"),
    ] {
        let access = access(callers, "none");
        access.reload().unwrap();
        let peer = HttpPeer {
            ip: FAR,
            is_on_loopback,
            authorization,
        };
        assert_eq!(
            outcome(access.http_caller(peer)),
            wanted,
            "{is_on_loopback} {callers:?}"
        );
    }
}

#[test]
fn who_registers_over_http_shows_a_token_or_comes_from_a_network() {
    for (is_on_loopback, networks, wanted) in [
        (true, "none", HTTP_LOCAL),
        (false, "10.1.0.0/16", HTTP_LOCAL),
        (false, "10.2.0.0/16", "forbidden"),
    ] {
        let peer = HttpPeer {
            ip: FAR,
            is_on_loopback,
            authorization: None,
        };
        // Who may call without a token may not register without one.
        let access = access(HttpCallers::Anyone, networks);
        assert_eq!(outcome(access.http_registrar(peer)), wanted, "{networks}");
    }
}

#[test]
fn what_is_dialled_lies_in_the_allowed_networks() {
    let access = access(HttpCallers::Token, "none");
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let public = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let address = |text: &str| text.parse().expect("an address");
    let (ip, name) = (address("127.0.0.1:1"), address("example.org:1"));
    assert!(
        access.may_dial(here, &name, Some(here)).is_err(),
        "a name of elsewhere"
    );
    assert!(access.may_dial(FAR, &name, None).is_ok());
    assert!(
        access.may_dial(here, &ip, None).is_ok() && access.may_dial(here, &ip, Some(here)).is_ok()
    );
    assert!(access.may_dial(here, &ip, Some(FAR)).is_err());
    assert!(access.may_dial(FAR, &ip, Some(FAR)).is_ok());
    assert!(access.may_dial(public, &ip, Some(here)).is_err());
}
