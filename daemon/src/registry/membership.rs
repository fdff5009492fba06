//! The registry's part in a cluster: own changes and what Redis and other nodes say come
//! in, members that have their session elsewhere go out. Owns the node's replica.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak, mpsc::SyncSender},
    time::{Duration, SystemTime},
};

use bincode::{Decode, Encode};
use bytes::BytesMut;
use nano_wire::{InstanceId, codec, message::Policy};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use crate::{
    cluster::{
        Alarm, Boot, Command, Copy, Dial, Effects, Identity, Input, Key, Kind, Record, Replica,
        Restored, RestoredSet, Settings, StoreChange, Ticket, Trouble,
    },
    neighbours::Neighbours,
    table::{Instance, Member},
    upstream::{HttpAddress, Upstreams},
    watch::is_near_only,
};

use super::{
    outlook::Outlook,
    store::{Change, Contents},
    withheld::Withheld,
};

/// What a membership is made of, once it is known what the store holds.
pub struct Joined {
    /// Who the node is.
    pub identity: Identity,
    /// How patient it is.
    pub settings: Settings,
    /// To Redis.
    pub commands: mpsc::Sender<(Ticket, Command)>,
    /// From Redis, and the sender of what is known here already.
    pub inputs: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    /// The ways to other nodes.
    pub neighbours: Neighbours,
    /// Told once all that other nodes have in Redis is known.
    pub first_step: SyncSender<()>,
}

/// A node's place in its cluster.
pub(super) struct Membership {
    replica: Replica,
    own: Boot,
    /// Where other nodes reach this one.
    own_address: String,
    begun: Instant,
    commands: mpsc::Sender<(Ticket, Command)>,
    inputs: mpsc::Receiver<Input>,
    /// For what is known here already, and for the answers of dials.
    answers: mpsc::Sender<Input>,
    neighbours: Neighbours,
    upstreams: Arc<Upstreams>,
    outlook: watch::Sender<Outlook>,
    /// When an earlier start of the node has last read Redis, if that is known.
    read_before: Option<Instant>,
    /// When it was last stored that Redis is read.
    noted: Option<Instant>,
    first_step: Option<SyncSender<()>>,
    /// By who serves them too: a node that says the same instance is two parties has two.
    elsewhere: HashMap<(Boot, InstanceId, String), Weak<Instance>>,
    /// How many of those there may be before those that are gone are looked for.
    clean_at: usize,
    withheld: Withheld,
    /// In this start or an earlier one.
    has_met_others: bool,
}

/// Fewest instances of other nodes among which those that are gone are looked for.
const CLEANING: usize = 1024;

/// Pause before it is stored again that Redis is read.
const NOTE: Duration = Duration::from_secs(60);

/// Inputs that are taken together, and shown together.
const BATCH: usize = 256;

/// What inputs have changed in the table.
#[derive(Default)]
pub(super) struct Seen {
    /// What is to be stored of other nodes' sets.
    pub(super) store: Vec<Change>,
    /// Own routes whose instance has registered them elsewhere since.
    pub(super) superseded: Vec<Key>,
    /// Routes of which no own member shows: who does, if any.
    pub(super) elsewhere: Vec<(Key, Option<Member>)>,
    /// HTTP routes that nobody has, to be adopted.
    pub(super) orphaned: Vec<(Key, Record)>,
}

/// What a record says beside its incarnation.
#[derive(Encode, Decode)]
struct Payload {
    identity: String,
    policy: Policy,
    /// Where it can be called without a node.
    address: Option<String>,
}

impl Seen {
    pub(super) fn is_empty(&self) -> bool {
        self.store.is_empty()
            && self.superseded.is_empty()
            && self.elsewhere.is_empty()
            && self.orphaned.is_empty()
    }
}

impl Membership {
    /// With what the store holds: the node's start before this one, whose routes are the
    /// registry's own, other nodes' sets, which show with the first input, and when Redis was
    /// last read.
    pub(super) fn new(
        joined: Joined,
        withheld: Withheld,
        stored: Contents,
        upstreams: Arc<Upstreams>,
    ) -> Self {
        let own = joined.identity.boot;
        let own_address = joined.identity.address.clone();
        let previous = stored.boot.map(|boot| RestoredSet {
            boot,
            version: 0,
            address: String::new(),
            records: Vec::new(),
        });
        let has_met_others = !stored.sets.is_empty();
        let restored = Restored {
            previous: previous.into_iter().collect(),
            foreign: stored.sets,
            orphans: stored.orphans,
        };
        let seed = fastrand::u64(..);
        let replica = Replica::new(
            Duration::ZERO,
            joined.identity,
            joined.settings,
            restored,
            seed,
        );
        let (answers, inputs) = joined.inputs;
        Self {
            replica,
            own,
            own_address,
            begun: Instant::now(),
            commands: joined.commands,
            inputs,
            answers,
            neighbours: joined.neighbours,
            upstreams,
            outlook: watch::Sender::default(),
            read_before: stored
                .known
                .and_then(|known| Instant::now().checked_sub(known.elapsed().ok()?)),
            noted: None,
            first_step: Some(joined.first_step),
            elsewhere: HashMap::new(),
            clean_at: CLEANING,
            withheld,
            has_met_others,
        }
    }

    /// How the node sees its cluster after each input.
    pub(super) fn outlook(&self) -> watch::Receiver<Outlook> {
        self.outlook.subscribe()
    }

    /// This start of the node and other nodes' sets, as they are stored.
    pub(super) fn stored(&self) -> impl Iterator<Item = Change> + '_ {
        let view = self.replica.view();
        let foreign = view.sets().filter(|(boot, _)| *boot != self.own);
        let sets = foreign.flat_map(|(boot, set)| {
            let head = StoreChange::Head {
                boot,
                version: self.replica.held(boot),
                address: self.replica.address(boot).to_owned(),
            };
            // What nobody owns has no version.
            let head = (boot != Boot::NOBODY).then_some(head);
            let records = set.iter().map(move |(key, record)| StoreChange::Put {
                boot,
                key: key.clone(),
                record: record.clone(),
            });
            let all = head.into_iter().chain(records);
            all.map(|change| Change::of_set(&change))
        });
        std::iter::once(Change::boot(self.own)).chain(sets)
    }

    /// The next inputs, which are to be taken; none if only time has passed.
    pub(super) async fn next(&mut self) -> Vec<Input> {
        let wake = self.replica.next_wake().unwrap_or(Duration::MAX);
        let wait = wake.saturating_sub(self.begun.elapsed());
        let mut inputs = Vec::new();
        // An own sender is kept: the queue does not end.
        let _ = timeout(wait, self.inputs.recv_many(&mut inputs, BATCH)).await;
        inputs
    }

    /// Takes inputs in their order; does what they lead to, but for the table.
    pub(super) fn take(&mut self, inputs: Vec<Input>) -> Seen {
        let mut seen = Seen::default();
        let mut inputs = VecDeque::from(inputs);
        if inputs.is_empty() {
            inputs.push_back(Input::Tick);
        }
        while let Some(input) = inputs.pop_front() {
            let output = self.replica.handle(self.begun.elapsed(), input);
            for (ticket, command) in output.commands {
                if self.commands.try_send((ticket, command)).is_err() {
                    inputs.push_back(Input::Reply(ticket, Err(Trouble::Unsure)));
                }
            }
            for (ticket, dial) in output.dials {
                self.dial(ticket, dial);
            }
            self.note(output.effects, &mut seen);
        }
        let suspect_instances = self.suspect_instances();
        let begun = (self.begun, self.read_before);
        Outlook::publish(&self.outlook, &self.replica, begun, suspect_instances);
        seen.store.extend(self.note_known());
        seen
    }

    /// All that was taken shows: if that is all that other nodes have, who starts the node is
    /// told once.
    pub(super) fn shown(&mut self) {
        self.has_met_others |= self.knows_others();
        if self.knows_others()
            && let Some(first_step) = self.first_step.take()
        {
            // It may have stopped to wait.
            let _ = first_step.try_send(());
        }
    }

    /// Instances that suspect nodes have.
    pub(super) fn suspect_instances(&self) -> usize {
        self.neighbours.suspect_instances()
    }

    /// Whether the node has known, in this start or an earlier one, what other nodes have.
    pub(super) fn has_met_others(&self) -> bool {
        self.has_met_others
    }

    /// Whether all that other nodes have in Redis is known here.
    pub(super) fn knows_others(&self) -> bool {
        let standing = self.replica.standing();
        standing.away_since.is_none() && standing.behind == 0
    }

    /// What is to be stored now and then, so that the next start can say how old it all is.
    fn note_known(&mut self) -> Option<Change> {
        let is_due = self.noted.is_none_or(|noted| noted.elapsed() >= NOTE);
        (is_due && self.knows_others()).then(|| {
            self.noted = Some(Instant::now());
            Change::known(SystemTime::now())
        })
    }

    /// What to answer a node that holds this version of the own routes.
    pub(super) fn own_set(&mut self, held: Option<u64>) -> Option<Copy> {
        self.replica.answer(self.own, held)?.newer
    }

    fn dial(&self, ticket: Ticket, dial: Dial) {
        let answers = self.answers.clone();
        self.neighbours.ask(dial, move |result| async move {
            // Without a registry nobody waits for it.
            let _ = answers.send(Input::Dialled(ticket, result)).await;
        });
    }

    fn note(&mut self, effects: Effects, seen: &mut Seen) {
        let foreign = effects
            .store
            .iter()
            .filter(|change| self.is_foreign(change));
        seen.store.extend(foreign.map(Change::of_set));
        for boot in effects.suspect {
            tracing::warn!(%boot, "a node was not heard of for a lease; its routes are suspect");
            self.neighbours.suspect(boot, true);
        }
        for boot in effects.fresh {
            self.neighbours.suspect(boot, false);
        }
        for boot in effects.dropped {
            tracing::warn!(%boot, "a node is gone, and its routes with it");
        }
        effects.alarms.iter().for_each(tell);
        for key in effects.orphaned {
            let orphans = self.replica.view().set(Boot::NOBODY);
            if let Some(record) = orphans.and_then(|orphans| orphans.get(&key)) {
                seen.orphaned.push((key.clone(), record.clone()));
            }
        }
        seen.superseded.extend(effects.superseded);
        for key in effects.changed {
            let shown = self.replica.view().shown(&key);
            let shown = shown.map(|shown| (shown.holder, shown.record.clone()));
            self.withheld.forget(&key);
            match shown {
                Some((holder, _)) if holder == self.own => {}
                Some((holder, record)) => {
                    let member = self.member(holder, &key, &record);
                    seen.elsewhere.push((key, member));
                }
                None => seen.elsewhere.push((key, None)),
            }
        }
    }

    /// Whether an HTTP service of another node is where that says for this node too: what it calls
    /// on loopback is on its own machine.
    pub(super) fn can_reach(&self, address: &HttpAddress, holder: Boot) -> bool {
        let own = &self.own_address;
        !is_near_only(address.as_str())
            || is_near_only(own)
            || host(own) == host(self.replica.address(holder))
    }

    /// Whether a route of another node may be shown; one that may not is kept in mind.
    pub(super) fn lets_show(&mut self, key: &Key, identity: &str) -> bool {
        self.withheld.lets_show(key, identity)
    }

    /// What was not shown, and the rules are no longer against.
    pub(super) fn let_in(&mut self) -> Vec<(Key, Member)> {
        let mut let_in = Vec::new();
        for key in self.withheld.take() {
            let shown = self.replica.view().shown(&key);
            let shown = shown.map(|shown| (shown.holder, shown.record.clone()));
            if let Some((holder, record)) = shown
                && holder != self.own
                && let Some(member) = self.member(holder, &key, &record)
            {
                let_in.push((key, member));
            }
        }
        let_in
    }

    fn at_neighbour(&self, holder: Boot, id: InstanceId, identity: String) -> Instance {
        let address = self.replica.address(holder);
        let neighbour = self.neighbours.of(holder, address);
        neighbour.note_suspect(self.replica.view().is_suspect(holder));
        Instance::elsewhere(id, identity, neighbour, self.neighbours.census())
    }

    /// Own routes are stored by the registry.
    fn is_foreign(&self, change: &StoreChange) -> bool {
        let boot = match change {
            StoreChange::Put { boot, .. }
            | StoreChange::Remove { boot, .. }
            | StoreChange::Head { boot, .. }
            | StoreChange::Forget(boot) => *boot,
        };
        boot != self.own
    }

    /// A member as a record describes it; `None` if it cannot be read, or the rules are against it.
    fn member(&mut self, holder: Boot, key: &Key, record: &Record) -> Option<Member> {
        let Some(Payload {
            identity,
            policy,
            address: direct,
        }) = payload(record)
        else {
            tracing::error!(%holder, pattern = %key.pattern, "a record of another node cannot be read");
            return None;
        };
        if !self.lets_show(key, &identity) {
            return None;
        }
        let over_http = match record.kind {
            Kind::Session => None,
            Kind::Http => Some(http_address(key, &identity)?),
        };
        if over_http
            .as_ref()
            .is_some_and(|address| !self.can_reach(address, holder))
        {
            return None;
        }
        let party = (holder, key.instance, identity);
        let known = self.elsewhere.get(&party);
        let instance = known.and_then(Weak::upgrade).unwrap_or_else(|| {
            let instance = Arc::new(match &over_http {
                Some(address) => self.upstreams.elsewhere(address),
                None => self.at_neighbour(holder, key.instance, party.2.clone()),
            });
            if self.elsewhere.len() >= self.clean_at {
                self.elsewhere.retain(|_, known| known.strong_count() > 0);
                self.clean_at = CLEANING.max(2 * self.elsewhere.len());
            }
            let known = Arc::downgrade(&instance);
            self.elsewhere.insert(party, known);
            instance
        });
        // Where that node is on another machine, so is the instance.
        let is_reachable =
            |direct: &String| !is_near_only(direct) || is_near_only(self.replica.address(holder));
        instance.reached_at(direct.filter(is_reachable));
        let pattern = key.pattern.clone();
        Some(Member::new(instance, pattern, policy, record.incarnation))
    }
}

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

fn payload(record: &Record) -> Option<Payload> {
    let decoded = codec::decode::<Payload>(&record.payload);
    decoded.ok().map(|(payload, _)| payload)
}

/// Where the service of an HTTP route is, if the route's instance is the one at that address.
fn http_address(key: &Key, identity: &str) -> Option<HttpAddress> {
    let address = HttpAddress::of_identity(identity);
    let address = address.filter(|address| address.instance() == key.instance);
    if address.is_none() {
        tracing::error!(pattern = %key.pattern, identity, "an HTTP route of another node is none");
    }
    address
}

/// What an HTTP route of another node's, which is gone, says.
pub(super) fn orphaned(key: &Key, record: &Record) -> Option<(HttpAddress, Policy)> {
    let Payload {
        identity, policy, ..
    } = payload(record)?;
    Some((http_address(key, &identity)?, policy))
}

/// An own member as other nodes hear of it.
pub(super) fn record(member: &Member) -> (Key, Record) {
    let payload = Payload {
        identity: member.instance.identity.clone(),
        policy: (*member.policy).clone(),
        address: member.instance.direct_address(),
    };
    let mut bytes = BytesMut::new();
    codec::encode(&payload, &mut bytes);
    let key = Key {
        pattern: member.pattern.clone(),
        instance: member.instance.id,
    };
    let record = Record {
        incarnation: member.incarnation,
        kind: match member.instance.upstream() {
            Some(_) => Kind::Http,
            None => Kind::Session,
        },
        payload: bytes.as_ref().into(),
    };
    (key, record)
}

fn tell(alarm: &Alarm) {
    match alarm {
        Alarm::Forged => tracing::error!(
            "Redis holds records that were not written with the cluster's secret; they are ignored"
        ),
        Alarm::Unreadable(boot) => {
            tracing::error!(%boot, "the routes of a node in Redis are not what it says; they are left");
        }
        Alarm::CopiedFolder(boot) => tracing::error!(
            %boot,
            "an earlier start of this node is running elsewhere: its state folder was copied"
        ),
        Alarm::OtherAuthority => tracing::error!(
            "Redis keeps the routes of nodes with another authority: this node serves its own \
             routes, and reads and writes nothing there; give it their secret or certificates, or \
             another redis_namespace"
        ),
        Alarm::Evicting => tracing::error!(
            "Redis may evict keys, and routes with them; set its maxmemory-policy to noeviction"
        ),
    }
}
