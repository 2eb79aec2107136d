//! Signs of life: what a child and the processes it started have done so far.

use std::{collections::HashMap, fs, time::Duration};

/// What a child has done since its start. Compare two of them to see whether it has done anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Life {
    /// Bytes that came on its standard error.
    pub stderr_bytes: u64,
    /// Processor time of the child, of its group and of every process it started, as far as these
    /// are still there or were waited for. Zero where the system does not tell.
    pub processor: Duration,
}

/// One process, as the system describes it.
struct Process {
    parent: u32,
    group: u32,
    /// In ticks of the system's clock, with the time of those it has waited for.
    ticks: u64,
}

/// The processor time of a process, its group and its descendants. Reads a small file of every
/// process of the system.
pub(crate) fn processor_time(root: u32) -> Duration {
    let Ok(entries) = fs::read_dir("/proc") else { return Duration::ZERO };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let all: HashMap<u32, Process> = names
        .filter_map(|name| {
            let pid = name.parse().ok()?;
            Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
        })
        .collect();
    let ticks: u64 = all
        .iter()
        .filter(|(pid, process)| process.group == root || descends(&all, **pid, root))
        .map(|(_, process)| process.ticks)
        .sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

fn descends(all: &HashMap<u32, Process>, pid: u32, root: u32) -> bool {
    let mut at = pid;
    // Processes come and go while they are read, so the chain may be anything; it is not endless.
    for _ in 0..all.len() {
        if at == root {
            return true;
        }
        match all.get(&at) {
            Some(process) if process.parent != 0 => at = process.parent,
            _ => return false,
        }
    }
    false
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)). The name of the program may hold anything, so the
/// fields are counted from its end.
fn parse(stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // utime, stime, cutime and cstime are the fields 14 to 17; the state is the third.
    let ticks = (11..=14).filter_map(number).sum();
    let small = |at| u32::try_from(number(at)?).ok();
    Some(Process { parent: small(1)?, group: small(2)?, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_as_it_likes() {
        let stat = "7 (a) S 1 2 (b)) R 5 6 6 0 -1 0 0 0 0 0 10 20 3 4 20 0 1 0";
        let process = parse(stat).expect("it is well formed");
        assert_eq!((process.parent, process.group, process.ticks), (5, 6, 37));
        for broken in ["", "7", "7 (a)", "7 (a) R x y"] {
            assert!(parse(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn this_process_has_used_the_processor() {
        let own = std::process::id();
        let before = processor_time(own);
        let mut sum = 0u64;
        while processor_time(own) <= before {
            sum = (0..1_000_000u64).fold(sum, u64::wrapping_add);
        }
        assert_eq!(processor_time(u32::MAX), Duration::ZERO, "there is no such process");
        std::hint::black_box(sum);
    }
}
