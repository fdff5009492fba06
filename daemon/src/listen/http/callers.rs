//! Callers over HTTP: in comes what a request shows, out goes whose calls and bodies it counts as.

use std::{collections::HashMap, sync::Arc};

use nano_wire::Failure;
use parking_lot::Mutex;

use super::Bodies;
use crate::{
    access::{Access, HttpPeer},
    go_nano::GoNano,
    quota::{Quotas, Usage},
    switch::Switch,
    table::Published,
};

/// Callers that are kept; there are no more identities than tokens, of which some may be old.
const KEPT: usize = 2048;

/// One identity that calls over HTTP.
pub(super) struct Caller {
    pub(super) identity: Arc<str>,
    pub(super) usage: Arc<Usage>,
    pub(super) switch: Switch,
    pub(super) bodies: Bodies,
}

/// All of them.
pub struct Callers {
    access: Arc<Access>,
    table: Published,
    go_nano: Option<Arc<GoNano>>,
    quotas: Arc<Quotas>,
    max_body: usize,
    known: Mutex<HashMap<Arc<str>, Arc<Caller>>>,
}

impl Callers {
    /// With bodies of so many bytes at most.
    #[must_use]
    pub fn new(
        access: Arc<Access>,
        table: Published,
        go_nano: Option<Arc<GoNano>>,
        quotas: Arc<Quotas>,
        max_body: usize,
    ) -> Self {
        Self {
            access,
            table,
            go_nano,
            quotas,
            max_body,
            known: Mutex::default(),
        }
    }

    /// Who a call is from.
    pub(super) fn of(&self, peer: HttpPeer<'_>) -> Result<Arc<Caller>, Failure> {
        Ok(self.caller(self.access.http_caller(peer)?))
    }

    /// Who a registration is from.
    pub(super) fn registrar(&self, peer: HttpPeer<'_>) -> Result<Arc<Caller>, Failure> {
        Ok(self.caller(self.access.http_registrar(peer)?))
    }

    fn caller(&self, identity: Arc<str>) -> Arc<Caller> {
        let mut known = self.known.lock();
        if let Some(caller) = known.get(&identity) {
            return Arc::clone(caller);
        }
        if known.len() >= KEPT {
            known.clear();
        }
        let usage = self.quotas.of(&identity);
        let (table, access) = (Arc::clone(&self.table), Arc::clone(&self.access));
        let go_nano = self.go_nano.clone();
        let caller = Arc::new(Caller {
            identity: Arc::clone(&identity),
            usage: Arc::clone(&usage),
            switch: Switch::new(table, access, go_nano, Arc::clone(&usage)),
            bodies: Bodies::new(self.max_body, usage),
        });
        known.insert(identity, Arc::clone(&caller));
        caller
    }
}
