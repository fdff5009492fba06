//! What this process knows of who serves what: in come a node's answers and what has changed
//! since, out go the instances for a subject, and the subjects to ask the node for.
//!
//! An answer is whole, good for every subject that begins with its pattern, or good for one
//! subject. Calls read an immutable snapshot; the session's task changes it. What was learned
//! stays when the session is lost, and is asked for anew when there is one again.

mod known;
mod remote;
mod used;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use nano_routing::{
    Candidate, Figures, HealthSettings, Instances, Keyed, Outcome, Pattern, Reach, Tree,
};
use nano_wire::{
    InstanceId,
    message::{Control, Policy, Resolved, Route, RouteInstance},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) use remote::{LONGEST, Remote};
use used::{Clock, Used};

/// Answers that are kept; the one that was used longest ago makes room.
const HELD: usize = 1024;

/// Subjects that wait to be asked for; a subject of a later call comes again.
const ASKING: usize = 256;

/// Questions that may be unanswered.
const UNANSWERED: usize = 32;

/// What the numbers of these questions have, and those of others do not.
const QUESTION: u64 = 1 << 63;

/// How long a subject that nobody serves, or of which no answer came, is not asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known. Shared by the calls, which read it, and the session's task.
pub(crate) struct Cache {
    known: ArcSwap<Known>,
    clock: Clock,
    book: Mutex<Book>,
    /// There is something to ask.
    asked: Notify,
    /// An answer has come, or none will.
    answered: Notify,
}

/// One snapshot.
#[derive(Clone, Default)]
struct Known {
    /// The patterns that won where all below is known.
    whole: Tree<Arc<Used>>,
    /// Those and all below them.
    routes: Tree<Instances<Arc<Target>>>,
    /// By subject: what is known of nothing else.
    single: Tree<Arc<Single>>,
}

struct Single {
    used: Used,
    targets: Instances<Arc<Target>>,
}

/// What only those who change something look at.
#[derive(Default)]
struct Book {
    remotes: HashMap<InstanceId, Weak<Remote>>,
    /// What the node is to be told, in this order.
    asking: VecDeque<Control>,
    /// Subjects that the node was asked for, by the number of the question.
    asked: HashMap<String, u64>,
    last: u64,
    /// When each subject was last asked for that is not known.
    paused: HashMap<String, Instant>,
    /// When the session began, unless it has ended, and when the last one ended.
    begun: Option<Instant>,
    ended: Option<Instant>,
    /// When the session began that there is or was last.
    last_begun: Option<Instant>,
}

/// An instance as a candidate for the calls of one pattern.
pub(crate) struct Target {
    pub(crate) remote: Arc<Remote>,
    pub(crate) policy: Policy,
    figures: Arc<Figures>,
    is_suspect: bool,
    /// The pattern may have others that the node did not tell of.
    may_have_others: bool,
}

/// Whether these are known to be all instances of their pattern.
pub(crate) fn are_all(targets: &Instances<Arc<Target>>) -> bool {
    !targets.is_empty() && !targets.iter().any(|target| target.may_have_others)
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self {
            known: ArcSwap::default(),
            clock: Clock::default(),
            book: Mutex::default(),
            asked: Notify::new(),
            answered: Notify::new(),
        }
    }

    /// Who serves a subject in its one form. If that is not known the node is asked, for
    /// later calls.
    pub(crate) fn find(&self, subject: &str) -> Option<Instances<Arc<Target>>> {
        let known = self.known.load();
        if let Some((_, used)) = known.whole.longest_match(subject) {
            used.note(&self.clock);
            let (_, targets) = known.routes.longest_match(subject)?;
            return Some(targets.clone());
        }
        if let Some(single) = known.single.get(subject) {
            single.used.note(&self.clock);
            return Some(single.targets.clone());
        }
        self.ask(subject);
        None
    }

    /// Who serves a subject in its one form, once the node has said so; `None` if it has said
    /// that nobody does, or does not answer.
    pub(crate) async fn learn(&self, subject: &str) -> Option<Instances<Arc<Target>>> {
        loop {
            let answered = self.answered.notified();
            let mut answered = std::pin::pin!(answered);
            answered.as_mut().enable();
            let targets = self.find(subject);
            if targets.is_some() || !self.book.lock().is_asking(subject) {
                return targets;
            }
            answered.await;
        }
    }

    /// Whether all instances of a subject's pattern are known, and were before a moment and
    /// within the session that there is or was last.
    pub(crate) fn knows_all(&self, subject: &str, before: Instant) -> bool {
        let known = self.known.load();
        let is_current = |used: &Used| {
            let begun = self.book.lock().last_begun;
            used.came < before && begun.is_some_and(|begun| begun < used.came)
        };
        match known.whole.longest_match(subject) {
            Some((_, used)) => {
                let route = known.routes.longest_match(subject);
                route.is_some_and(|(_, targets)| are_all(targets)) && is_current(used)
            }
            None => known
                .single
                .get(subject)
                .is_some_and(|single| are_all(&single.targets) && is_current(&single.used)),
        }
    }

    /// Asks for a subject again, whatever is known of it: it was wrong.
    pub(crate) fn doubt(&self, subject: &str) {
        let mut book = self.book.lock();
        if !book.asked.contains_key(subject) {
            book.push(Control::Resolve(subject.to_owned()));
            self.asked.notify_one();
        }
    }

    /// The next message for the node, and its number. Safe to cancel. Questions wait while
    /// many are unanswered, so that the node always has room for its answers.
    pub(crate) async fn message(&self) -> (u64, Control) {
        loop {
            if let Some(message) = self.book.lock().next() {
                return message;
            }
            self.asked.notified().await;
        }
    }

    /// Whether a number is that of one of these questions.
    pub(crate) fn has_asked(id: u64) -> bool {
        id & QUESTION != 0
    }

    /// The node does not answer a question.
    pub(crate) fn refused(&self, id: u64) {
        self.book.lock().asked.retain(|_, asked| *asked != id);
        self.asked.notify_one();
        self.answered.notify_waiters();
    }

    /// A session has begun whose node knows nothing of what is held here: it is asked for
    /// all of it.
    pub(crate) fn begin_session(&self) {
        let known = self.known.load();
        let whole = known.whole.iter().map(|(pattern, _)| pattern);
        let single = known.single.iter().map(|(subject, _)| subject);
        let mut book = self.book.lock();
        book.begun = Some(Instant::now());
        book.last_begun = book.begun;
        book.paused.clear();
        book.asked.clear();
        book.asking = whole
            .chain(single)
            .map(|subject| Control::Resolve(subject.to_string()))
            .collect();
        self.asked.notify_one();
    }

    /// Nobody keeps what is held here up to date from now on.
    pub(crate) fn end_session(&self) {
        let mut book = self.book.lock();
        book.begun = None;
        book.ended = Some(Instant::now());
    }

    /// Takes an answer to the question of a number, or what takes the place of one.
    pub(crate) fn resolved(&self, id: u64, resolved: Resolved) {
        let Resolved {
            subject,
            is_whole,
            routes,
        } = resolved;
        let mut book = self.book.lock();
        let mut known = Known::clone(&self.known.load());
        if Self::has_asked(id) {
            self.asked.notify_one();
            if book.asked.get(&subject) != Some(&id) {
                return;
            }
            book.asked.remove(&subject);
        } else if !known.holds(&subject) {
            // It was dropped while this was on its way.
            book.push(Control::Forget(subject));
            return self.asked.notify_one();
        }
        known.drop_answer(&subject);
        let routes: Vec<_> = routes
            .into_iter()
            .filter_map(|route| book.route(route))
            .collect();
        let used = Used::at(&self.clock);
        // Of a subject that nobody serves nothing is known, and the pause goes on.
        if !routes.is_empty() {
            book.paused.remove(&subject);
        }
        if is_whole {
            known.add_whole(used, routes);
        } else if let Some((_, targets)) = routes.into_iter().next()
            && let Ok(subject) = Pattern::parse(&subject)
        {
            known
                .single
                .insert(subject, Arc::new(Single { used, targets }));
        }
        self.make_room(&mut known, &mut book);
        self.known.store(Arc::new(known));
        self.answered.notify_waiters();
    }

    /// The instances of a pattern within a whole answer are others now.
    pub(crate) fn changed(&self, route: Route) {
        let mut book = self.book.lock();
        let mut known = Known::clone(&self.known.load());
        let Some((pattern, targets)) = book.route(route) else {
            return;
        };
        if known.whole.longest_match(pattern.as_str()).is_none() {
            return;
        }
        if targets.is_empty() {
            known.routes.remove(pattern.as_str());
        } else {
            known.routes.insert(pattern, targets);
        }
        self.known.store(Arc::new(known));
    }

    /// An answer is no longer kept up to date.
    pub(crate) fn forget(&self, subject: &str) {
        let _book = self.book.lock();
        let mut known = Known::clone(&self.known.load());
        known.drop_answer(subject);
        self.known.store(Arc::new(known));
    }

    fn ask(&self, subject: &str) {
        let mut book = self.book.lock();
        let now = Instant::now();
        let is_paused = |at: &Instant| now.saturating_duration_since(*at) < PAUSE;
        if book.paused.get(subject).is_some_and(is_paused) || book.asked.contains_key(subject) {
            return;
        }
        if book.paused.len() >= ASKING {
            book.paused.retain(|_, at| is_paused(at));
        }
        if book.paused.len() < ASKING && book.asking.len() < ASKING {
            book.paused.insert(subject.to_owned(), now);
            book.push(Control::Resolve(subject.to_owned()));
            self.asked.notify_one();
        }
    }

    fn make_room(&self, known: &mut Known, book: &mut Book) {
        if known.whole.len() + known.single.len() <= HELD {
            return;
        }
        let whole = known
            .whole
            .iter()
            .map(|(pattern, used)| (used.when(), pattern));
        let single = known
            .single
            .iter()
            .map(|(subject, single)| (single.used.when(), subject));
        let oldest = whole.chain(single).min_by_key(|(when, _)| *when);
        if let Some(oldest) = oldest.map(|(_, subject)| subject.to_string()) {
            known.drop_answer(&oldest);
            // An answer that is on its way would not be kept up to date.
            book.asked.remove(&oldest);
            let question = Control::Resolve(oldest);
            book.asking.retain(|message| *message != question);
            if let Control::Resolve(oldest) = question {
                book.push(Control::Forget(oldest));
            }
            self.asked.notify_one();
        }
    }
}

impl Known {
    /// Whether there is an answer of this subject, or a whole one of this pattern.
    fn holds(&self, subject: &str) -> bool {
        self.single.get(subject).is_some() || self.whole.get(subject).is_some()
    }

    /// Adds the pattern that wins and all below it.
    fn add_whole(&mut self, used: Used, routes: Vec<(Pattern, Instances<Arc<Target>>)>) {
        let Some((root, _)) = routes.first() else {
            return;
        };
        self.drop_below(root);
        self.whole.insert(root.clone(), Arc::new(used));
        for (pattern, targets) in routes {
            self.routes.insert(pattern, targets);
        }
    }

    /// Drops what is known by an answer of this subject, or by a whole one of this pattern,
    /// with all that lies below it.
    fn drop_answer(&mut self, subject: &str) {
        self.single.remove(subject);
        if self.whole.get(subject).is_some()
            && let Ok(root) = Pattern::parse(subject)
        {
            self.drop_below(&root);
        }
    }

    /// Drops all that begins with a pattern.
    fn drop_below(&mut self, root: &Pattern) {
        clear(&mut self.whole, root);
        clear(&mut self.routes, root);
        clear(&mut self.single, root);
    }
}

fn clear<V: Clone>(tree: &mut Tree<V>, root: &Pattern) {
    let below: Vec<_> = tree.under(root).map(|(key, _)| key.clone()).collect();
    for key in below {
        tree.remove(key.as_str());
    }
}

impl Book {
    fn next(&mut self) -> Option<(u64, Control)> {
        let Control::Resolve(subject) = self.asking.front()? else {
            return Some((0, self.asking.pop_front()?));
        };
        if self.asked.len() >= UNANSWERED {
            return None;
        }
        self.last += 1;
        let id = QUESTION | self.last;
        self.asked.insert(subject.clone(), id);
        Some((id, self.asking.pop_front()?))
    }

    /// Whether an answer for a subject may be on its way.
    fn is_asking(&self, subject: &str) -> bool {
        let is_question =
            |message: &Control| matches!(message, Control::Resolve(asked) if asked == subject);
        self.asked.contains_key(subject) || self.asking.iter().any(is_question)
    }

    fn push(&mut self, message: Control) {
        if self.asking.len() < 2 * HELD && !self.asking.contains(&message) {
            self.asking.push_back(message);
        }
    }

    /// A pattern and its targets; `None` if it is no pattern, which no node sends.
    fn route(&mut self, route: Route) -> Option<(Pattern, Instances<Arc<Target>>)> {
        let pattern = Pattern::parse(&route.pattern).ok()?;
        let may_have_others = route.may_have_others();
        let targets = route.instances.into_iter();
        let targets = targets.map(|instance| self.target(&pattern, instance, may_have_others));
        let targets = targets.collect();
        Some((pattern, targets))
    }

    fn target(
        &mut self,
        pattern: &Pattern,
        instance: RouteInstance,
        may_have_others: bool,
    ) -> Arc<Target> {
        let id = instance.instance;
        let known = self.remotes.get(&id).and_then(Weak::upgrade);
        let remote = known.filter(|known| known.has_identity(&instance.identity));
        let remote = remote.unwrap_or_else(|| {
            self.remotes.retain(|_, remote| remote.strong_count() > 0);
            let remote = Arc::new(Remote::new(id, &instance.identity));
            self.remotes.insert(id, Arc::downgrade(&remote));
            remote
        });
        remote.is_at(instance.address);
        Arc::new(Target {
            figures: remote.figures(pattern),
            remote,
            policy: instance.policy,
            is_suspect: instance.is_suspect,
            may_have_others,
        })
    }
}

impl Target {
    /// A call is to be given to it; false if it has as many as it takes.
    pub(crate) fn begin(&self, now: Duration) -> bool {
        self.figures.begin(self.policy.max_concurrent, now)
    }

    /// A call has ended, so long after it began.
    pub(crate) fn end(
        &self,
        outcome: Outcome,
        took: Duration,
        now: Duration,
        may_be_out: impl FnOnce() -> bool,
    ) {
        let settings = &HealthSettings::DEFAULT;
        self.figures.end(outcome, took, now, settings, may_be_out);
    }
}

impl Keyed for Target {
    type Id = InstanceId;

    fn id(&self) -> InstanceId {
        self.remote.instance
    }

    fn weight(&self) -> u16 {
        self.policy.weight.unwrap_or(1)
    }
}

impl Candidate for Target {
    fn reach(&self) -> Reach {
        if self.remote.is_silent() {
            Reach::Gone
        } else if self.is_suspect {
            Reach::Suspect
        } else {
            Reach::Connected
        }
    }

    fn figures(&self) -> &Figures {
        &self.figures
    }

    fn limit(&self) -> Option<u32> {
        self.policy.max_concurrent
    }
}

#[cfg(test)]
mod tests;
