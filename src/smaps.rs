//! What the kernel tells of a process's memory in `/proc/PID/smaps`.

use std::fs;

/// How many bytes of this process's memory from `start` to `end` lie on huge pages; `None` where the kernel does not
/// tell.
pub fn own_huge_bytes_between(start: usize, end: usize) -> Option<usize> {
    let smaps = fs::read_to_string("/proc/self/smaps").ok()?;
    Some(huge_bytes_between(&smaps, start, end))
}

/// Sums `AnonHugePages` of the mappings that touch `start..end`.
fn huge_bytes_between(smaps: &str, start: usize, end: usize) -> usize {
    let mut inside = false;
    let mut bytes = 0;
    for line in smaps.lines() {
        if let Some((from, to)) = mapping_range(line) {
            inside = from < end && start < to;
        } else if inside && let Some(rest) = line.strip_prefix("AnonHugePages:") {
            let kib = rest.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            bytes += 1024 * kib;
        }
    }
    bytes.min(end - start)
}

/// The addresses in the first line of a mapping: `7f0000000000-7f0000200000 rw-p ...`.
fn mapping_range(line: &str) -> Option<(usize, usize)> {
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(from)?, address(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_read_from_smaps() {
        let smaps = "7f0000000000-7f0000400000 rw-p 00000000 00:00 0\n\
                     Size:               4096 kB\n\
                     AnonHugePages:      4096 kB\n\
                     7f0000400000-7f0000800000 rw-p 00000000 00:00 0\n\
                     AnonHugePages:      2048 kB\n";
        let base = 0x7f00_0000_0000;
        let check = |from: usize, to: usize, kib: usize| {
            let bytes = huge_bytes_between(smaps, base + from, base + to);
            assert_eq!(bytes, kib << 10);
        };
        check(0, 4 << 20, 4096);
        check(4 << 20, 8 << 20, 2048);
        check(0, 8 << 20, 6144);
        check(0, 1 << 20, 1024);
        check(8 << 20, 9 << 20, 0);
    }
}
