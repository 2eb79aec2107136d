//! What Linux tells about a process, and the one limit of our own that is in the way.

use std::{fs, io};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process and all it starts open as many files as the system allows: a thousand
/// sessions need a few thousand pipes.
pub(crate) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Should it fail, the scenarios that need more say so themselves.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Resident memory of process `pid` in KiB.
pub(crate) fn rss_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .context("no VmRSS in the process's status")
}

/// Memory of a process in KiB, as its mappings add up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident, whoever shares it.
    pub(crate) rss: u64,
    /// Resident, what is shared divided among those who do.
    pub(crate) pss: u64,
    /// Resident and its own: heap and stacks.
    pub(crate) anonymous: u64,
}

/// Memory of process `pid`. Unlike [`rss_kib`] this is exact, and takes the kernel longer.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("process {pid} is gone, or the kernel has no smaps_rollup"))?;
    let kib = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.with_context(|| format!("no {name} of process {pid}"))
    };
    Ok(Memory { rss: kib("Rss")?, pss: kib("Pss")?, anonymous: kib("Anonymous")? })
}

/// Open file descriptors of process `pid`.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// One process of the machine.
#[derive(Debug)]
pub(crate) struct Process {
    /// `Z` is a zombie.
    pub(crate) state: char,
    /// User and system time in clock ticks, without that of its children.
    pub(crate) ticks: u64,
}

/// The process itself.
pub(crate) fn process(pid: u32) -> anyhow::Result<Process> {
    Ok(stat(pid).with_context(|| format!("process {pid} is gone"))?.1)
}

/// Children of `parent`, zombies included, and processes that carry `mark` on its command line.
pub(crate) fn tree(parent: u32, mark: &str) -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for pid in all()? {
        // A process that ends between listing and reading is no longer one of them.
        let Some((its_parent, process)) = stat(pid) else { continue };
        if its_parent == parent || (pid != parent && has_argument(pid, mark)) {
            processes.push(process);
        }
    }
    Ok(processes)
}

/// Whether `parent` has the one child that a broker keeps: what the processes around its children are
/// copies of.
pub(crate) fn has_launcher(parent: u32) -> io::Result<bool> {
    let is_launcher = |pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name == "mcp-launcher\n"
            && stat(pid)
                .is_some_and(|(its_parent, process)| its_parent == parent && process.state != 'Z')
    };
    Ok(all()?.into_iter().any(is_launcher))
}

/// Processes that carry `mark` on their command line.
pub(crate) fn marked(mark: &str) -> io::Result<usize> {
    Ok(all()?.into_iter().filter(|pid| has_argument(*pid, mark)).count())
}

/// Every process of the machine, zombies included.
pub(crate) fn all() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// The parent of process `pid`; none when there is no such process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    Some(stat(pid)?.0)
}

fn has_argument(pid: u32, mark: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.split(|&byte| byte == 0).any(|word| word == mark.as_bytes()))
}

/// Parent and process; none when there is no such process.
fn stat(pid: u32) -> Option<(u32, Process)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything, so count from its end.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // utime is field 14 and stime field 15 in proc(5); the parent is field 4.
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((parent, Process { state, ticks: user + system }))
}

/// Clock ticks that all processes of the machine have used so far.
///
/// Time in interrupts is left out, because no process is charged for it.
pub(crate) fn machine_ticks() -> anyhow::Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    // user, nice, system: the first three numbers after the name in proc(5).
    let ticks = line.split_whitespace().skip(1).take(3).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<_, _>>()?)
}

/// Clock ticks in microseconds.
pub(crate) fn ticks_to_us(ticks: u64) -> f64 {
    ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64
}
