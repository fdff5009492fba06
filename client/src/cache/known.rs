//! What is known of a subject, for people: nothing is counted as used, and nothing is asked for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nano_routing::{Instances, Keyed, Usable};
use nano_wire::explain::Pick;

use super::{Book, Cache, Target, used::Used};
use crate::explain::{Known, KnownInstance};

/// Instances that are listed, and looked at for that.
const LISTED: usize = 64;
const LOOKED_AT: usize = 4096;

impl Cache {
    /// What is known of a subject in its one form. `time` is that of the instances' figures.
    pub(crate) fn explain(&self, subject: &str, time: Duration) -> Option<Known> {
        let known = self.known.load();
        let (pattern, is_whole, used, targets) = match known.whole.longest_match(subject) {
            Some((_, used)) => {
                let (pattern, targets) = known.routes.longest_match(subject)?;
                (pattern.as_str(), true, &**used, targets)
            }
            None => {
                let single = known.single.get(subject)?;
                (subject, false, &single.used, &single.targets)
            }
        };
        Some(Known {
            pattern: pattern.to_owned(),
            is_whole,
            came: used.came.elapsed(),
            age: self.book.lock().age(used),
            instances: targets.len(),
            listed: list(targets, time),
        })
    }
}

impl Book {
    /// How long nobody has kept an answer up to date.
    fn age(&self, answer: &Used) -> Duration {
        let is_kept = self.begun.is_some_and(|begun| answer.came >= begun);
        // One of an earlier session has not been given anew yet.
        let until = self.ended.or(self.begun).filter(|_| !is_kept);
        until.as_ref().map_or(Duration::ZERO, Instant::elapsed)
    }
}

fn list(targets: &Instances<Arc<Target>>, time: Duration) -> Vec<KnownInstance> {
    let looked_at = targets.iter().take(LOOKED_AT);
    let mut picks: Vec<_> = looked_at
        .map(|target| (pick(target, time), target))
        .collect();
    picks.sort_by_key(|(pick, target)| (*pick == Pick::Yes, target.id()));
    let listed = picks.into_iter().take(LISTED);
    listed
        .map(|(pick, target)| known(target, pick, time))
        .collect()
}

fn pick(target: &Arc<Target>, time: Duration) -> Pick {
    match Usable::of(target, time) {
        Usable::Spare => Pick::Weightless,
        Usable::Ready => Pick::Yes,
        Usable::Due => Pick::Trial,
        Usable::Suspect => Pick::Suspect,
        Usable::Full => Pick::Full,
        Usable::Out if target.figures.out_for(time).is_none() => Pick::Suspect,
        Usable::Out => Pick::Ejected,
        Usable::Never => Pick::Silent,
    }
}

fn known(target: &Target, pick: Pick, time: Duration) -> KnownInstance {
    let (remote, figures) = (&target.remote, &target.figures);
    KnownInstance {
        instance: remote.instance,
        identity: remote.identity(),
        address: remote.address(),
        is_connected: remote.is_connected(),
        pick,
        ejected: figures.out_for(time),
        in_flight: figures.load().in_flight(),
        latency: figures.load().average(),
        policy: target.policy.clone(),
    }
}
