//! Keys and news come in, and what is to be seen is compared.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use nano_client::{Certainty, Code, Explained, InstanceId, Of, State, Winner};
use nano_wire::inspect::{Added, Status};

use super::{Model, News, Next};
use crate::{
    activity::{
        Rates,
        rates::{PatternRate, Rate},
    },
    cli::Column,
    command::top::{asking::Period, cells::name},
};

/// A node without Redis.
pub(in super::super) fn status() -> Status {
    Status {
        identity: "spiffe://nano.local/node/one".to_owned(),
        instance: InstanceId([1; 16]),
        agent: "nanod/0.1.0".to_owned(),
        uptime_ms: 61_000,
        quic: "127.0.0.1:9999".to_owned(),
        http: "127.0.0.1:9999".to_owned(),
        sessions: 5,
        in_flight: 0,
        patterns: 3,
        instances: 4,
        suspect: 0,
        redis: None,
        nodes: 0,
        suspect_nodes: 0,
        listed: Vec::new(),
        added: Added::default(),
    }
}

/// A pattern that is called so often, and fails so often.
pub(in super::super) fn pattern(of: Of, calls_per_s: f64, failures_per_s: f64) -> PatternRate {
    let failures = match failures_per_s > 0.0 {
        true => vec![(Code::HandlerFailed, Certainty::Executed, failures_per_s)],
        false => Vec::new(),
    };
    let rate = Rate {
        calls_per_s,
        failures_per_s,
        failures,
        p50: (calls_per_s > 0.0).then_some(Duration::from_micros(1_500)),
        p99: (calls_per_s > 0.0).then_some(Duration::from_millis(40)),
        in_flight: 2,
        instances: vec![(State::Ready, 1), (State::Ejected, 1)],
    };
    PatternRate { of, rate }
}

/// Three patterns and what is of none.
pub(in super::super) fn period() -> Period {
    let of = |pattern: &str| Of::Pattern(pattern.to_owned());
    let patterns = vec![
        pattern(Of::Other, 0.0, 0.0),
        pattern(Of::None, 0.5, 0.5),
        pattern(of("role:math,cmd:sum"), 20.0, 0.0),
        pattern(of("role:shop,cmd:pay"), 5.0, 3.0),
        pattern(of("role:shop,cmd:search"), 120.0, 1.0),
    ];
    let rates = Rates {
        period: Duration::from_secs(1),
        total: pattern(Of::Other, 145.5, 4.5).rate,
        patterns,
    };
    Period {
        status: status(),
        at_ms: 1_764_362_042_000,
        rates: Some(rates),
    }
}

/// One that has seen that period.
pub(in super::super) fn model() -> Model {
    let mut model = Model::new(Column::Calls);
    model.take(News::Period(Box::new(period())));
    model
}

/// Presses keys, where ten rows are to be seen.
pub(in super::super) fn press(model: &mut Model, keys: &[KeyCode]) -> Next {
    let mut next = Next::Show;
    for code in keys {
        next = model.press(KeyEvent::new(*code, KeyModifiers::NONE), 10);
    }
    next
}

fn type_text(model: &mut Model, text: &str) {
    let keys: Vec<_> = text.chars().map(KeyCode::Char).collect();
    press(model, &keys);
}

fn names(model: &Model) -> Vec<&str> {
    model.rows().into_iter().map(|row| name(&row.of)).collect()
}

fn explained(subject: &str) -> News {
    let winner = Winner {
        pattern: subject.to_owned(),
        instances: 0,
        listed: Vec::new(),
    };
    News::Explained(Box::new(Explained {
        subject: subject.to_owned(),
        winner: Some(winner),
        ..Explained::default()
    }))
}

const SEARCH: &str = "role:shop,cmd:search";
const PAY: &str = "role:shop,cmd:pay";
const SUM: &str = "role:math,cmd:sum";

#[test]
fn keys_order_the_patterns() {
    let mut model = model();
    assert_eq!(names(&model), [SEARCH, SUM, PAY, "(none)"]);
    type_text(&mut model, "s");
    assert_eq!(model.sort, Column::Failures);
    assert_eq!(names(&model), [PAY, SEARCH, "(none)", SUM]);
    type_text(&mut model, "r");
    assert_eq!(names(&model), [SUM, "(none)", SEARCH, PAY]);
    type_text(&mut model, "1");
    assert_eq!(names(&model), ["(none)", SUM, PAY, SEARCH]);
    type_text(&mut model, "<");
    assert_eq!(model.sort, Column::Instances);
    for (key, column) in "1234567".chars().zip(Column::ALL) {
        press(&mut model, &[KeyCode::Char(key)]);
        assert_eq!(model.sort, column);
    }
}

#[test]
fn a_filter_holds_until_it_is_dropped() {
    let mut model = model();
    type_text(&mut model, "/SHOPq");
    assert_eq!(names(&model), [""; 0], "a key of the filter is no command");
    press(&mut model, &[KeyCode::Backspace]);
    assert_eq!(names(&model), [SEARCH, PAY]);
    press(&mut model, &[KeyCode::Enter]);
    type_text(&mut model, "r");
    assert_eq!(names(&model), [PAY, SEARCH]);
    press(&mut model, &[KeyCode::Esc]);
    assert_eq!(names(&model).len(), 4);
}

#[test]
fn the_cursor_stays_on_its_pattern() {
    let mut model = model();
    let at = |model: &Model| {
        let rows = model.rows();
        name(&rows[model.cursor(&rows)].of).to_owned()
    };
    assert_eq!(at(&model), SEARCH);
    press(&mut model, &[KeyCode::Down]);
    assert_eq!(at(&model), SUM);
    type_text(&mut model, "r");
    assert_eq!(at(&model), SUM, "also where the order is another");
    press(&mut model, &[KeyCode::End, KeyCode::Down]);
    assert_eq!(at(&model), SEARCH);
    press(&mut model, &[KeyCode::PageUp]);
    assert_eq!(at(&model), "(none)");
    let mut without = period();
    let rates = without.rates.as_mut().expect("there are some");
    rates.patterns.retain(|row| row.of != Of::None);
    model.take(News::Period(Box::new(without)));
    assert_eq!(at(&model), PAY, "the first one if it is gone");
}

#[test]
fn a_pattern_is_looked_into_and_left() {
    let mut model = model();
    press(&mut model, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!(model.wanted().as_deref(), Some(SUM));
    model.take(explained(SEARCH));
    let has_come = |model: &Model| {
        model
            .detail
            .as_ref()
            .is_some_and(|it| it.explained.is_some())
    };
    assert!(!has_come(&model), "an answer about another");
    model.take(explained(SUM));
    assert!(has_come(&model));
    press(&mut model, &[KeyCode::Esc]);
    assert!(model.detail.is_none() && model.wanted().is_none());
    press(&mut model, &[KeyCode::End, KeyCode::Enter]);
    assert!(model.detail.is_some(), "calls of no pattern fail too");
    assert!(model.wanted().is_none(), "but have no instances");
    press(&mut model, &[KeyCode::Backspace]);
    assert!(model.detail.is_none());
}

#[test]
fn while_paused_nothing_changes() {
    let mut model = model();
    type_text(&mut model, "p");
    let mut other = period();
    other
        .rates
        .as_mut()
        .expect("there are some")
        .patterns
        .clear();
    model.take(News::Period(Box::new(other.clone())));
    assert_eq!(names(&model).len(), 4);
    press(&mut model, &[KeyCode::Enter]);
    model.take(explained(SEARCH));
    let detail = model.detail.as_ref().expect("it is looked into");
    assert!(detail.explained.is_some(), "what was asked for comes");
    press(&mut model, &[KeyCode::Esc, KeyCode::Char('p')]);
    model.take(News::Period(Box::new(other)));
    assert_eq!(names(&model).len(), 0);
}

#[test]
fn rates_are_kept_until_another_node_has_its_own() {
    let mut model = model();
    let failure = nano_wire::Failure::not_sent(Code::Deadline, nano_wire::Hop::Caller, "gone");
    model.take(News::Lost(failure));
    assert!(model.lost.as_ref().is_some_and(|why| why.contains("gone")));
    let first = Period {
        rates: None,
        ..period()
    };
    model.take(News::Period(Box::new(first)));
    assert!(model.lost.is_none());
    assert_eq!(names(&model).len(), 4);
}

#[test]
fn it_ends_by_its_keys_alone() {
    let mut model = model();
    assert_eq!(press(&mut model, &[KeyCode::Esc]), Next::Show);
    type_text(&mut model, "?");
    assert!(model.is_helping);
    type_text(&mut model, "x");
    assert!(!model.is_helping);
    assert_eq!(press(&mut model, &[KeyCode::Char('q')]), Next::End);
    type_text(&mut model, "/");
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(model.press(interrupt, 10), Next::End);
}
