//! Times in words. The pages run no scripts, so they cannot ask for the reader's time zone: ages
//! are told in words, and dates in UTC.

use auth::UnixTime;

use crate::calendar::format;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// From here on a date says more than an age.
const AGES: u64 = 14 * DAY;
/// A time as a page shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Timestamp {
    /// For programs (RFC 3339).
    pub(super) machine: String,
    /// For people: an age, or a date.
    pub(super) words: String,
    /// For people who want to know exactly.
    pub(super) exact: String,
}

impl Timestamp {
    /// `time`, seen from `now`.
    pub(super) fn of(time: UnixTime, now: UnixTime) -> Self {
        let distance = time.0.abs_diff(now.0);
        let words = match (span(distance), time > now) {
            _ if distance >= AGES => format(time, "%-d %B %Y"),
            (None, _) => "just now".to_owned(),
            (Some(span), true) => format!("in {span}"),
            (Some(span), false) => format!("{span} ago"),
        };
        Self {
            machine: format(time, "%Y-%m-%dT%H:%M:%SZ"),
            words,
            exact: format(time, "%-d %B %Y, %H:%M UTC"),
        }
    }
}

/// A length of time in its largest whole unit; `None` below a minute.
fn span(seconds: u64) -> Option<String> {
    let (count, unit) = match seconds {
        0..MINUTE => return None,
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ => (seconds / DAY, "day"),
    };
    Some(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_times_are_told_as_ages_and_far_ones_as_dates() {
        let now = UnixTime(1_790_000_000);
        let told = |ago: u64| Timestamp::of(UnixTime(now.0 - ago), now).words;
        let words: Vec<_> = [0, 59, 60, 3_599, 3_600, 86_400, 13 * 86_400].map(told).into();
        let expected = [
            "just now",
            "just now",
            "1 minute ago",
            "59 minutes ago",
            "1 hour ago",
            "1 day ago",
            "13 days ago",
        ];
        assert_eq!(words, expected);
        assert_eq!(told(14 * 86_400), "7 September 2026");
        assert_eq!(Timestamp::of(UnixTime(now.0 + 7_200), now).words, "in 2 hours");
        assert_eq!(Timestamp::of(now, now).exact, "21 September 2026, 14:13 UTC");
        assert_eq!(Timestamp::of(now, now).machine, "2026-09-21T14:13:20Z");
    }
}
