//! Who gets a message.
//!
//! In come patterns with what serves them, and then subjects; out goes the longest pattern that
//! matches a subject and one of the instances behind it. The node's table and the client's cache
//! are both a [`Tree`] of [`Instances`], read through [`Tree::longest_match`] and [`pick()`].
//!
//! Whether somebody may register or call at all is for [`rules`] to say.
//!
//! Everything here is pure: no I/O, no clock, no random numbers but those given as arguments.
//! A [`Tree`] is owned by its one writer; readers hold clones, which cost nothing and never change.
//! The only state shared between the two are the [`Figures`] a candidate keeps. What a caller may
//! try again is a [`RetryBudget`]'s to say.
//!
//! Time is a `Duration` since an epoch of the owner's choice, which is to be the same for all that
//! it shares.
//!
//! ```
//! use nano_routing::{Pattern, Tree, canonical};
//!
//! let mut table = Tree::new();
//! table.insert(Pattern::parse("role:math")?, "any arithmetic");
//! table.insert(Pattern::parse("role:math, cmd:sum")?, "sums");
//!
//! let subject = canonical("role:math, cmd:sum, left:1")?;
//! let (pattern, service) = table.longest_match(&subject).expect("two patterns match");
//! assert_eq!((pattern.as_str(), *service), ("role:math,cmd:sum", "sums"));
//! # Ok::<(), nano_routing::PatternError>(())
//! ```

mod budget;
mod figures;
mod health;
mod instances;
mod key;
mod load;
mod near;
mod pattern;
mod pick;
mod retired;
pub mod rules;
mod tree;

pub use budget::{BudgetSettings, RetryBudget};
pub use figures::{Figures, Outcome};
pub use health::{Condition, Health, HealthSettings};
pub use instances::{Instances, Keyed};
pub use load::{Cost, Load};
pub use near::{MOST_NEAR, Near, near_misses};
pub use pattern::{MAX_BYTES, MAX_FIELDS, Pattern, PatternError, canonical, prefixes};
pub use pick::{Candidate, Candidates, NonePicked, Reach, Usable, at_most_half_out, pick};
pub use retired::Retired;
pub use tree::{Iter, Tree};
