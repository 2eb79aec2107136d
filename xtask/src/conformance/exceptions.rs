//! Checks that cannot pass, each with its reason: `xtask/conformance/exceptions.tsv`.

/// One line of the list: a pairing, a scenario, a check, and why it cannot pass. The last
/// character of a scenario or a check may be `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) scenario: String,
    pub(super) check: String,
}

impl Exception {
    /// The lines about one pairing. A line without a reason is none.
    pub(super) fn parse(list: &str, pairing: &str) -> Vec<Self> {
        let lines = list.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let [own, scenario, check, reason] =
                    line.split('\t').collect::<Vec<_>>().try_into().ok()?;
                let is_meant = own == pairing && !reason.trim().is_empty();
                is_meant.then(|| Self { scenario: scenario.to_owned(), check: check.to_owned() })
            })
            .collect()
    }

    pub(super) fn is_about(&self, scenario: &str) -> bool {
        matches(&self.scenario, scenario)
    }

    pub(super) fn covers(&self, check: &str) -> bool {
        matches(&self.check, check)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}
