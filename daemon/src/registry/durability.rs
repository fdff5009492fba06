//! Changes become durable, and a store that fails or has grown past its use is made anew of
//! what the [`Actor`] knows, which owns it.

use std::{sync::Arc, time::Duration};

use nano_wire::{Code, Failure};
use tokio::time::Instant;

use super::{
    Actor,
    folder::Before,
    membership::Membership,
    recording::Recorder,
    refused,
    store::{Change, StoreError},
};
use crate::table::{Member, Table};

/// Pause between two attempts to make a store where none can be made, which may mean to
/// write every route each time.
const RENEWAL: Duration = Duration::from_secs(1);

impl Actor {
    /// Commits changes; a store that fails is set aside once another one can be made.
    pub(super) fn make_durable(&mut self, changes: &[Change]) -> Result<(), Failure> {
        let noted = self.recorder.take();
        if changes.is_empty() && noted.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let committed = self.store.commit(changes.iter().chain(&noted));
        self.commits.note(begun.elapsed(), committed.is_ok());
        match committed {
            Ok(()) => Ok(()),
            Err(error) => self.renew(&error),
        }
    }

    /// Makes another store of what the table holds, unless that failed just now. Said is
    /// once that the store failed, and once that there is one again.
    fn renew(&mut self, failed: &StoreError) -> Result<(), Failure> {
        let now = Instant::now();
        if self.next_renewal.is_some_and(|next| now < next) {
            return Err(not_durable(failed));
        }
        self.store.close();
        let has_failed_before = self.next_renewal.take().is_some();
        let everything = everything(
            &self.table,
            &self.withheld,
            self.membership.as_ref(),
            &self.recorder,
        );
        match self.store.renew(everything, Before::SetAside) {
            Ok(()) if has_failed_before => {
                tracing::warn!("the registry has a store again, which holds every route known");
                Ok(())
            }
            Ok(()) => {
                tracing::error!(error = %failed, "the registry's store failed: it is set \
                    aside, and a new one holds every route known");
                Ok(())
            }
            Err(error) => {
                if !has_failed_before {
                    tracing::error!(%error, "the registry's store cannot be written: calls are \
                        served, but registrations refused until it can");
                }
                self.next_renewal = Some(now + RENEWAL);
                Err(not_durable(&error))
            }
        }
    }

    /// Makes the store anew if it has grown past its use.
    pub(super) fn compact(&mut self) {
        let (membership, recorder) = (self.membership.as_ref(), &self.recorder);
        let everything = || everything(&self.table, &self.withheld, membership, recorder);
        let overgrown = self.store.is_overgrown(everything());
        let compacted = overgrown.and_then(|overgrown| {
            if overgrown {
                tracing::info!("the registry's store has grown past its use: making it anew");
                self.store.renew(everything(), Before::Removed)?;
            }
            Ok(())
        });
        if let Err(error) = compacted {
            tracing::warn!(%error, "the registry's store was not made anew");
        }
    }
}

/// What a store made anew is to hold.
fn everything<'a>(
    table: &'a Table,
    withheld: &'a [Arc<Member>],
    membership: Option<&'a Membership>,
    recorder: &'a Recorder,
) -> impl Iterator<Item = Change> + 'a {
    let members = table.iter().flat_map(|(_, members)| members);
    let own = members.filter(|member| !member.instance.is_elsewhere());
    let sets = membership.into_iter().flat_map(Membership::stored);
    let over_http = withheld
        .iter()
        .filter(|member| member.instance.upstream().is_some());
    own.chain(over_http)
        .map(|member| Change::put(member))
        .chain(sets)
        .chain(recorder.everything())
}

fn not_durable(error: &StoreError) -> Failure {
    let message = format!("the registration cannot be made durable: {error}");
    refused(Code::Overloaded, message).retry_after(RENEWAL)
}
