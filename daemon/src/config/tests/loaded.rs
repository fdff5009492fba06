//! Where values are from, and in what two configurations differ.

use super::*;

/// A line for each setting that is not at its default.
fn given(loaded: &Loaded) -> Vec<String> {
    let list = loaded.list();
    let given = list.iter().filter(|listed| listed.origin.is_some());
    given.map(ToString::to_string).collect()
}

fn changes(old: &Machine, new: &Machine) -> Vec<String> {
    let (old, new) = (old.load().expect("right"), new.load().expect("right"));
    let changes = old.changes(&new);
    changes
        .iter()
        .map(|(_, listed)| listed.to_string())
        .collect()
}

#[test]
fn a_list_says_where_each_value_is_from() {
    let machine = Machine::new()
        .file("drain_ms = 5\n  max_body =\t'2 MiB' # two\nlog = \"ä\"\nhttp = '127.0.0.1:1'")
        .env("NANO_LOG", "warn")
        .env("NANO_RULES", "/r")
        .flag("threads", "03");
    let loaded = machine.load().expect("right");
    assert_eq!(
        given(&loaded),
        [
            "http = 127.0.0.1:1 (nanod.toml:4:8)",
            "rules = /r (NANO_RULES)",
            "threads = 3 (--threads)",
            "log = warn (NANO_LOG)",
            "drain_ms = 5 (nanod.toml:1:12)",
            "max_body = 2 MiB (nanod.toml:2:14)",
        ]
    );
    let list = loaded.list();
    assert!(
        list.iter()
            .map(|listed| listed.key)
            .eq(SETTINGS.iter().map(|setting| setting.key))
    );
}

#[test]
fn columns_are_characters() {
    let problems = Machine::new()
        .file("\"schlüssel\" = 1; http = 2")
        .problems();
    assert!(problems[0].starts_with("nanod.toml:1:15: "), "{problems:?}");
}

#[test]
fn defaults_are_what_holds() {
    let list = Machine::new().cores(8).load().expect("right").list();
    let value = |key| {
        let listed = list.iter().find(|listed| listed.key == key);
        listed.expect("a setting").to_string()
    };
    assert_eq!(value("http"), "http = 127.0.0.1:9999 (default)");
    assert_eq!(value("grace_ms"), "grace_ms = 10000 (default)");
    assert_eq!(value("threads"), "threads = 4 (default)");
    assert_eq!(
        value("state"),
        "state = /home/nano/.local/state/nanod (default)"
    );
    assert_eq!(value("max_bytes"), "max_bytes = 1073741824 (default)");
    assert_eq!(value("redis_key"), "redis_key: none (default)");
}

#[test]
fn secrets_are_not_shown() {
    let machine = Machine::new()
        .env("NANO_CLUSTER_SECRET", SECRET)
        .env("NANO_TOKENS", "client/shop hunter2hunter2hunter2")
        .flag("redis", "redis://nanod:hunter2@h");
    assert_eq!(
        given(&machine.load().expect("right")),
        [
            "redis = redis://nanod:***@h (--redis)",
            "cluster_secret: not shown (NANO_CLUSTER_SECRET)",
            "tokens: not shown (NANO_TOKENS)",
        ]
    );
}

#[test]
fn changes_are_those_of_what_holds() {
    let old = || Machine::new().file("max_body = '1 MiB'\nlog = 'info'\nthreads = 2");
    assert_eq!(changes(&old(), &old()), [""; 0]);
    let rewritten = Machine::new()
        .file("# moved\nmax_body = 1048576\n")
        .flag("threads", "2");
    assert_eq!(
        changes(&old(), &rewritten),
        [""; 0],
        "another way to say the same"
    );
    let new = Machine::new().file("threads = 2\nlog = 'warn'");
    assert_eq!(
        changes(&old(), &new),
        ["log = warn (nanod.toml:2:7)", "max_body = 16 MiB (default)"]
    );
}

#[test]
fn what_is_taken_is_no_change_any_more() {
    let mut old = Machine::new().load().expect("right");
    let new = Machine::new()
        .file("threads = 2\nlog = 'warn'")
        .load()
        .expect("right");
    for (setting, _) in old.changes(&new) {
        if setting.is_changeable() {
            old.take(setting, &new);
        }
    }
    let left = old.changes(&new);
    let left: Vec<_> = left.iter().map(|(setting, _)| setting.key).collect();
    assert_eq!(left, ["threads"]);
}

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

#[test]
fn the_documents_name_what_can_be_changed() {
    let row = OPERATIONS.lines().find(|line| line.starts_with("| `log`"));
    let quoted = row
        .expect("a row of settings")
        .split('`')
        .skip(1)
        .step_by(2);
    let mut quoted: Vec<_> = quoted.collect();
    let mut changeable = CHANGEABLE.to_vec();
    quoted.sort_unstable();
    changeable.sort_unstable();
    assert_eq!(quoted, changeable);
}

#[test]
fn the_sample_names_what_can_be_changed() {
    let known = |key: &&str| SETTINGS.iter().any(|setting| setting.key == *key);
    assert!(CHANGEABLE.iter().all(known));
    let (_, list) = SAMPLE
        .split_once("while the node runs:")
        .expect("a list in the sample");
    let (list, _) = list.split_once("\n\n").expect("an end of the list");
    let words = list.split(|c: char| !c.is_alphanumeric() && c != '_');
    let named: Vec<_> = words.filter(known).collect();
    assert_eq!(named, CHANGEABLE);
}
