//! What is to be shown comes in, and what a terminal would show is compared.

use crossterm::event::KeyCode;
use nano_client::{Explained, InstanceId, Of, Pick, Place, RouteState, Source, Standing, Winner};
use nano_wire::{inspect::Later, message::Policy};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    style::{Color, Modifier},
};

use super::{Painter, shortened};
use crate::{
    cli::Column,
    command::top::{
        asking::News,
        model::{
            Model,
            tests::{model, pattern, period, press},
        },
    },
};

fn drawn(model: &Model, is_colored: bool, width: u16, height: u16) -> Buffer {
    let mut painter = Painter::new(is_colored, Some("role".to_owned()));
    let backend = TestBackend::new(width, height);
    let mut terminal = Terminal::new(backend).expect("a buffer takes all");
    let drawn = terminal.draw(|frame| painter.paint(frame, model));
    drawn.expect("a buffer takes all").buffer.clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = buffer.area.width.into();
    let rows = buffer.content.chunks(width);
    rows.map(|row| {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    })
    .collect()
}

fn standing(number: u8, pick: Pick) -> Standing {
    Standing {
        instance: InstanceId([number; 16]),
        identity: format!("spiffe://nano.local/service/pay-{number}"),
        place: Place::Here,
        state: RouteState::Ready,
        pick,
        ejected_ms: (pick == Pick::Ejected).then_some(2_300),
        in_flight: 1,
        latency_us: Some(1_500),
        policy: Policy::default(),
        address: None,
        source: Source::Session,
        age_ms: 0,
        later: Later,
    }
}

#[test]
fn a_usual_terminal_shows_all_columns() {
    let shown = lines(&drawn(&model(), true, 80, 24));
    let expected = [
        "node/one at 127.0.0.1:9999, up 1 min 1 s    20:34:02Z  Redis: none is configured",
        "146 calls/s, 4.5 failures/s, p50 1.5 ms, p99 40.0 ms, 2 in flight",
        "only of role",
        "PATTERN                 CALLS/S▼  FAIL/S     P50     P99  FLIGHT INSTANCES",
        "role:shop,cmd:search         120     1.0  1.5 ms 40.0 ms       2 1/2 ejected",
        "role:math,cmd:sum           20.0       0  1.5 ms 40.0 ms       2 1/2 ejected",
        "role:shop,cmd:pay            5.0     3.0  1.5 ms 40.0 ms       2 1/2 ejected",
        "(none)                       0.5     0.5  1.5 ms 40.0 ms       - -",
    ];
    assert_eq!(shown[..8], expected);
    let foot = shown.last().expect("there are lines");
    for key in ["order", "reverse", "filter", "pause", "keys", "q end"] {
        assert!(foot.contains(key), "{foot}");
    }
}

#[test]
fn a_wide_terminal_spells_out_how_instances_stand() {
    let shown = lines(&drawn(&model(), true, 200, 50));
    assert!(shown[1].ends_with("3 patterns, 5 sessions"), "{}", shown[1]);
    assert!(shown[4].ends_with("1/2 ready, 1 ejected"), "{}", shown[4]);
    // Near to its pattern, which has 20 characters.
    assert_eq!(shown[4].find("120"), Some(46), "{}", shown[4]);
}

#[test]
fn a_narrow_terminal_leaves_columns_out() {
    let shown = lines(&drawn(&model(), true, 40, 10));
    assert_eq!(shown[0], "node/one       Redis: none is configured");
    assert!(shown[3].contains("PATTERN") && shown[3].contains("CALLS/S"));
    assert!(!shown[3].contains("P50"), "{}", shown[3]);
    assert!(shown[4].contains("role:shop"), "{}", shown[4]);
    for (width, height) in [(1, 1), (3, 4), (20, 3), (80, 2), (500, 200)] {
        drawn(&model(), true, width, height);
        let mut model = model();
        press(&mut model, &[KeyCode::Enter, KeyCode::Char('?')]);
        drawn(&model, true, width, height);
    }
}

/// What the node says of a pattern that has 70 instances.
fn explained(listed: Vec<Standing>) -> News {
    let winner = Winner {
        pattern: "role:shop,cmd:pay".to_owned(),
        instances: 70,
        listed,
    };
    News::Explained(Box::new(Explained {
        subject: winner.pattern.clone(),
        winner: Some(winner),
        ..Explained::default()
    }))
}

#[test]
fn a_pattern_shows_its_failures_and_instances() {
    let mut model = model();
    press(&mut model, &[KeyCode::Char('3'), KeyCode::Enter]);
    let listed = vec![standing(1, Pick::Ejected), standing(2, Pick::Yes)];
    model.take(explained(listed));
    let shown = lines(&drawn(&model, true, 80, 24));
    let expected = [
        "role:shop,cmd:pay",
        "5.0 calls/s, 3.0 failures/s, p50 1.5 ms, p99 40.0 ms, 2 in flight; 1 ready, 1 ej",
        "",
        "  FAIL/S  CODE                 CERTAINTY",
        "     3.0  handler_failed       executed",
        "",
        "INSTANCE IDENTITY     AT              STATE       FLIGHT AVERAGE PICKED",
        "01010101 servi…/pay-1 here            ready            1  1.5 ms ejected 2.3 s",
        "02020202 servi…/pay-2 here            ready            1  1.5 ms yes",
        "and      68 more",
    ];
    assert_eq!(shown[3..13], expected);
    press(&mut model, &[KeyCode::Down]);
    let scrolled = lines(&drawn(&model, true, 200, 50));
    assert!(scrolled[10].starts_with("02020202"), "{}", scrolled[10]);
    assert!(scrolled[10].ends_with("may be picked"), "{}", scrolled[10]);
    // A small one has room for an instance, and fewer instances than before are shown all the same.
    model.take(explained(vec![standing(3, Pick::Yes)]));
    let small = lines(&drawn(&model, true, 40, 10));
    assert!(small[8].starts_with("030303"), "{}", small[8]);
}

#[test]
fn without_colours_nothing_is_coloured_and_what_is_bad_stands_out() {
    let colored = drawn(&model(), true, 80, 24);
    assert!(colored.content.iter().any(|cell| cell.fg == Color::Red));
    let plain = drawn(&model(), false, 80, 24);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset));
    let failures = plain.content[4 * 80..5 * 80].iter();
    let mut failures = failures.filter(|cell| cell.symbol() == ".");
    assert!(failures.any(|cell| cell.modifier.contains(Modifier::BOLD)));
}

#[test]
fn what_is_out_of_the_ordinary_is_said() {
    let mut model = Model::new(Column::Calls);
    assert!(lines(&drawn(&model, true, 80, 24))[0].contains("no answer yet"));
    let failure = nano_wire::Failure::not_sent(
        nano_client::Code::ConnectionLost,
        nano_client::Hop::Caller,
        "the node has gone",
    );
    model.take(News::Lost(failure));
    let shown = lines(&drawn(&model, true, 80, 24));
    assert!(shown[2].contains("still trying"), "{}", shown[2]);
    let mut model = super::super::model::tests::model();
    press(
        &mut model,
        &[KeyCode::Char('p'), KeyCode::Char('/'), KeyCode::Char('x')],
    );
    let shown = lines(&drawn(&model, true, 80, 24));
    assert!(shown[2].contains("paused") && shown[2].contains("filter: x_"));
    assert!(
        shown
            .iter()
            .any(|line| line.contains("No pattern contains"))
    );
}

#[test]
fn a_long_text_loses_its_middle() {
    assert_eq!(shortened("role:math,cmd:sum", 17), "role:math,cmd:sum");
    assert_eq!(shortened("role:math,cmd:sum", 9), "role…:sum");
    assert_eq!(shortened("role:math", 1), "…");
    assert_eq!(shortened("role:math", 0), "…");
}

#[test]
fn control_characters_are_not_drawn() {
    let mut model = model();
    let mut period = period();
    period.status.identity = "spiffe://nano.local/node/\u{1b}]0;x\u{7}\u{9b}31m".to_owned();
    let rates = period.rates.as_mut().expect("there are some");
    rates.patterns.push(pattern(
        Of::Pattern("role:\u{1b}[2Jx".to_owned()),
        999.0,
        0.0,
    ));
    model.take(News::Period(Box::new(period)));
    press(&mut model, &[KeyCode::Char('3'), KeyCode::Enter]);
    let mut bad = standing(1, Pick::Yes);
    bad.identity = "spiffe://nano.local/service/\u{1b}[2J".to_owned();
    bad.place = Place::Node {
        node: bad.instance,
        address: "\u{1b}c".to_owned(),
    };
    model.take(explained(vec![bad]));
    for is_listed in [false, true] {
        if is_listed {
            press(&mut model, &[KeyCode::Esc]);
        }
        let drawn = drawn(&model, true, 200, 24);
        let symbols = drawn.content.iter().map(|cell| cell.symbol());
        assert!(symbols.clone().any(|symbol| symbol == "["));
        assert_eq!(
            symbols
                .filter(|symbol| symbol.contains(char::is_control))
                .count(),
            0
        );
    }
}
