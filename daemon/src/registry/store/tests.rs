//! The store on a real disk: what is committed is read again, whatever happened between.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use nano_routing::Pattern;
use nano_wire::{InstanceId, message::Policy};
use tempfile::TempDir;

use super::*;
use crate::{
    cluster::{Key, Kind, Record, StoreChange},
    quota::{self, Permit, Quotas, Resource},
    table::{Instance, Member},
};

const NEVER: Limits = Limits {
    small: u64::MAX,
    look_after: u64::MAX,
};

fn member(pattern: &str, incarnation: u64) -> Arc<Member> {
    let instance = Instance::restored(
        InstanceId([7; 16]),
        "spiffe://nano.local/service/s".into(),
        &Arc::default(),
    );
    let pattern = Pattern::parse(pattern).unwrap();
    let member = Member::new(Arc::new(instance), pattern, Policy::default(), incarnation);
    Arc::new(member.holding(Some(permit())))
}

fn permit() -> Permit {
    let limits = quota::Limits {
        sessions: 1,
        patterns: u32::MAX,
        calls: 1,
        bytes: 1,
        share: 100,
    };
    let usage = Quotas::new(limits).of("spiffe://nano.local/service/s");
    usage.take(Resource::Patterns).unwrap()
}

/// A folder that the store is in.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("registry");
    (folder, store)
}

fn put(store: &mut Store, patterns: &[&str]) {
    let changes: Vec<_> = patterns
        .iter()
        .map(|p| Change::put(&member(p, 1)))
        .collect();
    store.commit(&changes).unwrap();
}

fn puts(members: &[Arc<Member>]) -> impl Iterator<Item = Change> {
    members.iter().map(|member| Change::put(member))
}

impl Reader for Vec<Stored> {
    fn read(&mut self, route: Stored) {
        self.push(route);
    }
}

/// The store in a folder, what is in it, and its routes.
fn open(folder: &Path, limits: Limits) -> (Store, Contents, Vec<Stored>) {
    Store::open(folder, limits, Vec::new).unwrap()
}

fn patterns(folder: &Path) -> BTreeSet<String> {
    let (_, _, routes) = open(folder, NEVER);
    routes
        .iter()
        .map(|route| route.pattern.to_string())
        .collect()
}

fn names(folder: &TempDir) -> BTreeSet<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.unwrap())).collect()
}

fn set(patterns: &[&str]) -> BTreeSet<String> {
    patterns
        .iter()
        .map(|pattern| (*pattern).to_owned())
        .collect()
}

#[test]
fn what_was_committed_is_read_again() {
    let (_folder, path) = place();
    let (mut store, _, routes) = open(&path, NEVER);
    assert!(routes.is_empty());
    put(&mut store, &["a:1", "a:1,b:2", "ä"]);
    let removed = Change::remove(&Pattern::parse("a:1").unwrap(), InstanceId([7; 16]));
    store.commit(&[removed]).unwrap();
    drop(store);
    let (_store, _, stored) = open(&path, NEVER);
    let found: BTreeSet<_> = stored
        .iter()
        .map(|route| route.pattern.to_string())
        .collect();
    assert_eq!(found, set(&["a:1,b:2", "ä"]));
    assert!(
        stored
            .iter()
            .all(|route| route.instance == InstanceId([7; 16]))
    );
    assert!(
        stored
            .iter()
            .all(|route| route.identity.ends_with("/service/s"))
    );
}

#[test]
fn the_sets_of_other_nodes_are_read_again() {
    let (_folder, path) = place();
    let (mut store, ..) = open(&path, NEVER);
    let (one, two) = (Boot([1; 16]), Boot([2; 16]));
    let put = |boot, pattern: &str| StoreChange::Put {
        boot,
        key: Key {
            pattern: Pattern::parse(pattern).unwrap(),
            instance: InstanceId([7; 16]),
        },
        record: Record {
            incarnation: 3,
            kind: Kind::Session,
            payload: [4; 5].as_slice().into(),
        },
    };
    let head = |boot| StoreChange::Head {
        boot,
        version: 9,
        address: "node:1".to_owned(),
    };
    let changes = [put(one, "a:1"), put(two, "b:2"), head(one), head(two)];
    let changes = changes.iter().map(Change::of_set);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    let others = [Change::boot(two), Change::known(time)];
    let changes: Vec<_> = changes.chain(others).collect();
    store.commit(&changes).unwrap();
    store
        .commit(&[Change::of_set(&StoreChange::Forget(two))])
        .unwrap();
    drop(store);
    let (_, contents, routes) = open(&path, NEVER);
    let Contents {
        boot, sets, known, ..
    } = contents;
    assert!(routes.is_empty());
    assert_eq!((boot, known), (Some(two), Some(time)));
    let [set] = &sets[..] else {
        panic!("{} sets", sets.len());
    };
    assert_eq!((set.boot, set.version, &*set.address), (one, 9, "node:1"));
    let StoreChange::Put { key, record, .. } = put(one, "a:1") else {
        unreachable!("it was made as one");
    };
    assert_eq!(set.records, [(key, record)]);
}

#[test]
fn a_store_of_another_format_is_set_aside_untouched() {
    let (folder, path) = place();
    let (mut store, ..) = open(&path, NEVER);
    put(&mut store, &["a:1"]);
    let open = store.open.as_ref().unwrap();
    open.db
        .insert(FORMAT_KEY, &(FORMAT + 1).to_le_bytes())
        .unwrap();
    open.db.flush().unwrap();
    drop(store);
    assert_eq!(patterns(&path), set(&[]));
    let names = names(&folder);
    let aside = names
        .iter()
        .find(|name| name.starts_with("registry.aside-"));
    let kept = sled::open(folder.path().join(aside.unwrap())).unwrap();
    let format = kept.get(FORMAT_KEY).unwrap().unwrap();
    assert_eq!(&format[..], (FORMAT + 1).to_le_bytes());
    assert_eq!(kept.scan_prefix([ROUTE]).count(), 1);
}

#[test]
fn files_that_are_no_store_are_set_aside() {
    for (name, text) in [("db", &b"junk"[..]), ("conf", b"junk"), ("db", b"")] {
        let (folder, path) = place();
        let (mut store, ..) = open(&path, NEVER);
        put(&mut store, &["a:1"]);
        drop(store);
        fs::write(path.join(name), text).unwrap();
        let found = patterns(&path);
        let is_aside = names(&folder).iter().any(|name| name.contains(".aside-"));
        assert!(
            is_aside || found == set(&["a:1"]),
            "{name} {text:?}: {found:?}"
        );
    }
}

#[test]
fn of_a_store_that_cannot_be_read_to_its_end_nothing_is_taken() {
    let (folder, path) = place();
    let (mut store, ..) = open(&path, NEVER);
    // More than are handed on at a time.
    let patterns: Vec<_> = (0..2 * READ_TOGETHER).map(|n| format!("a:{n}")).collect();
    put(
        &mut store,
        &patterns.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let unreadable = Change {
        key: b"rz:1".to_vec(),
        value: Some(b"no route".to_vec()),
    };
    store.commit(&[unreadable]).unwrap();
    drop(store);
    let (_store, _, routes) = open(&path, NEVER);
    assert!(routes.is_empty(), "{} routes", routes.len());
    assert_eq!(names(&folder).len(), 2, "it is kept beside the new one");
}

#[test]
fn a_store_past_its_use_is_made_anew_with_all_that_is_in_use() {
    let (folder, path) = place();
    let limits = Limits {
        small: 256 * 1024,
        look_after: 1024,
    };
    let (mut store, ..) = open(&path, limits);
    let members = [member("a:1", 1), member("b:2", 1)];
    put(&mut store, &["a:1", "b:2"]);
    let gone: Vec<_> = (0..20_000)
        .map(|n| member(&format!("gone:{n}"), 1))
        .collect();
    let put_all: Vec<_> = gone.iter().map(|member| Change::put(member)).collect();
    store.commit(&put_all).unwrap();
    let used = puts(&members).chain(puts(&gone));
    assert!(!store.is_overgrown(used).unwrap(), "all of it is in use");
    let remove = |member: &Arc<Member>| Change::remove(&member.pattern, member.instance.id);
    let remove_all: Vec<_> = gone.iter().map(remove).collect();
    store.commit(&remove_all).unwrap();
    assert!(store.is_overgrown(puts(&members)).unwrap());
    let before = folder::size(&path).unwrap();
    store.renew(puts(&members), Before::Removed).unwrap();
    assert!(folder::size(&path).unwrap() < before);
    put(&mut store, &["c:3"]);
    drop(store);
    assert_eq!(patterns(&path), set(&["a:1", "b:2", "c:3"]));
    assert_eq!(names(&folder), set(&["registry"]));
}

#[test]
fn a_store_that_failed_is_kept_beside_the_new_one() {
    let (folder, path) = place();
    let (mut store, ..) = open(&path, NEVER);
    put(&mut store, &["a:1"]);
    store.close();
    assert!(matches!(store.commit([]), Err(StoreError::Closed { .. })));
    store
        .renew(puts(&[member("b:2", 1)]), Before::SetAside)
        .unwrap();
    drop(store);
    assert_eq!(patterns(&path), set(&["b:2"]));
    assert_eq!(names(&folder).len(), 2);
}

#[test]
fn a_kill_between_any_two_steps_of_a_renewal_loses_nothing() {
    // What the disk holds after each step, and what may be left beside the store.
    for (names_before, is_kept) in [
        (&["registry"][..], false),
        (&["registry", "registry.new"], false),
        (&["registry", "registry.ready"], true),
        (&["registry.ready"], false),
        (&["registry.old", "registry.ready"], false),
        (&["registry", "registry.old"], false),
    ] {
        let (folder, path) = place();
        for name in names_before {
            let (mut store, ..) = open(&folder.path().join(name), NEVER);
            put(&mut store, &["a:1"]);
        }
        assert_eq!(patterns(&path), set(&["a:1"]), "{names_before:?}");
        let left = names(&folder).len() - 1;
        assert_eq!(left, usize::from(is_kept), "{names_before:?}");
    }
}
