//! Moments in words. The pages run no scripts, so they cannot ask for the reader's time zone: ages
//! are told in words, and dates in UTC.

use std::fmt::Write as _;

use auth::UnixTime;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// From here on a date says more than an age.
const AGES: u64 = 14 * DAY;
/// The last second of the year 9999; dates beyond it have no agreed form.
const LAST: u64 = 253_402_300_799;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

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
    /// `moment`, seen from `now`.
    pub(super) fn of(moment: UnixTime, now: UnixTime) -> Self {
        let seconds = moment.0.min(LAST);
        let (year, month, day) = date(seconds / DAY);
        let (hour, minute) = (seconds % DAY / HOUR, seconds % HOUR / MINUTE);
        let name = MONTHS[usize::try_from(month - 1).expect("a month is a small number")];
        let date = format!("{day} {name} {year}");
        let mut machine = format!("{year:04}-{month:02}-{day:02}");
        let _ = write!(machine, "T{hour:02}:{minute:02}:{:02}Z", seconds % MINUTE);
        let distance = moment.0.abs_diff(now.0);
        let words = match (span(distance), moment > now) {
            _ if distance >= AGES => date.clone(),
            (None, _) => "just now".to_owned(),
            (Some(span), true) => format!("in {span}"),
            (Some(span), false) => format!("{span} ago"),
        };
        Self { machine, words, exact: format!("{date}, {hour:02}:{minute:02} UTC") }
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

/// Year, month and day of the `days`th day after 1 January 1970.
///
/// Counts in years that begin in March: leap days then come last, and the months' lengths follow
/// one line (153 days in every five months).
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097; // days in 400 years
    // From 1 March of the year 0 to 1 January 1970.
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    // Without the leap days that have passed by then, every year has 365 days.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates_over_leap_years_and_centuries() {
        // Seconds as `date -u -d … +%s` gives them.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::of(UnixTime(seconds), UnixTime(0)).machine, expected);
        }
    }

    #[test]
    fn near_moments_are_told_as_ages_and_far_ones_as_dates() {
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
    }
}
