//! What the suite's checks came to.

use serde_json::Value;

use super::exceptions::Exception;
use crate::{cargo::array, tally::Tally};

/// The scenarios of one revision.
#[derive(Debug)]
pub(super) struct Report {
    /// What was asked, as the figures name it.
    pub(super) revision: &'static str,
    pub(super) scenarios: Vec<Scenario>,
}

/// One scenario and the checks it made.
#[derive(Debug, Default)]
pub(super) struct Scenario {
    name: String,
    scored: bool,
    passed: u64,
    failed: u64,
    warnings: u64,
    /// Checks that cannot pass, by the committed list.
    excused: u64,
    problems: Vec<String>,
}

impl Scenario {
    /// Reads `checks.json`. A scenario without one has failed, and so has one that checked nothing:
    /// some look first whether there is something to check, and only remark that there is not.
    pub(super) fn read(name: &str, scored: bool, checks: Option<&str>) -> Self {
        let mut scenario = Self { name: name.to_owned(), scored, ..Self::default() };
        let Some(checks) = checks.and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
            scenario.failed = 1;
            scenario.problems.push("the suite has written no result".to_owned());
            return scenario;
        };
        for check in array(&checks) {
            let status = check["status"].as_str().unwrap_or_default();
            match status {
                "SUCCESS" => scenario.passed += 1,
                "FAILURE" => scenario.failed += 1,
                "WARNING" => scenario.warnings += 1,
                // INFO and SKIPPED say nothing about the server.
                _ => continue,
            }
            if status != "SUCCESS" {
                let text = |key: &str| check[key].as_str().filter(|text| !text.is_empty());
                let why =
                    text("errorMessage").or_else(|| text("description")).unwrap_or("no reason");
                scenario.problems.push(format!("{status} {}: {why}", text("id").unwrap_or("?")));
            }
        }
        if scenario.passed + scenario.failed + scenario.warnings == 0 {
            scenario.failed = 1;
            scenario.problems.push("the suite has made no check".to_owned());
        }
        scenario
    }
}

impl Report {
    /// Takes out the checks that cannot pass. Returns the exceptions that no check needed, each with the
    /// scenario that passes without it.
    pub(super) fn excuse<'a>(
        &mut self,
        exceptions: &'a [Exception],
    ) -> Vec<(&'a Exception, String)> {
        let mut needless = Vec::new();
        for exception in exceptions {
            let about = self.scenarios.iter_mut().filter(|own| exception.is_about(&own.name));
            for scenario in about {
                let mut is_needed = false;
                scenario.problems.retain(|problem| {
                    let (status, rest) = problem.split_once(' ').unwrap_or_default();
                    let id = rest.split(':').next().unwrap_or_default();
                    if !exception.covers(id) {
                        return true;
                    }
                    is_needed = true;
                    scenario.excused += 1;
                    if status == "WARNING" {
                        scenario.warnings -= 1;
                    } else {
                        scenario.failed -= 1;
                    }
                    false
                });
                if !is_needed {
                    needless.push((exception, scenario.name.clone()));
                }
            }
        }
        needless
    }

    pub(super) fn is_empty(&self) -> bool {
        self.scenarios.is_empty()
    }

    /// A warning counts as a failure: the suite warns where the specification says SHOULD.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for scenario in &self.scenarios {
            tally += Tally { passed: scenario.passed, failed: scenario.failed + scenario.warnings };
        }
        tally
    }

    /// Prints the figures, after what did not pass if that is wanted `in_detail`.
    pub(super) fn print(&self, in_detail: bool) {
        let bad = |scenario: &&Scenario| in_detail && !scenario.problems.is_empty();
        let bad = self.scenarios.iter().filter(bad);
        for scenario in bad {
            let kind = if scenario.scored { "scored" } else { "unscored" };
            println!("{} {} ({kind}):", self.revision, scenario.name);
            for problem in &scenario.problems {
                println!("    {problem}");
            }
        }
        println!("{}: {}; {}", self.revision, self.figure(true), self.figure(false));
    }

    fn figure(&self, scored: bool) -> String {
        let (mut passed, mut failed, mut warnings, mut scenarios) = (0, 0, 0, 0);
        let mut excused = 0;
        for scenario in self.scenarios.iter().filter(|scenario| scenario.scored == scored) {
            passed += scenario.passed;
            failed += scenario.failed;
            warnings += scenario.warnings;
            excused += scenario.excused;
            scenarios += 1;
        }
        let kind = if scored { "scored" } else { "unscored" };
        format!(
            "{kind} {passed} of {} checks, {failed} failed, {warnings} warnings, {excused} excused, \
             {scenarios} scenarios",
            passed + failed + excused
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_counted_and_what_went_wrong_is_kept() {
        let checks = r#"[
            {"id":"a","status":"SUCCESS"},
            {"id":"b","status":"FAILURE","description":"d","errorMessage":"e"},
            {"id":"c","status":"WARNING","description":"w"},
            {"id":"d","status":"INFO"},
            {"id":"e","status":"SKIPPED"}
        ]"#;
        let scenario = Scenario::read("s", true, Some(checks));
        assert_eq!(scenario.problems, ["FAILURE b: e", "WARNING c: w"]);
        let lost = Scenario::read("t", false, None);
        let idle = Scenario::read("u", false, Some(r#"[{"id":"f","status":"INFO"}]"#));
        let report = Report { revision: "r", scenarios: vec![scenario, lost, idle] };
        assert_eq!(report.tally(), Tally { passed: 1, failed: 4 });
        assert_eq!(
            report.figure(true),
            "scored 1 of 2 checks, 1 failed, 1 warnings, 0 excused, 1 scenarios"
        );
    }

    #[test]
    fn a_check_that_cannot_pass_is_excused_and_an_exception_too_many_is_told() {
        let checks = r#"[{"id":"a","status":"SUCCESS"},{"id":"b","status":"FAILURE"}]"#;
        let passes = r#"[{"id":"b","status":"SUCCESS"}]"#;
        let scenarios = vec![
            Scenario::read("tasks-x", false, Some(checks)),
            Scenario::read("tasks-y", false, Some(passes)),
        ];
        let mut report = Report { revision: "r", scenarios };
        let list = "r\ttasks-*\tb\tno tasks here\nr\ttasks-*\tc\tnor there\nr\tother\t*\twhy\n";
        let exceptions = Exception::parse(list, "r");
        let needless = report.excuse(&exceptions);
        let needless: Vec<_> =
            needless.iter().map(|(exception, of)| (&*exception.check, &**of)).collect();
        assert_eq!(needless, [("b", "tasks-y"), ("c", "tasks-x"), ("c", "tasks-y")]);
        assert_eq!(report.tally(), Tally { passed: 2, failed: 0 });
    }
}
