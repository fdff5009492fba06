//! Routes to HTTP services, which have no session: those of the store are there again at once, those
//! of a node that is gone are adopted, and one that cannot be reached for very long is removed.

use std::{sync::Arc, time::Duration};

use nano_wire::history::What;
use tokio::time::Instant;

use super::{
    Actor,
    membership::{self, Membership},
    store::Change,
};
use crate::{
    access::lets_register,
    cluster::{Boot, Key, Record},
    quota::{Resource, Usage},
    table::{Instance, Member},
    upstream::{HttpAddress, Upstreams},
};

/// Longest pause between two looks for services that cannot be reached.
const LOOK: Duration = Duration::from_secs(60);

/// What the registry needs for HTTP services.
pub struct HttpRoutes {
    upstreams: Arc<Upstreams>,
    /// Who their patterns are counted for.
    usage: Arc<Usage>,
    lost_after: Duration,
    next_look: Instant,
}

impl HttpRoutes {
    /// With routes that are removed when their service could not be reached for `lost_after`.
    #[must_use]
    pub fn new(upstreams: Arc<Upstreams>, usage: Arc<Usage>, lost_after: Duration) -> Self {
        Self {
            upstreams,
            usage,
            lost_after,
            next_look: Instant::now(),
        }
    }

    pub(super) fn upstreams(&self) -> &Arc<Upstreams> {
        &self.upstreams
    }

    /// The instance behind a route of this node's own.
    pub(super) fn own_instance(&self, address: &HttpAddress) -> Arc<Instance> {
        self.upstreams.own_instance(address)
    }

    /// Who their patterns are counted for.
    pub(super) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// When to look for services that are lost.
    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }
}

impl Actor {
    /// Tells other nodes that the routes of the store are those of this start of the node.
    pub(super) fn own_http_routes_again(&mut self) {
        if self.membership.is_none() {
            return;
        }
        let members = self.table.iter().flat_map(|(_, members)| members.iter());
        let own = members.filter(|member| {
            member.instance.upstream().is_some() && !member.instance.is_elsewhere()
        });
        self.local = own
            .map(|member| membership::record(member))
            .map(|(key, record)| (key, Some(record)))
            .collect();
        self.replicate();
    }

    /// Takes over a route whose node is gone. False if it is not to be had: it is left to others then.
    pub(super) fn adopt(&mut self, key: &Key, record: &Record, changes: &mut Vec<Change>) -> bool {
        let Some((address, policy)) = membership::orphaned(key, record) else {
            return false;
        };
        let membership = self.membership.as_ref();
        let can_reach = |known: &Membership| known.can_reach(&address, Boot::NOBODY);
        let is_allowed = lets_register(&self.access.rules(), &address.identity(), &key.pattern);
        if !is_allowed || !membership.is_some_and(can_reach) {
            tracing::warn!(pattern = %key.pattern, %address,
                "the route of a node that is gone is not taken over: the rules are against it, or \
                 it is on loopback, and that node was on another machine");
            return false;
        }
        tracing::info!(pattern = %key.pattern, %address, "took over the route of a node that is gone");
        let instance = self.http.own_instance(&address);
        let member = Member::new(instance, key.pattern.clone(), policy, record.incarnation);
        // Over the limit it is served all the same.
        let permit = self.http.usage.take(Resource::Patterns).ok();
        let member = self.continued(member.holding(permit));
        changes.push(Change::put(&member));
        self.insert(Arc::new(member));
        true
    }

    /// Removes the routes of services that could not be reached for very long.
    pub(super) fn end_lost_services(&mut self) {
        let lost_after = self.http.lost_after;
        self.http.next_look =
            Instant::now() + LOOK.min(lost_after / 4).max(Duration::from_millis(50));
        let mut changes = Vec::new();
        self.recorder.because(What::Unreachable);
        for instance in self.http.upstreams.failing_for(lost_after) {
            let before = changes.len();
            self.remove_session(instance.session, &mut changes);
            let withheld = self.withheld.iter();
            let withheld = withheld.filter(|member| member.instance.session == instance.session);
            changes.extend(withheld.map(|member| Change::remove(&member.pattern, instance.id)));
            self.forget_withheld(instance.session, None);
            tracing::warn!(
                service = instance.identity,
                routes = changes.len() - before,
                "removed the routes of an HTTP service that could not be reached for {lost_after:?}"
            );
        }
        if changes.is_empty() {
            return;
        }
        // The loss is logged, and what stays in the store is removed after another start.
        let _ = self.make_durable(&changes);
        self.publish();
        self.replicate();
    }
}
