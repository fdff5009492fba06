//! Which texts are identities, and that they come back as they went in.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nano_tls::{Error, Identity, Kind, Name};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_valid_identity_comes_back_from_its_uri(
        trust_domain in "[a-z0-9._-]{1,255}",
        kind in kinds(),
        name in name(),
    ) {
        let identity = Identity::new(trust_domain.as_str(), kind, name.as_str()).unwrap();
        let uri = identity.to_string();
        prop_assert_eq!(&uri, &format!("spiffe://{trust_domain}/{kind}/{name}"));
        prop_assert_eq!(&Identity::parse_uri(&uri).unwrap(), &identity);
        prop_assert_eq!(identity.trust_domain(), trust_domain);
        prop_assert_eq!(identity.kind(), kind);
        prop_assert_eq!(identity.name(), name);
    }

    #[test]
    fn a_name_comes_back_from_its_text(kind in kinds(), name in name()) {
        let parsed: Name = format!("{kind}/{name}").parse().unwrap();
        prop_assert_eq!(parsed.kind(), kind);
        prop_assert_eq!(parsed.name(), name.as_str());
        let identity = Identity::of("t", parsed.clone()).unwrap();
        prop_assert_eq!(identity.short(), parsed.to_string());
    }

    #[test]
    fn whatever_parses_is_written_the_same(
        text in prop_oneof![
            any::<String>(),
            "spiffe://[a-zA-Z0-9._%:@/-]{0,12}/(node|service|client|x)/?[a-zA-Z0-9._%/?#-]{0,8}",
        ],
    ) {
        if let Ok(identity) = Identity::parse_uri(&text) {
            prop_assert_eq!(identity.to_string(), text);
        }
    }

    #[test]
    fn one_foreign_character_spoils_a_name(
        name in name(),
        at in any::<prop::sample::Index>(),
        foreign in any::<char>().prop_filter("foreign", |char| {
            !char.is_ascii_alphanumeric() && !"._-".contains(*char)
        }),
    ) {
        let mut spoilt = name;
        let at = at.index(spoilt.len() + 1);
        spoilt.insert(at, foreign);
        let is_refused = matches!(Name::new(Kind::Node, spoilt), Err(Error::Name { .. }));
        prop_assert!(is_refused);
    }
}

#[test]
fn what_is_not_an_identity_is_refused_with_the_reason() {
    let long_domain = format!("spiffe://{}/node/a", "a".repeat(256));
    let long_name = format!("spiffe://t/node/{}", "a".repeat(2033));
    for (uri, reason) in [
        ("", "does not begin with spiffe://"),
        ("https://t/node/a", "does not begin with spiffe://"),
        ("SPIFFE://t/node/a", "does not begin with spiffe://"),
        ("spiffe://t", "no path"),
        ("spiffe:///node/a", "it is empty"),
        ("spiffe://T/node/a", "only lower-case"),
        ("spiffe://t:1/node/a", "only lower-case"),
        ("spiffe://u@t/node/a", "only lower-case"),
        ("spiffe://t/node", "write it as <kind>/<name>"),
        ("spiffe://t/node/", "it is empty"),
        ("spiffe://t//a", "is not a kind"),
        ("spiffe://t/Node/a", "is not a kind"),
        ("spiffe://t/node/a/", "only letters"),
        ("spiffe://t/node/a/b", "only letters"),
        ("spiffe://t/node/.", "'.' and '..'"),
        ("spiffe://t/node/..", "'.' and '..'"),
        ("spiffe://t/node/a%20b", "only letters"),
        ("spiffe://t/node/a?b", "only letters"),
        ("spiffe://t/node/ä", "only letters"),
        (&long_domain, "longer than 255"),
        (&long_name, "2049 bytes, more than 2048"),
    ] {
        let error = Identity::parse_uri(uri).unwrap_err();
        assert!(matches!(error, Error::Uri { .. }), "{uri}: {error:?}");
        let message = error.to_string();
        assert!(message.contains(reason), "{uri}: {message}");
        assert!(message.len() < 600, "{uri}: {} bytes", message.len());
    }
    let longest = format!("spiffe://t/node/{}", "a".repeat(2032));
    assert_eq!(Identity::parse_uri(&longest).unwrap().to_string(), longest);
}

#[test]
fn the_command_line_is_told_what_to_write() {
    let message = |text: &str| text.parse::<Name>().unwrap_err().to_string();
    assert_eq!(
        message("math"),
        "\"math\" is not a name: write it as <kind>/<name>, for example service/math"
    );
    assert_eq!(
        message("servce/math"),
        "\"servce\" is not a kind: write node, service or client"
    );
    assert_eq!(message("service/"), "\"\" is not a name: it is empty");
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Node), Just(Kind::Service), Just(Kind::Client)]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._-]{1,40}".prop_filter("dots", |name| name != "." && name != "..")
}

#[test]
fn what_a_machine_or_program_is_called_becomes_a_name() {
    let long = "x".repeat(100);
    for (called, name) in [
        ("web-7.example.org", "web-7.example.org"),
        ("my program (2)", "my-program--2-"),
        ("caf\u{e9}", "caf-"),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("\u{1f980}", "unnamed"),
        (long.as_str(), &long[..64]),
    ] {
        let nearest = Name::nearest(Kind::Service, called);
        assert_eq!(nearest.name(), name);
        assert_eq!(Name::new(Kind::Service, name).ok(), Some(nearest));
    }
}
