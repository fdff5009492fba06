//! The registry on a real disk, asked as sessions ask it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use nano_wire::{InstanceId, message::Policy};

use super::*;
use crate::{
    quota,
    table::Called,
    upstream::{self, Upstreams},
};

const PATTERN: &str = "a:1";

/// An instance that comes on a session of its own.
fn instance(registry: &Registry) -> Arc<Instance> {
    let (id, identity) = (InstanceId([7; 16]), "spiffe://nano.local/service/s");
    let census = registry.table().census();
    Arc::new(Instance::restored(id, identity.to_owned(), census))
}

async fn register(registry: &Registry, instance: &Arc<Instance>, policy: Policy) -> Arc<Called> {
    let (done, acknowledged) = oneshot::channel();
    let pattern = Pattern::parse(PATTERN).unwrap();
    let member = Member::new(Arc::clone(instance), pattern, policy, 1);
    registry.send(Command::Register { member, done }).await;
    acknowledged.await.unwrap().unwrap();
    figures(registry, instance)
}

fn figures(registry: &Registry, instance: &Instance) -> Arc<Called> {
    let table = registry.table().load();
    let member = table.get(PATTERN).unwrap().get(&instance.id).unwrap();
    assert_eq!(member.instance.session, instance.session);
    Arc::clone(member.called())
}

#[tokio::test]
async fn what_calls_have_told_of_an_instance_outlives_its_registrations() {
    let folder = tempfile::tempdir().unwrap();
    let quotas = Quotas::new(quota::Limits {
        sessions: 1,
        patterns: 1,
        calls: 1,
        bytes: 1,
        share: 100,
    });
    let table = Published::default();
    let stopped = CancellationToken::new();
    let grace = Duration::from_secs(60);
    let limits = upstream::Limits {
        connections: 1,
        max_body: 1,
    };
    let (upstreams, probes) =
        Upstreams::start(limits, Arc::clone(&table), Arc::default(), stopped.clone()).unwrap();
    let http = HttpRoutes::new(upstreams, quotas.of("http"), grace);
    let terms = Terms {
        history: 1 << 20,
        grace,
        access: Arc::default(),
        http,
    };
    let (registry, thread) =
        Registry::start(folder.path(), terms, &quotas, table, None, stopped).unwrap();
    let first = instance(&registry);
    let figures = register(&registry, &first, Policy::default()).await;

    let heavier = Policy {
        weight: Some(2),
        ..Policy::default()
    };
    let again = register(&registry, &first, heavier.clone()).await;
    assert!(Arc::ptr_eq(&figures, &again), "on other terms");

    let returned = instance(&registry);
    let back = register(&registry, &returned, heavier).await;
    assert!(Arc::ptr_eq(&figures, &back), "on another session");
    drop(registry);
    thread.join();
    probes.stop();
}
