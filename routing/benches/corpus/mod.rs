//! What the benchmarks run on: patterns of some shapes, and who serves them.

use std::{fmt, sync::Arc};

use nano_routing::{Instances, Keyed, Pattern};

/// How many patterns there are.
pub(crate) const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// What patterns look like. All of a shape are equally long.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// `role:user,id:0000001`: numbers under one parent.
    Numbers,
    /// `role:user,id:9e3779b97f4a7c15`: random digits under one parent.
    Hexadecimal,
    /// `f00:3,f01:0,...,f11:2`: twelve fields, each with one of four values.
    Deep,
}

/// Who serves a pattern.
pub(crate) struct Instance(u64);

/// Who serves it, as a table holds it.
pub(crate) type Set = Instances<Arc<Instance>>;

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Numbers, Self::Hexadecimal, Self::Deep];

    /// The pattern of a number below 2^24.
    pub(crate) fn pattern(self, number: usize) -> Pattern {
        let text = match self {
            Self::Numbers => format!("role:user,id:{number:07}"),
            Self::Hexadecimal => format!("role:user,id:{:016x}", scatter(number)),
            Self::Deep => {
                // Odd, so that different numbers below 2^24 have different digits.
                let digits = number.wrapping_mul(0x9e_3779);
                let field = |at: usize| format!("f{at:02}:{}", digits >> (2 * at) & 3);
                (0..12).map(field).collect::<Vec<_>>().join(",")
            }
        };
        Pattern::parse(&text).expect("the shapes are those of patterns")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Numbers => "numbers",
            Self::Hexadecimal => "hexadecimal",
            Self::Deep => "deep",
        })
    }
}

impl Keyed for Instance {
    type Id = u64;

    fn id(&self) -> u64 {
        self.0
    }
}

/// A set of one instance.
pub(crate) fn set() -> Set {
    Instances::new().with(Arc::new(Instance(1)))
}

/// The number of a pattern that is there: of ten numbers, the last is left out.
pub(crate) fn present(index: usize) -> usize {
    index + index / 9
}

/// Every number to another one, as good as random (SplitMix64; Steele, Lea, Flood 2014).
fn scatter(number: usize) -> u64 {
    let mut z = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
