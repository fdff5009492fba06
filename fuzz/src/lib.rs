//! What no bytes may do to nanod: one function for each place that reads what strangers send.
//!
//! In come bytes; a property that does not hold is a panic. Nothing here knows who made the
//! bytes: libFuzzer (`fuzz_targets/`, run by `run.sh`) or proptest (`daemon/tests/fuzz.rs`, which
//! includes this file). Both begin with the inputs kept in `corpus/`, a folder for each target.

mod frame;
mod http_body;
mod http_request;
mod pattern;
mod register_body;
mod roundtrip;

pub use frame::frame;
pub use http_body::http_body;
pub use http_request::http_request;
pub use pattern::pattern;
pub use register_body::register_body;
pub use roundtrip::roundtrip;
