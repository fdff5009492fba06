//! Lists that are read page by page while the table changes, against what is in it.

use std::collections::BTreeSet;

use nano_wire::message::Policy;

use super::*;
use crate::table::{Instance, Table};

fn publication(table: Table) -> Publication {
    let published = Publication::default();
    published.store(Arc::new(table));
    published
}

fn member(published: &Publication, pattern: &str, id: u128) -> Arc<Member> {
    let id = InstanceId(id.to_be_bytes());
    let identity = "spiffe://nano.local/service/s".to_owned();
    let instance = Instance::restored(id, identity, published.census());
    let pattern = Pattern::parse(pattern).expect("a pattern");
    Arc::new(Member::new(
        Arc::new(instance),
        pattern,
        Policy::default(),
        1,
    ))
}

fn with(mut table: Table, published: &Publication, pattern: &str, id: u128) -> Table {
    let member = member(published, pattern, id);
    let members = table.get(pattern).cloned().unwrap_or_default();
    table.insert(member.pattern.clone(), members.with(member));
    table
}

/// What a whole list names, page by page; `between` is done after each page.
fn names(
    published: &Publication,
    prefix: Option<&str>,
    mut between: impl FnMut(usize),
) -> Vec<(String, u128)> {
    let mut list = ListRoutes {
        prefix: prefix.map(str::to_owned),
        ..ListRoutes::default()
    };
    let mut names = Vec::new();
    for number in 0.. {
        let page = page(published, &list).expect("a page");
        list.after = page
            .routes
            .last()
            .map(|last| (last.pattern.clone(), last.instance));
        let name = |route: Route| (route.pattern, u128::from_be_bytes(route.instance.0));
        names.extend(page.routes.into_iter().map(name));
        if !page.more {
            break;
        }
        between(number);
    }
    names
}

#[test]
fn a_prefix_is_taken_by_fields() {
    let published = Publication::default();
    let mut table = Table::new();
    for pattern in [
        "role:math",
        "role:math,cmd:sum",
        "role:mathx",
        "role:mat",
        "a",
    ] {
        table = with(table, &published, pattern, 1);
    }
    let published = publication(table);
    let listed = |prefix| {
        let names = names(&published, prefix, |_| {});
        names
            .into_iter()
            .map(|(pattern, _)| pattern)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        listed(Some(" role:math ")),
        ["role:math", "role:math,cmd:sum"]
    );
    assert_eq!(listed(Some("role")), [""; 0]);
    let all = [
        "a",
        "role:mat",
        "role:math",
        "role:math,cmd:sum",
        "role:mathx",
    ];
    assert_eq!(listed(None), all);
}

#[test]
fn what_stays_is_listed_once_while_others_come_and_go() {
    let published = Publication::default();
    let mut table = Table::new();
    let mut expected = BTreeSet::new();
    for number in 0..2_000 {
        let pattern = format!("stays:{number}");
        table = with(table, &published, &pattern, 1);
        expected.insert((pattern, 1));
    }
    // More instances of one pattern than a page has room for.
    for id in 0..2_000 {
        table = with(table, &published, "stays:many", id);
        expected.insert(("stays:many".to_owned(), id));
    }
    published.store(Arc::new(table.clone()));
    let names = names(&published, Some("stays:many"), |_| {});
    assert!(names.is_sorted() && names.len() == 2_000);

    let listed = super::tests::names(&published, None, |number| {
        for extra in 0..100 {
            let pattern = format!("stays:{number}:{extra}");
            table = with(table.clone(), &published, &pattern, 1);
            table.remove(&format!("stays:{}:{extra}", number / 2));
        }
        // Comes back, and is the last to have joined.
        let many = table.get("stays:many").cloned().unwrap_or_default();
        let first = many.as_slice()[0].clone();
        let rest = many.without(&first.id());
        table.insert(first.pattern.clone(), rest.with(first));
        published.store(Arc::new(table.clone()));
    });
    let mut stayed: Vec<_> = listed
        .into_iter()
        .filter(|name| expected.contains(name))
        .collect();
    stayed.sort_unstable();
    assert_eq!(stayed, expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn what_is_no_pattern_is_refused() {
    let published = Publication::default();
    let refused = |list: ListRoutes| page(&published, &list).map(|_| ()).expect_err("refused");
    let prefix = refused(ListRoutes {
        prefix: Some("a,,b".to_owned()),
        ..ListRoutes::default()
    });
    assert!(
        prefix.message.contains("the prefix is none: field 2"),
        "{prefix}"
    );
    let after = refused(ListRoutes {
        after: Some((String::new(), InstanceId([0; 16]))),
        ..ListRoutes::default()
    });
    assert!(after.message.contains("go on after is none"), "{after}");
}
