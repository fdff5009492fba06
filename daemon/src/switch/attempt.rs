//! One call on its way out: the members of its pattern come in, and it leaves for the one that is
//! picked, or for another if that one does not take it.

use std::{sync::Arc, time::Duration};

use nano_routing::{Candidate, Candidates, NonePicked, Pattern, Usable, pick};
use nano_wire::{
    CallHeader, Code, Failure, InstanceId,
    lane::{NotAdmitted, OutBody, Reason},
    message::{EXTENSIONS_LIMIT, Extensions},
};
use tokio::time::Instant;

use super::{
    Forwarded, Given, Job, ReplyTo,
    refusals::{ROOM_FOR_INSTANCE, full, no_instance, none_twice, not_sent, too_much},
    refuse, since_start,
};
use crate::{
    quota::CallPermit,
    table::{Member, Published},
};

/// Instances that are asked until one takes a call.
const TRIES: usize = 5;

/// A call that is about to leave.
pub(super) struct Attempt<'h, 'b, 't> {
    pub(super) header: CallHeader<'h>,
    pub(super) body: OutBody<'b>,
    pub(super) now: Instant,
    pub(super) reply_to: ReplyTo,
    pub(super) permit: CallPermit,
    pub(super) table: &'t Published,
}

/// A call that an instance did not take, with the reason, if it is of the kind that a caller is
/// told.
pub(super) type NotForwarded<T> = (Box<T>, Option<Failure>);

impl Attempt<'_, '_, '_> {
    /// Gives the call to the member that is picked. If that one is gone or full, some
    /// others are asked in turn; nothing of the call has left by then.
    pub(super) fn give_to_one(
        mut self,
        pattern: &Pattern,
        members: Candidates<'_, Arc<Member>>,
    ) -> Option<Job> {
        let now = since_start(self.now);
        let mut tried: [Option<&Arc<Member>>; TRIES] = [None; TRIES];
        let mut refusal = None;
        let may_have_run = may_have_run(&self.header);
        let may_be_given = |member: &Member| !may_have_run || member.policy.idempotent;
        for turn in 0..TRIES {
            let is_left_out = |member: &Arc<Member>| {
                let mut tried = tried[..turn].iter().flatten();
                tried.any(|known| Arc::ptr_eq(known, member))
                    || was_tried(&self.header, member.instance.id)
                    || !may_be_given(member)
            };
            let wanted = preferred(&self.header, members, now).filter(|_| turn == 0);
            let wanted = wanted.filter(|member| !is_left_out(member));
            let picked = wanted.map_or_else(
                || pick(members, now, fastrand::u64(..), is_left_out),
                Ok::<_, NonePicked>,
            );
            let member = match picked {
                Ok(member) => member,
                Err(NonePicked::Unreachable) => break,
                Err(NonePicked::Full) => {
                    refusal = Some(full().of_pattern(pattern.as_str()));
                    break;
                }
            };
            self.reply_to.is_given_to(member);
            match self.forward(member, now) {
                Ok(job) => return job,
                Err((attempt, other)) => {
                    self = *attempt;
                    self.reply_to.is_not_taken(other.as_ref());
                    // The last one counts: an instance with room for the body may be full.
                    refusal = other.or(refusal);
                }
            }
            tried[turn] = Some(member);
        }
        let known = members.as_slice().iter();
        let known: Vec<_> = known.filter(|member| may_be_given(member)).collect();
        let may_return = known.iter().any(|member| member.instance.may_return());
        let failure = refusal.unwrap_or_else(|| match may_have_run && known.is_empty() {
            true => none_twice(pattern),
            false => no_instance(pattern, known.len(), may_return),
        });
        let any = members.as_slice().first();
        refuse(self.table, any, self.reply_to, &failure)
    }

    /// Gives the call to one member, or back.
    fn forward(
        self,
        member: &Arc<Member>,
        now: Duration,
    ) -> Result<Option<Job>, NotForwarded<Self>> {
        if let Some(upstream) = member.instance.upstream() {
            return self.forward_over_http(upstream, member, now);
        }
        let Some(link) = member.instance.link() else {
            return Err((Box::new(self), None));
        };
        let mut header = self.header.clone();
        header.extensions.remove(Extensions::INSTANCE);
        header.extensions.remove(Extensions::TRIED);
        header.extensions.remove(Extensions::PREFERRED);
        if member.instance.is_neighbours() {
            if header.extensions.size() > EXTENSIONS_LIMIT - ROOM_FOR_INSTANCE {
                return Err((Box::new(self), Some(too_much(member))));
            }
            let instance = &member.instance.id.0;
            header.extensions.0.push((Extensions::INSTANCE, instance));
        }
        if let Some(limit) = member
            .policy
            .max_body
            .filter(|limit| length(&self.body) > *limit)
        {
            return Err((Box::new(self), refusal(Reason::TooLarge(limit), member)));
        }
        if !member.called().figures.begin(member.limit(), now) {
            return Err((Box::new(self), refusal(Reason::Full, member)));
        }
        let forwarded = Forwarded {
            reply_to: self.reply_to,
            given: Given {
                is_relayed: matches!(self.body, OutBody::Relay(_)),
                patience: header.remaining(),
                member: Arc::clone(member),
                permit: self.permit,
                begun: self.now,
            },
        };
        let placed = link.call(header, self.body, self.now, forwarded);
        let placed = placed.map(|id| Some(Job::Call(link, id)));
        placed.map_err(|refused| {
            let NotAdmitted {
                reason,
                waiter,
                body,
            } = *refused;
            waiter.given.member.called().figures.withdraw();
            let attempt = Attempt {
                body,
                reply_to: waiter.reply_to,
                permit: waiter.given.permit,
                header: self.header,
                now: self.now,
                table: self.table,
            };
            (Box::new(attempt), refusal(reason, member))
        })
    }
}

fn length(body: &OutBody<'_>) -> u64 {
    match body {
        OutBody::Slice(slice) => slice.len() as u64,
        OutBody::Relay(body) => body.len(),
        OutBody::Bytes(bytes) => bytes.len() as u64,
    }
}

/// Notes why an instance took no call, and what to tell the caller if no other takes it.
pub(super) fn refusal(reason: Reason, member: &Member) -> Option<Failure> {
    let failure = match reason {
        // Of the way by another node, which knows of it itself.
        Reason::Draining | Reason::Closed if member.instance.is_neighbours() => return None,
        Reason::Draining => {
            member.instance.leave();
            return None;
        }
        Reason::Closed => {
            member.instance.lose();
            return None;
        }
        Reason::Full => full(),
        Reason::TooLarge(limit) => not_sent(
            Code::TooLarge,
            format!("the body is over the {limit} bytes that the instance takes"),
        ),
    };
    Some(
        failure
            .at_instance(member.instance.id)
            .of_pattern(member.pattern.as_str()),
    )
}

/// Whether an instance may have run the call before.
fn may_have_run(header: &CallHeader<'_>) -> bool {
    header.extensions.get(Extensions::IDEMPOTENT_ONLY).is_some()
}

/// The member that the caller has picked, if it may be given any call.
fn preferred<'m>(
    header: &CallHeader<'_>,
    members: Candidates<'m, Arc<Member>>,
    now: Duration,
) -> Option<&'m Arc<Member>> {
    let wanted = header.extensions.get(Extensions::PREFERRED)?;
    let is_wanted = |member: &&Arc<Member>| member.instance.id.0 == wanted;
    let member = members.as_slice().iter().find(is_wanted)?;
    (Usable::of(member, now) == Usable::Ready).then_some(member)
}

/// Whether the caller has given the call to an instance before.
fn was_tried(header: &CallHeader<'_>, instance: InstanceId) -> bool {
    let tried = header.extensions.get(Extensions::TRIED).unwrap_or_default();
    tried
        .chunks_exact(instance.0.len())
        .any(|id| id == instance.0)
}
