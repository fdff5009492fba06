//! How the patterns under each prefix stand: the whole table is looked through for it, beside what
//! answers, and what was found is kept for whoever asks. It is looked through again when there was a
//! change, though no more often than it takes a small share of one core, however many ask.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use nano_routing::Pattern;
use parking_lot::Mutex;
use tokio::{sync::Mutex as Turn, task::spawn_blocking};

use crate::{
    census::{Counts, count},
    table::{Published, Table},
};

/// The pause after a look is so many times as long as the look.
const SHARE: u32 = 400;

/// How long what was found holds without a change: instances are ejected and taken back without one.
const HOLDS: Duration = Duration::from_secs(5);

/// Sums of so few patterns are not kept, but counted whenever they are asked for.
const FEW: u64 = 16;

/// Most patterns that are counted for one sum which is not kept, since there were few.
const MOST: usize = 1024;

/// Patterns, and how their routes stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) patterns: u64,
    pub(super) routes: Counts,
}

/// What was found.
#[derive(Default)]
pub(super) struct Sums {
    /// Of the table.
    pub(super) revision: u64,
    /// Of all patterns.
    pub(super) total: Sum,
    /// Of those under each prefix that has more than [`FEW`].
    many: HashMap<Box<str>, Sum>,
}

/// What was found last.
#[derive(Default)]
pub(super) struct Summing {
    kept: Mutex<Option<Kept>>,
    turn: Turn<()>,
}

struct Kept {
    sums: Arc<Sums>,
    at: Instant,
    took: Duration,
    asked: Instant,
}

impl Summing {
    /// How all stands, or did a little while ago.
    pub(super) async fn of(&self, published: &Published) -> Arc<Sums> {
        if let Some(sums) = self.known(published) {
            return sums;
        }
        let _turn = self.turn.lock().await;
        if let Some(sums) = self.known(published) {
            return sums;
        }
        let begun = Instant::now();
        let looked_at = Arc::clone(published);
        let found = spawn_blocking(move || {
            // Read before the table, which may be newer then, but never older than it says.
            let revision = looked_at.revision();
            Sums::of(&looked_at.load(), revision)
        });
        let sums = Arc::new(found.await.unwrap_or_default());
        let now = Instant::now();
        *self.kept.lock() = Some(Kept {
            sums: Arc::clone(&sums),
            at: now,
            took: now.saturating_duration_since(begun),
            asked: now,
        });
        sums
    }

    /// Gives up what nobody has asked for lately.
    pub(super) fn sweep(&self, now: Instant) {
        let mut kept = self.kept.lock();
        let is_idle = |kept: &Kept| now.saturating_duration_since(kept.asked) > HOLDS;
        if kept.as_ref().is_some_and(is_idle) {
            *kept = None;
        }
    }

    fn known(&self, published: &Published) -> Option<Arc<Sums>> {
        let mut kept = self.kept.lock();
        let kept = kept.as_mut()?;
        kept.asked = Instant::now();
        let age = kept.asked.saturating_duration_since(kept.at);
        let is_changed = kept.sums.revision != published.revision() || age > HOLDS;
        let is_to_pause = age < kept.took * SHARE;
        (is_to_pause || !is_changed).then(|| Arc::clone(&kept.sums))
    }
}

impl Sums {
    fn of(table: &Table, revision: u64) -> Self {
        let mut sums = Self {
            revision,
            ..Self::default()
        };
        let mut open = Open::default();
        for (pattern, members) in table.iter() {
            let text = pattern.as_str();
            while open.innermost().is_some_and(|prefix| !begins(prefix, text)) {
                open.close(&mut sums);
            }
            open.enter(text);
            open.add(Sum {
                patterns: 1,
                routes: count(members),
            });
        }
        while open.innermost().is_some() {
            open.close(&mut sums);
        }
        sums
    }

    /// Of the patterns that begin with all fields of a prefix, in a table that may be newer.
    pub(super) fn under(&self, table: &Table, prefix: &Pattern) -> Sum {
        if let Some(sum) = self.many.get(prefix.as_str()) {
            return *sum;
        }
        let mut sum = Sum::default();
        for (_, members) in table.under(prefix).take(MOST) {
            sum.add(Sum {
                patterns: 1,
                routes: count(members),
            });
        }
        sum
    }
}

/// The prefixes of the pattern that a look has come to, the shortest first: where each ends, and what
/// was counted under it.
#[derive(Default)]
struct Open<'t> {
    text: &'t str,
    ends: Vec<(usize, Sum)>,
}

impl<'t> Open<'t> {
    fn innermost(&self) -> Option<&'t str> {
        self.ends.last().map(|(end, _)| &self.text[..*end])
    }

    /// Opens those of the prefixes of a pattern that are not.
    fn enter(&mut self, text: &'t str) {
        let known = self.ends.last().map_or(0, |(end, _)| end + 1);
        self.text = text;
        if known > text.len() {
            return;
        }
        let commas = text[known..].match_indices(',').map(|(at, _)| known + at);
        let ends = commas.chain([text.len()]);
        self.ends.extend(ends.map(|end| (end, Sum::default())));
    }

    fn add(&mut self, sum: Sum) {
        if let Some((_, innermost)) = self.ends.last_mut() {
            innermost.add(sum);
        }
    }

    /// Closes the innermost.
    fn close(&mut self, sums: &mut Sums) {
        let Some((end, sum)) = self.ends.pop() else {
            return;
        };
        if sum.patterns > FEW {
            sums.many.insert(self.text[..end].into(), sum);
        }
        let outer = self.ends.last_mut().map(|(_, outer)| outer);
        outer.unwrap_or(&mut sums.total).add(sum);
    }
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.patterns += other.patterns;
        for (sum, more) in self.routes.iter_mut().zip(other.routes) {
            *sum += more;
        }
    }
}

/// Whether a pattern begins with all fields of a prefix.
fn begins(prefix: &str, pattern: &str) -> bool {
    let rest = pattern.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

    use nano_routing::Instances;

    use super::*;

    fn table(patterns: impl IntoIterator<Item = String>) -> Table {
        let patterns = patterns.into_iter();
        let entries = patterns.map(|text| (Pattern::parse(&text).unwrap(), Instances::default()));
        entries.collect()
    }

    #[test]
    fn what_is_kept_is_what_would_be_counted() {
        let deep = (0..40).map(|n| format!("a:1,b:{},c:{n}", n % 2));
        let near = ["a:1", "a:1!", "a:12", "a:1,b:0", "a:1,b:0!"].map(str::to_owned);
        let table = table(deep.chain(near).chain((0..30).map(|n| format!("r{n}:1"))));
        let sums = Sums::of(&table, 7);
        assert_eq!(
            (sums.revision, sums.total.patterns),
            (7, table.len() as u64)
        );
        let mut kept: Vec<_> = sums.many.keys().map(|prefix| &**prefix).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["a:1", "a:1,b:0", "a:1,b:1"]);
        for (prefix, expected) in [
            ("a:1", 43),
            ("a:1,b:0", 21),
            ("a:1,b:1", 20),
            ("a:1,b:0,c:2", 1),
            ("a:1!", 1),
            ("r1:1", 1),
            ("r", 0),
        ] {
            let prefix = Pattern::parse(prefix).unwrap();
            let counted = table.under(&prefix).count() as u64;
            assert_eq!(counted, expected, "{prefix}");
            assert_eq!(sums.under(&table, &prefix).patterns, expected, "{prefix}");
        }
    }
}
