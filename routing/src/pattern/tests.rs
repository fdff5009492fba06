//! The syntax, by examples and by properties.

use proptest::prelude::*;

use super::*;

#[test]
fn white_space_around_fields_is_dropped_and_that_within_stays() {
    let pattern = Pattern::parse("\t role:math ,\u{a0}cmd: sum up\u{2003}").expect("valid");
    assert_eq!(pattern.as_str(), "role:math,cmd: sum up");
    assert!(pattern.fields().eq(["role:math", "cmd: sum up"]));
    assert_eq!(
        format!("{pattern:>22}|{pattern:?}"),
        " role:math,cmd: sum up|\"role:math,cmd: sum up\""
    );
}

#[test]
fn canonical_text_is_lent_back() {
    for text in ["a", "role:math,cmd:sum", "größe:1,b c"] {
        assert!(matches!(canonical(text), Ok(Cow::Borrowed(same)) if same == text));
    }
    assert!(matches!(canonical("a,b ,c"), Ok(Cow::Owned(text)) if text == "a,b,c"));
}

#[test]
fn fields_match_whole_and_in_order() {
    let pattern = Pattern::parse("role:math,cmd:sum").expect("valid");
    for subject in ["role:math,cmd:sum", "role:math,cmd:sum,left:1"] {
        assert!(pattern.matches(subject), "{subject}");
    }
    for subject in [
        "role:math",
        "role:math,cmd:summary",
        "cmd:sum,role:math",
        "x,role:math,cmd:sum",
    ] {
        assert!(!pattern.matches(subject), "{subject}");
    }
}

#[test]
fn each_error_names_the_offence_its_place_and_the_remedy() {
    let empty = |field, at| PatternError::EmptyField { field, at };
    let control = |character, field, at| PatternError::ControlCharacter {
        character,
        field,
        at,
    };
    for (text, error) in [
        ("", PatternError::Empty),
        (" \t\u{a0}", PatternError::Empty),
        (",", empty(1, 0)),
        ("a,", empty(2, 2)),
        ("a, ,b", empty(2, 2)),
        ("a,b\0", control('\0', 2, 3)),
        ("a, b\tc", control('\t', 2, 4)),
        ("a\n", control('\n', 1, 1)),
        ("ö,\u{85}a", control('\u{85}', 2, 3)),
        ("\n", control('\n', 1, 0)),
        ("\u{a0}ö\u{7f}", control('\u{7f}', 1, 4)),
    ] {
        assert_eq!(Pattern::parse(text), Err(error), "{text:?}");
    }
    assert_eq!(
        Pattern::parse("a, b\tc")
            .expect_err("a tab within a field")
            .to_string(),
        r"control character '\t' in field 2 at byte 4: remove it"
    );
}

#[test]
fn limits_hold_at_their_edge() {
    let fields = vec!["f"; MAX_FIELDS].join(",");
    assert!(canonical(&fields).is_ok());
    assert_eq!(
        canonical(&(fields + ",\n")),
        Err(PatternError::TooManyFields {
            limit: MAX_FIELDS,
            at: 2 * MAX_FIELDS
        })
    );

    let text = "x".repeat(MAX_BYTES);
    assert!(canonical(&text).is_ok());
    assert_eq!(
        canonical(&(text + " ")),
        Err(PatternError::TooLong {
            bytes: MAX_BYTES + 1,
            limit: MAX_BYTES
        })
    );
}

#[test]
fn a_pattern_is_found_by_its_text() {
    let patterns = std::collections::HashSet::from([Pattern::parse("a, b").expect("valid")]);
    assert!(patterns.contains("a,b"));
    assert_eq!("a , b".parse::<Pattern>(), Pattern::try_from("a,b"));
}

/// Texts full of what matters to the syntax.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b:1", "ö", ",", ",", ",", " ", "\t", "\u{a0}", "\u{3000}", "\n", "\u{85}", "\0",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn canonical_is_idempotent_and_keeps_the_fields(text in text()) {
        let Ok(once) = canonical(&text) else { return Ok(()) };
        prop_assert!(matches!(canonical(&once), Ok(Cow::Borrowed(twice)) if twice == once));
        prop_assert!(once.split(',').eq(text.split(',').map(str::trim)));
        prop_assert!(!once.contains(char::is_control));
    }

    #[test]
    fn errors_point_at_the_offence(text in text()) {
        match canonical(&text) {
            Ok(_) => {}
            Err(PatternError::Empty) => prop_assert_eq!(text.trim(), ""),
            Err(PatternError::EmptyField { field, at }) => {
                prop_assert_eq!(text[..at].matches(',').count(), field - 1);
                prop_assert!(at == 0 || text[..at].ends_with(','));
                let rest = text[at..].trim_start();
                prop_assert!(rest.is_empty() || rest.starts_with(','));
            }
            Err(PatternError::ControlCharacter { character, field, at }) => {
                prop_assert!(character.is_control());
                prop_assert!(text[at..].starts_with(character));
                prop_assert_eq!(text[..at].matches(',').count(), field - 1);
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        let _ = canonical(&text);
    }
}

#[test]
fn a_subject_has_a_prefix_for_each_field() {
    let longest_first: Vec<_> = prefixes("a:1,b:2,c:3").rev().collect();
    assert_eq!(longest_first, ["a:1,b:2,c:3", "a:1,b:2", "a:1"]);
}
