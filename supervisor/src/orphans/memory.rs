//! Giving back what a forked process inherits of its parent's memory.
//!
//! The copy shares each page with the parent until the parent writes to it, and keeps the old page
//! then: for as long as the parent lives, up to all the memory that it had at the fork, and secrets
//! that the parent has wiped meanwhile. So the copy drops its heap. Like everything in that process,
//! this allocates nothing and takes no lock.

use std::ops::Range;

/// What is kept of a line: enough for the fields and the start of the name.
const LINE: usize = 160;

/// Awaited on either side of an address in use: more than this process puts on its stack, and more than
/// the thread-local data of a program. The kernel merges neighbouring mappings, so that the heap and
/// the data of the main thread may be one. A whole number of pages, whatever their size.
const WINDOW: usize = 256 * 1024;

/// Drops the anonymous memory of this process, but for the stack and the thread's own data. To be
/// called between `fork` and `_exit` only: everything on the heap reads as zeros afterwards.
#[cfg(target_os = "linux")]
pub(super) fn release() {
    use rustix::{
        fs::{Mode, OFlags, open},
        io::{Errno, read},
    };

    let on_stack = 0_u8;
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: it only tells where this thread's `errno` is, which lies in the thread's own data.
    let in_thread = unsafe { libc::__errno_location() };
    let keep = [(&raw const on_stack).addr(), in_thread.addr()];

    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(maps) = open(c"/proc/self/maps", flags, Mode::empty()) else { return };
    let mut chunk = [0; 1024];
    let (mut line, mut length, mut after_file) = ([0; LINE], 0, 0);
    loop {
        let chunk = match read(&maps, &mut chunk) {
            Ok(0) => return,
            Ok(length) => chunk.get(..length).unwrap_or_default(),
            Err(Errno::INTR) => continue,
            Err(_) => return,
        };
        for &byte in chunk {
            if byte != b'\n' {
                if let Some(place) = line.get_mut(length) {
                    *place = byte;
                    length += 1;
                }
                continue;
            }
            let mapping = line.get(..length).and_then(Mapping::read);
            length = 0;
            let Some(mapping) = mapping else { continue };
            if mapping.is_disposable(after_file) {
                mapping.without(keep).iter().for_each(drop_pages);
            } else if mapping.is_of_file {
                after_file = mapping.range.end;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn release() {}

#[cfg(target_os = "linux")]
fn drop_pages(range: &Range<usize>) {
    let start = std::ptr::without_provenance_mut(range.start);
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: the pages are private to this process, which has read its last value from the heap:
    // what runs on works with its stack, with statics and with system calls.
    unsafe {
        libc::madvise(start, range.len(), libc::MADV_DONTNEED);
    }
}

/// One line of `/proc/PID/maps` (proc_pid_maps(5)).
#[derive(Debug, PartialEq)]
struct Mapping {
    range: Range<usize>,
    is_of_file: bool,
    /// Private, readable and writable.
    is_data: bool,
    /// The heap, an arena, the stack of another thread.
    is_anonymous: bool,
}

impl Mapping {
    fn read(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let mut addresses = fields.next()?.split(|byte| *byte == b'-');
        let range = number(addresses.next()?, 16)?..number(addresses.next()?, 16)?;
        let is_data = fields.next()? == b"rw-p";
        let (_offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?);
        let is_of_file = number(inode, 10)? != 0;
        let name = fields.next().unwrap_or_default().trim_ascii();
        let is_named_heap = name == b"[heap]" || name.starts_with(b"[anon");
        let is_anonymous = !is_of_file && (name.is_empty() || is_named_heap);
        Some(Self { range, is_of_file, is_data, is_anonymous })
    }

    /// Whether it is the memory of values. `after_file` is where the last mapping of a file ended:
    /// what begins there is the zero-initialized data of a program or a library.
    fn is_disposable(&self, after_file: usize) -> bool {
        self.is_data && self.is_anonymous && self.range.start != after_file
    }

    /// What is below, between and above the windows around two addresses. Parts may be empty.
    fn without(&self, mut addresses: [usize; 2]) -> [Range<usize>; 3] {
        addresses.sort_unstable();
        let Range { start, end } = self.range;
        let windows = addresses.map(|address| {
            let page = address & !(WINDOW - 1);
            let window = page.saturating_sub(WINDOW)..page.saturating_add(2 * WINDOW);
            window.start.clamp(start, end)..window.end.clamp(start, end)
        });
        let [low, high] = windows;
        [start..low.start, low.end..high.start.max(low.end), high.end..end]
    }
}

/// Reads a number without the means of `std`, whose errors are no part of an async-signal-safe way.
fn number(digits: &[u8], radix: u8) -> Option<usize> {
    let mut number = 0_usize;
    for digit in digits {
        let digit = char::from(*digit).to_digit(radix.into())?;
        number = number.checked_mul(radix.into())?.checked_add(digit as usize)?;
    }
    (!digits.is_empty()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(line: &str) -> Mapping {
        Mapping::read(line.as_bytes()).expect("a line of the file")
    }

    #[test]
    fn heaps_are_given_back_and_files_and_named_regions_are_not() {
        for heap in [
            "7f0000000000-7f0000004000 rw-p 00000000 00:00 0 ",
            "7f0000000000-7f0000004000 rw-p 00000000 00:00 0                          [heap]",
            "7f0000000000-7f0000004000 rw-p 00000000 00:00 0            [anon:mimalloc]",
        ] {
            assert!(mapping(heap).is_disposable(0), "{heap}");
            assert!(!mapping(heap).is_disposable(0x7f00_0000_0000), "zero-initialized: {heap}");
        }
        for other in [
            "7f0000000000-7f0000004000 rw-p 00000000 fe:00 17   /usr/lib/libc.so.6",
            "7f0000000000-7f0000004000 r--p 00000000 00:00 0 ",
            "7f0000000000-7f0000004000 rw-s 00000000 00:00 0 ",
            "7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]",
        ] {
            assert!(!mapping(other).is_disposable(0), "{other}");
        }
    }

    #[test]
    fn what_is_in_use_is_kept_whatever_it_was_merged_with() {
        let merged = mapping("7f0000000000-7f0010000000 rw-p 00000000 00:00 0 ");
        let is_kept =
            |address, parts: &[Range<usize>; 3]| !parts.iter().any(|part| part.contains(&address));
        for (stack, data) in [(0, 0), (0x7f00_0800_0123, 0), (0x7f00_0800_0123, 0x7f00_0900_0000)] {
            let parts = merged.without([stack, data]);
            let dropped: usize = parts.iter().map(ExactSizeIterator::len).sum();
            assert!(dropped >= merged.range.len() - 6 * WINDOW, "{parts:x?}");
            for address in [stack, data].into_iter().filter(|address| *address > 0) {
                for near in [address - WINDOW, address, address + WINDOW] {
                    assert!(is_kept(near, &parts), "{near:x} of {parts:x?}");
                }
            }
            assert!(parts.iter().all(|part| part.start % WINDOW == 0), "{parts:x?}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_names_no_memory() {
        for line in ["", "nonsense", "1-2", "x-y rw-p 0 0 0", "1-fffffffffffffffff rw-p 0 0:0 0"] {
            assert_eq!(Mapping::read(line.as_bytes()), None, "{line}");
        }
    }
}
