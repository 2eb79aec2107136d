//! Where the launcher takes over from the program that it was executed as.

use std::{
    fs,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use super::{own_process::exit, serve};

/// The name by which the program knows that it is to be the launcher. It is the whole first argument:
/// nothing else is called like that.
pub(crate) const NAME: &str = "mcp-child-launcher";

/// Runs before `main`, in each program that this crate is part of.
#[expect(unsafe_code, reason = "there is no other way to come before another program's main")]
// SAFETY: the linker collects pointers to functions here, and the C library calls them with one thread
// running. The function uses nothing that `main` would have to set up first.
#[unsafe(link_section = ".init_array")]
#[used]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    // The arguments of the function are not the same everywhere, the file is.
    let Ok(line) = fs::read("/proc/self/cmdline") else { return };
    let Some(rest) = line.strip_prefix(NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b"\0"))
    else {
        return;
    };
    let spawner = rest.strip_suffix(b"\0").and_then(|word| std::str::from_utf8(word).ok());
    let code = match spawner.and_then(own) {
        Some(spawner) => serve::run(spawner),
        None => 64,
    };
    exit(code)
}

/// Whether this program, executed again, comes to [`before_main`]: not when this crate was loaded into
/// it later, as a part of a library.
pub(crate) fn is_in_this_program() -> bool {
    let own = std::hint::black_box(BEFORE_MAIN) as usize;
    let (Ok(maps), Ok(program)) =
        (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe"))
    else {
        return false;
    };
    let program = program.to_string_lossy();
    maps.lines().any(|line| {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let bounds = range.and_then(|(start, end)| {
            Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
        });
        bounds.is_some_and(|bounds| bounds.contains(&own)) && line.ends_with(program.as_ref())
    })
}

fn own(text: &str) -> Option<OwnedFd> {
    let number: RawFd = text.parse().ok().filter(|number| *number > 2)?;
    #[expect(unsafe_code, reason = "the descriptor crossed an exec as a number")]
    // SAFETY: the spawner left it open for this process alone, and nothing else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
