//! Durations and sizes as an operator writes them.

use std::time::Duration;

use super::error::{Problem, quoted};

/// Ten years. Longer waits overflow clocks somewhere, and no operator means them.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A tebibyte: far above anything that fits a machine, far below an overflow.
const LARGEST: u64 = 1 << 40;

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads `"15m"`, `"1h30m"`, `"500ms"`, `"0"`.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let refuse = |why: &str| {
        Problem::new(format!("{} {why}", quoted(text))).hint(
            "write a number and a unit (ms, s, m, h, d), such as \"500ms\", \"15m\", \"1h30m\"",
        )
    };
    if text.starts_with('-') {
        return Err(refuse("is negative"));
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        if number.is_empty() {
            return Err(refuse("is not a duration"));
        }
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            let why = if next.starts_with(['.', ',']) { "has a fraction" } else { "has no unit" };
            return Err(refuse(why));
        }
        let Some((_, factor)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(refuse("has an unknown unit"));
        };
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| refuse("is too long; the most is ten years, \"3650d\""))?;
        rest = next;
    }
    if text.is_empty() {
        return Err(refuse("is not a duration"));
    }
    let total = Duration::from_millis(total);
    if total > LONGEST {
        return Err(refuse("is too long; the most is ten years, \"3650d\""));
    }
    Ok(total)
}

/// [`duration`] for the command line, with the mistake and its hint on one line.
pub(crate) fn duration_argument(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|Problem { what, hint }| match hint {
        Some(hint) => format!("{what}; {hint}"),
        None => what,
    })
}

/// Writes a duration so that [`duration`] reads it back; whole milliseconds only.
pub(super) fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS.iter().rev() {
        if rest >= *factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    text
}

/// Reads `"64MiB"`, `"16MB"`, `"512"` as bytes.
pub(super) fn size(text: &str) -> Result<usize, Problem> {
    let refuse = |why: &str| {
        Problem::new(format!("{} {why}", quoted(text)))
            .hint("write a number and a unit (B, KB, MB, GB, KiB, MiB, GiB), such as \"64MiB\"")
    };
    if text.starts_with('-') {
        return Err(refuse("is negative"));
    }
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err(refuse("is not a size"));
    }
    let unit = unit.trim_start_matches(' ');
    let factor = if unit.is_empty() {
        1
    } else if let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        *factor
    } else {
        let near = SIZE_UNITS.iter().find(|(name, _)| {
            name.eq_ignore_ascii_case(unit) || name.eq_ignore_ascii_case(&format!("{unit}iB"))
        });
        let problem = refuse(if unit.starts_with(['.', ',']) {
            "has a fraction"
        } else {
            "has an unknown unit"
        });
        return Err(match near {
            Some((name, _)) => problem.hint(format!("write \"{number}{name}\"")),
            None => problem,
        });
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).map_or_else(
        || Err(refuse("is too large; the most is \"1024GiB\"")),
        |bytes| bounded(bytes).ok_or_else(|| refuse("is too large; the most is \"1024GiB\"")),
    )
}

/// `bytes`, when a size may be that large.
pub(super) fn bounded(bytes: u64) -> Option<usize> {
    if bytes > LARGEST { None } else { usize::try_from(bytes).ok() }
}

/// Writes a size so that [`size`] reads it back.
pub(super) fn size_text(bytes: usize) -> String {
    for (unit, factor) in [("GiB", 1usize << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("30d", 2_592_000_000),
            ("1d1h1m1s1ms", 90_061_001),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (bad, why) in [
            ("", "not a duration"),
            ("15", "no unit"),
            ("1.5h", "fraction"),
            ("-5s", "negative"),
            ("m", "not a duration"),
            ("5 m", "no unit"),
            ("5min", "unknown unit"),
            ("5M", "unknown unit"),
            ("1h30", "no unit"),
            ("4000d", "too long"),
            ("99999999999999999999d", "too long"),
            ("9999999999999999999d", "too long"),
        ] {
            let problem = duration(bad).expect_err(bad);
            assert!(problem.what.contains(why), "{bad}: {problem:?}");
        }
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("16kB", 16_000),
            ("16KB", 16_000),
            ("16MB", 16_000_000),
            ("64KiB", 65_536),
            ("64MiB", 67_108_864),
            ("64 MiB", 67_108_864),
            ("1024GiB", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (bad, why) in [
            ("", "not a size"),
            ("MiB", "not a size"),
            ("-1", "negative"),
            ("1.5MiB", "fraction"),
            ("1TiB", "unknown unit"),
            ("1025GiB", "too large"),
            ("99999999999999999999", "too large"),
        ] {
            let problem = size(bad).expect_err(bad);
            assert!(problem.what.contains(why), "{bad}: {problem:?}");
        }
        assert_eq!(size("64mib").unwrap_err().hint.as_deref(), Some("write \"64MiB\""));
        assert_eq!(size("64M").unwrap_err().hint.as_deref(), Some("write \"64MiB\""));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0u64..=315_360_000_000, bytes in 0usize..=1 << 40) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&duration_text(time)), Ok(time));
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_a_quantity_panic(text in any::<String>(), near in "[0-9.,a-zA-Z -]{0,12}") {
            let _ = (duration(&text), size(&text), duration(&near), size(&near));
        }
    }
}
