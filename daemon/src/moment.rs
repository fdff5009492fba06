//! Times as people write them, on the command line and in questions of the API: text comes in, a time
//! goes out.

use std::time::{Duration, SystemTime};

use time::{
    OffsetDateTime, Time, format_description::well_known::Rfc3339, macros::format_description,
};

/// What a time may be, in words.
const EXPECTED: &str = "a time such as 2026-11-28T14:03:00Z, 14:03 or 14:03:20 in UTC, \
                                   or how long ago it was, such as 30s, 10m, 2h or 3d";

/// The time that a text says.
///
/// # Errors
///
/// If it says none, and what it may say.
pub(crate) fn time(text: &str) -> Result<SystemTime, String> {
    let time = parse(text, SystemTime::now());
    time.ok_or_else(|| format!("{text:?} is no time: write {EXPECTED}"))
}

/// The time that a text says. One of a day is the last such time before now.
fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    let now = OffsetDateTime::from(now);
    if let Some(ago) = ago(text) {
        return Some(now.checked_sub(time::Duration::try_from(ago).ok()?)?.into());
    }
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(time.into());
    }
    let seconds = format_description!("[hour]:[minute]:[second]");
    let minutes = format_description!("[hour]:[minute]");
    let of_day = Time::parse(text, seconds).or_else(|_| Time::parse(text, minutes));
    let today = now.replace_time(of_day.ok()?);
    let last = match today > now {
        true => today.checked_sub(time::Duration::DAY)?,
        false => today,
    };
    Some(last.into())
}

fn ago(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
    Some(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_of_the_day_or_ago() {
        let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).expect("a time");
        let now = at("2026-11-28T14:03:30Z");
        for (text, expected) in [
            ("2026-11-27T10:00:00.5Z", Some("2026-11-27T10:00:00.5Z")),
            ("2026-11-28T15:00:00+01:00", Some("2026-11-28T14:00:00Z")),
            ("14:03", Some("2026-11-28T14:03:00Z")),
            ("14:04", Some("2026-11-27T14:04:00Z")),
            ("00:00:01", Some("2026-11-28T00:00:01Z")),
            ("30s", Some("2026-11-28T14:03:00Z")),
            ("2h", Some("2026-11-28T12:03:30Z")),
            ("1d", Some("2026-11-27T14:03:30Z")),
            ("", None),
            ("h", None),
            ("-5m", None),
            ("24:00", None),
            ("yesterday", None),
            ("4294967296d", None),
            ("4000000000d", None),
        ] {
            let parsed = parse(text, now.into()).map(OffsetDateTime::from);
            assert_eq!(parsed, expected.map(at), "{text}");
        }
    }
}
