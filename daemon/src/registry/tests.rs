//! The registry on a real disk, asked as sessions ask it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_wire::{InstanceId, message::Policy};

use super::*;
use crate::{
    quota,
    table::Called,
    upstream::{self, ProbeThread, Upstreams},
};

const PATTERN: &str = "a:1";

const GRACE: Duration = Duration::from_secs(60);

/// An instance that comes on a session of its own.
fn instance(registry: &Registry) -> Arc<Instance> {
    let (id, identity) = (InstanceId([7; 16]), "spiffe://nano.local/service/s");
    let census = registry.table().census();
    Arc::new(Instance::restored(id, identity.to_owned(), census))
}

/// A registry in a folder, of a node that may have so many patterns.
struct Running {
    registry: Registry,
    thread: RegistryThread,
    probes: ProbeThread,
}

impl Running {
    fn start(folder: &Path, patterns: u32) -> Self {
        let quotas = Quotas::new(quota::Limits {
            sessions: 1,
            patterns,
            calls: 1,
            bytes: 1,
            share: 100,
        });
        let table = Published::default();
        let stopped = CancellationToken::new();
        let limits = upstream::Limits {
            connections: 1,
            max_body: 1,
        };
        let upstreams =
            Upstreams::start(limits, Arc::clone(&table), Arc::default(), stopped.clone());
        let (upstreams, probes) = upstreams.unwrap();
        let terms = Terms {
            history: 1 << 20,
            grace: GRACE,
            access: Arc::default(),
            http: HttpRoutes::new(upstreams, quotas.of("http"), GRACE),
        };
        let started = Registry::start(folder, terms, &quotas, table, None, stopped);
        let (registry, thread) = started.unwrap();
        Self {
            registry,
            thread,
            probes,
        }
    }

    fn stop(self) {
        drop(self.registry);
        self.thread.join();
        self.probes.stop();
    }
}

async fn register(registry: &Registry, instance: &Arc<Instance>, policy: Policy) -> Arc<Called> {
    let (done, acknowledged) = oneshot::channel();
    let pattern = Pattern::parse(PATTERN).unwrap();
    let member = Member::new(Arc::clone(instance), pattern, policy, 1);
    registry.send(Command::Register { member, done }).await;
    acknowledged.await.unwrap().unwrap();
    called(registry, instance)
}

fn called(registry: &Registry, instance: &Instance) -> Arc<Called> {
    let table = registry.table().load();
    let member = table.get(PATTERN).unwrap().get(&instance.id).unwrap();
    assert_eq!(member.instance.session, instance.session);
    Arc::clone(member.called())
}

#[tokio::test]
async fn what_calls_have_told_of_an_instance_outlives_its_registrations() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path(), 1);
    let registry = &running.registry;
    let first = instance(registry);
    let first_called = register(registry, &first, Policy::default()).await;

    let heavier = Policy {
        weight: Some(2),
        ..Policy::default()
    };
    let again = register(registry, &first, heavier.clone()).await;
    assert!(Arc::ptr_eq(&first_called, &again), "on other terms");

    let returned = instance(registry);
    let back = register(registry, &returned, heavier).await;
    assert!(Arc::ptr_eq(&first_called, &back), "on another session");
    running.stop();
}

/// A route of the store: of an instance, and whose that is.
fn stored(pattern: &str, instance: u8, name: &str) -> Change {
    let identity = format!("spiffe://nano.local/service/{name}");
    let id = InstanceId([instance; 16]);
    let instance = Instance::restored(id, identity, &Arc::default());
    let pattern = Pattern::parse(pattern).unwrap();
    Change::put(&Member::new(
        Arc::new(instance),
        pattern,
        Policy::default(),
        1,
    ))
}

/// Reads routes for nobody.
struct Nobody;

impl store::Reader for Nobody {
    fn read(&mut self, _: store::Stored) {}
}

#[tokio::test]
async fn what_the_store_holds_is_there_again_as_far_as_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, ..) = Store::open(folder.path(), LIMITS, || Nobody).unwrap();
    store
        .commit(&[
            stored("a:1", 1, "s"),
            stored("a:1", 2, "s"),
            stored("b:1", 1, "s"),
            stored("c:1", 3, "left-out"),
        ])
        .unwrap();
    drop(store);

    let running = Running::start(folder.path(), 3);
    let table = Arc::clone(&running.registry.table().load());
    let served = |pattern: &str| {
        let members = table.get(pattern);
        members.map_or(0, |members| members.len())
    };
    let counts = ["a:1", "b:1", "c:1"].map(served);
    assert_eq!(counts, [2, 1, 0]);
    assert!(table.iter().all(|(_, members)| {
        let mut states = members.iter().map(|member| member.instance.is_lost());
        states.all(|is_lost| is_lost)
    }));
    // Nothing is left of who was left out, so the id is free for others.
    let census = running.registry.table().census();
    assert_eq!((census.known(), census.lost()), (2, 2));
    running.stop();
}
