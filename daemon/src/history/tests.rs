//! The history by itself: changes that the test makes up.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_wire::{InstanceId, history::What, inspect::Place};

use super::*;
use crate::table::Table;

fn change(at_ms: u64, pattern: &str, id: u8, what: What) -> RouteChange {
    RouteChange {
        number: 0,
        at_ms,
        pattern: pattern.to_owned(),
        instance: InstanceId([id; 16]),
        identity: format!("spiffe://nano.local/service/{id}"),
        place: Place::Here,
        what,
    }
}

fn many(count: u64) -> Vec<RouteChange> {
    let registered = |number| change(number, &format!("a:{number}"), 1, What::Registered);
    (0..count).map(registered).collect()
}

async fn all(history: &Arc<History>, mut ask: AskHistory) -> Vec<RouteChange> {
    let mut all = Vec::new();
    loop {
        let page = history.page(ask.clone()).await.unwrap();
        ask.before = page.changes.last().map(|last| last.number);
        all.extend(page.changes);
        if !page.more {
            return all;
        }
    }
}

#[tokio::test]
async fn pages_have_every_change_once_and_the_latest_first() {
    let history = Arc::new(History::new(1 << 20, Vec::new()));
    let appended = history.append(many(1_000));
    assert!(appended.added.len() > 1 && appended.dropped.is_empty());
    let listed = all(&history, AskHistory::default()).await;
    let numbers: Vec<_> = listed.iter().map(|change| change.number).collect();
    assert_eq!(numbers, (0..1_000).rev().collect::<Vec<_>>());
    let some = AskHistory {
        prefix: Some("a:7".to_owned()),
        ..AskHistory::default()
    };
    assert_eq!(all(&history, some).await.len(), 1);
    let late = AskHistory {
        since_ms: Some(990),
        ..AskHistory::default()
    };
    assert_eq!(all(&history, late).await.len(), 10);
    let odd = AskHistory {
        prefix: Some(",".to_owned()),
        ..AskHistory::default()
    };
    assert!(history.page(odd).await.is_err());
}

#[tokio::test]
async fn the_oldest_changes_make_room() {
    let history = Arc::new(History::new(64 << 10, Vec::new()));
    for _ in 0..10 {
        history.append(many(1_000));
    }
    let chunks = history.chunks();
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    assert!(bytes <= 64 << 10);
    let listed = all(&history, AskHistory::default()).await;
    assert_eq!(listed.first().map(|change| change.number), Some(9_999));

    // What is kept is taken up again, and what cannot be read is left out.
    let stored = chunks
        .iter()
        .map(|chunk| Chunk::stored(chunk.first, chunk.bytes.clone()).unwrap());
    let again = Arc::new(History::new(64 << 10, stored.collect()));
    assert_eq!(all(&again, AskHistory::default()).await, listed);
    let appended = again.append(many(1));
    assert_eq!(appended.added[0].first, 10_000);
    assert!(Chunk::stored(0, vec![1, 2, 3]).is_none());
}

#[tokio::test]
async fn it_says_where_calls_went() {
    let history = Arc::new(History::new(1 << 20, Vec::new()));
    history.append(vec![
        change(10, "a:1", 1, What::Registered),
        change(20, "a:1,b:2", 2, What::Registered),
        change(30, "a:1", 3, What::Registered),
        change(40, "a:1,b:2", 2, What::Left),
        change(50, "a:1", 1, What::Lost),
        change(60, "a:1", 1, What::Expired),
        change(70, "a:10", 4, What::Registered),
        change(80, "a:1,b:2", 2, What::Registered),
        change(90, "a:1,b:2", 2, What::Gone),
    ]);
    // The table has what is there now: nothing.
    let table = Published::default();
    table.store(Arc::new(Table::new()));
    for (at_ms, expected) in [
        (10, Some(("a:1", vec![(1, Some(What::Registered))]))),
        (25, Some(("a:1,b:2", vec![(2, Some(What::Registered))]))),
        (
            45,
            Some((
                "a:1",
                vec![(1, Some(What::Registered)), (3, Some(What::Registered))],
            )),
        ),
        (
            55,
            Some((
                "a:1",
                vec![(1, Some(What::Lost)), (3, Some(What::Registered))],
            )),
        ),
        (65, Some(("a:1", vec![(3, Some(What::Registered))]))),
        (85, Some(("a:1,b:2", vec![(2, Some(What::Registered))]))),
        (95, Some(("a:1", vec![(3, Some(What::Registered))]))),
    ] {
        let ask = AskPast {
            subject: "a:1,b:2,c:3".to_owned(),
            at_ms,
            ..AskPast::default()
        };
        let past = history.past(&table, ask).await.unwrap();
        let found = past.winner.map(|winner| {
            let listed = winner.listed.iter();
            let listed =
                listed.map(|held| (held.instance.0[0], held.last.as_ref().map(|it| it.what)));
            (winner.pattern, listed.collect::<Vec<_>>())
        });
        let expected = expected.map(|(pattern, held)| (pattern.to_owned(), held));
        assert_eq!(found, expected, "at {at_ms}");
    }
    let ask = AskPast {
        subject: "a:1".to_owned(),
        at_ms: 9,
        ..AskPast::default()
    };
    let too_early = history.past(&table, ask).await.unwrap_err();
    assert!(too_early.message.contains("begins later"), "{too_early}");
}
