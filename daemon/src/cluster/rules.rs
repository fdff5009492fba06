//! The rules of replication that the simulation has shown to be necessary, each of which it
//! can leave out to show it again.

/// Which rules are kept: all of them but in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// A change whose outcome is not known is sent again.
    pub repeats_unsure: bool,
    /// The owner puts its whole set back when Redis holds another version of it, or none.
    pub puts_back: bool,
    /// A reader never takes a lower version of a set.
    pub never_lower: bool,
    /// What is absent in Redis is not removed.
    pub absence_keeps: bool,
    /// What one pass brings appears together.
    pub one_snapshot: bool,
    /// What was read shows only once a listing has nothing newer.
    pub confirms_reads: bool,
    /// After an outage of Redis every lease begins afresh.
    pub begins_afresh: bool,
    /// A silent boot is dialled before it is dropped.
    pub dials_first: bool,
    /// A boot is dropped only in step with Redis.
    pub drops_in_step: bool,
    /// An HTTP registration is written also when another set has it.
    pub http_always_written: bool,
    /// HTTP routes of a dropped set stay, and are adopted.
    pub http_stays: bool,
}

impl Rules {
    /// All of them.
    pub const ALL: Self = Self {
        repeats_unsure: true,
        puts_back: true,
        never_lower: true,
        absence_keeps: true,
        one_snapshot: true,
        confirms_reads: true,
        begins_afresh: true,
        dials_first: true,
        drops_in_step: true,
        http_always_written: true,
        http_stays: true,
    };
}
