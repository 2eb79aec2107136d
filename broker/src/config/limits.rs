//! What the processes of a server may use of the machine.

use std::fmt;
use std::num::NonZeroUsize;

use figment::value::Value;
use supervisor::Limit;

use super::error::{Problem, Problems};
use super::key::Key;
use super::kind::Kind;
use super::quantity::size_text;
use super::setting::value::Given;
use super::setting::{Single, shape};
use crate::settings;

settings! {
    /// What one session's process of a server may use of the machine, together with all processes that
    /// it starts. Linux only. memory, pids and cpu take control groups, which the broker can make as
    /// root, or with Delegate=yes in its systemd unit. The log says at the start what holds each limit.
    pub struct LimitsConfig {
        /// The most memory. The kernel ends a process that needs more, and the calls under way fail
        /// with an error that says so. Without control groups each process has the limit for itself.
        /// Programs that run on Node.js or Python need 100MiB and more.
        pub memory: Option<NonZeroUsize> =
            size(r#""0""#).zero("no limit").example(r#""2GiB""#).live(),
        /// The most processes and threads. Programs that run on Node.js have about twelve threads.
        pub pids: Option<NonZeroUsize> = count("0").zero("no limit").example("256").live(),
        /// The most processor time: 1.5 is that of one and a half processors.
        pub cpu: Processors = special(Kind::Processors)
            .computed("no limit")
            .example("1.5")
            .live(),
        /// The most files and connections that each process may have open.
        pub open_files: Option<NonZeroUsize> =
            count("0").zero("as many as the broker may").example("1024").live(),
        /// The longest file that each process may write. A longer one is a failed write, and ends a
        /// program that does not expect that.
        pub file_size: Option<NonZeroUsize> =
            size(r#""0""#).zero("no limit").example(r#""1GiB""#).live(),
    }
}

/// Less than this no program can start with.
const LEAST_MEMORY: usize = 4 << 20;
/// The streams, the libraries of a program, and one file to work with.
const LEAST_FILES: usize = 16;
/// What the kernel can measure out, and more than a machine has, in thousandths.
const PROCESSORS: (u64, u64) = (10, 1_024_000);

impl LimitsConfig {
    /// Those that are set: key in the server's table, what it limits, its value in words.
    pub(crate) fn entries(&self) -> Vec<(&'static str, Limit, String)> {
        let size = |limit: Option<NonZeroUsize>| limit.map(|bytes| size_text(bytes.get()));
        let count = |limit: Option<NonZeroUsize>| limit.map(|count| count.to_string());
        let all = [
            ("limits.memory", Limit::Memory, size(self.memory)),
            ("limits.pids", Limit::Processes, count(self.pids)),
            ("limits.cpu", Limit::Cpu, self.cpu.0.map(|_| self.cpu.to_string())),
            ("limits.open_files", Limit::OpenFiles, count(self.open_files)),
            ("limits.file_size", Limit::FileSize, size(self.file_size)),
        ];
        all.into_iter().filter_map(|(key, limit, value)| Some((key, limit, value?))).collect()
    }

    /// Keys whose values leave no room for any program.
    pub(super) fn problems(&self) -> Vec<(&'static str, Problem)> {
        let mut problems = Vec::new();
        if self.memory.is_some_and(|memory| memory.get() < LEAST_MEMORY) {
            let problem = Problem::new("is less than any program needs to start");
            problems
                .push(("memory", problem.hint("write \"4MiB\" at least, or \"0\" for no limit")));
        }
        if self.open_files.is_some_and(|files| files.get() < LEAST_FILES) {
            let problem = Problem::new("is less than any program needs to start");
            problems.push(("open_files", problem.hint("write 16 at least, or 0 for no limit")));
        }
        problems
    }
}

/// A share of the machine's processor time, in thousandths of one processor; `None`: all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processors(pub Option<u64>);

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("no limit"),
            Some(millis) => write!(f, "{}", millis as f64 / 1000.0),
        }
    }
}

impl Single for Processors {
    type Shape = shape::Other;

    fn unset() -> Self {
        Self(None)
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let number = match given.value {
            Value::Num(_, number) => {
                given.whole().map(|whole| whole as f64).or_else(|| number.to_f64())
            }
            _ => None,
        };
        let Some(number) = number else {
            let problem = given.wrong_type();
            return Err(match given.value {
                Value::String(_, text) if text.parse::<f64>().is_ok() => {
                    problem.hint("write the number without quotes")
                }
                Value::String(_, text) if text.ends_with('%') => {
                    problem.hint("write the number of processors; 0.5 is half of one")
                }
                _ => problem,
            }
            .into());
        };
        if number == 0.0 {
            return Ok(Self(None));
        }
        let (least, most) = PROCESSORS;
        let millis = (number * 1000.0).round();
        if !(least as f64..=most as f64).contains(&millis) {
            let problem = Problem::new(format!("{number} is not a number of processors"));
            return Err(problem.hint("write 0.01 to 1024, or 0 for no limit").into());
        }
        Ok(Self(Some(millis as u64)))
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.0.map(|_| self.to_string())
    }
}
