//! Unix seconds as a date and a time of day, in UTC.

use std::time::SystemTime;

const DAY: i64 = 24 * 60 * 60;

/// Whole seconds since 1970, rounded down also before it.
pub(super) fn unix_seconds(time: SystemTime) -> i64 {
    let seconds = |whole: u64| i64::try_from(whole).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => seconds(since.as_secs()),
        Err(before) => {
            let before = before.duration();
            -seconds(before.as_secs()) - i64::from(before.subsec_nanos() > 0)
        }
    }
}

/// `2030-03-17T17:46:40Z`.
pub(super) fn iso(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of the day that is `days` after 1970-01-01, in the proleptic Gregorian
/// calendar. Years are counted from March, so that the leap day is the last of its year and a
/// month's start is a linear function of its number; an era is the 400 years after which the
/// calendar repeats.
fn date(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    const MARCH_0000_TO_1970: i64 = 719_468;
    let days = days + MARCH_0000_TO_1970;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    // Taking out the leap days of 4 years, of 100 and of 400 leaves years of 365 days.
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_around_leap_days_and_turns_of_the_century_are_right() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_900_000_000, "2030-03-17T17:46:40Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(iso(seconds), expected);
        }
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let mut before = date(-150_000);
        for days in -149_999..150_000 {
            let (year, month, day) = date(days);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let follows = match before {
                (y, 12, 31) => (year, month, day) == (y + 1, 1, 1),
                (y, m, d) if day == 1 => {
                    let length = match m {
                        4 | 6 | 9 | 11 => 30,
                        2 => 28 + i64::from(leap),
                        _ => 31,
                    };
                    (year, month) == (y, m + 1) && d == length
                }
                (y, m, d) => (year, month, day) == (y, m, d + 1),
            };
            assert!(follows, "{before:?} then {year}-{month}-{day}");
            before = (year, month, day);
        }
    }

    #[test]
    fn a_fraction_of_a_second_is_rounded_down_on_both_sides_of_1970() {
        let half = Duration::from_millis(500);
        assert_eq!(unix_seconds(SystemTime::UNIX_EPOCH + half), 0);
        assert_eq!(unix_seconds(SystemTime::UNIX_EPOCH - half), -1);
    }
}
