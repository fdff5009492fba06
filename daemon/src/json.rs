//! What programs read of a node, whichever way they ask: the `--json` of the commands and the API of
//! the [admin listener](crate::admin) print the same. Answers of a node come in, objects go out.

mod change;
mod explained;
mod past;
mod rate;
mod route;
mod status;

pub use change::ChangeObject;
pub use explained::ExplainedObject;
pub use past::PastObject;
pub(crate) use rate::millis;
pub use rate::{PatternRateObject, RateObject};
pub(crate) use route::placed;
pub use route::{PolicyObject, RouteObject};
pub use status::StatusObject;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A time as RFC 3339 has it.
#[must_use]
pub fn written(time: SystemTime) -> String {
    // It fails only for years that no certificate names.
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// A time in milliseconds since 1970, as RFC 3339 has it.
#[must_use]
pub fn written_ms(millis: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    written(time.unwrap_or(UNIX_EPOCH))
}

/// The end of the year 9999, beyond which no certificate goes.
const LAST_SECOND: u64 = 253_402_300_799;

/// So many seconds after 1970.
#[must_use]
pub fn after_1970(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))
}
