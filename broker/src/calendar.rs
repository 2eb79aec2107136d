//! Times as people read them, in UTC: neither pages nor listings know their reader's time zone.

use auth::UnixTime;
use jiff::Timestamp;

/// `time` in this form of `strftime`. What lies beyond the year 9999 is shown as its end.
pub(crate) fn format(time: UnixTime, form: &str) -> String {
    let seconds = i64::try_from(time.0).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    time.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar_over_leap_years_and_centuries() {
        // Seconds as `date -u -d … +%s` gives them.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(format(UnixTime(seconds), "%Y-%m-%dT%H:%M:%SZ"), expected);
        }
        assert!(format(UnixTime(u64::MAX), "%Y").starts_with("9999"), "and that is the end");
    }
}
