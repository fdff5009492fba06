//! Who gets a message.
//!
//! In come patterns with what serves them, and then subjects; out goes the longest pattern that
//! matches a subject and one of the instances behind it. The node's table and the client's cache
//! are both a [`Tree`] of [`Instances`], read through [`Tree::longest_match`] and [`pick()`].
//!
//! Everything here is pure: no I/O, no clock, no random numbers but those given as arguments.
//! A [`Tree`] is owned by its one writer; readers hold clones, which cost nothing and never change.
//! The only state shared between the two are the figures a candidate keeps, such as [`InFlight`].
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

mod instances;
mod key;
mod pattern;
mod pick;
mod tree;

pub use instances::{Instances, Keyed};
pub use pattern::{MAX_BYTES, MAX_FIELDS, Pattern, PatternError, canonical};
pub use pick::{Candidate, InFlight, Standing, pick};
pub use tree::{Iter, Tree};
