//! What the server's process uses, as the system tells.
//!
//! In: `/proc/self`. Out: numbers. Where there is no such thing, they are 0.

/// Memory and processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    pub(crate) cpu_ms: u64,
}

/// What is used now. Takes some microseconds.
pub(crate) fn usage() -> Usage {
    Usage { resident_bytes: resident_bytes().unwrap_or(0), cpu_ms: cpu_ms().unwrap_or(0) }
}

/// The line `VmRSS:   12345 kB` (proc(5)).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// The fields utime and stime, counted from behind the name, which may have anything in it (proc(5)). Also of threads
/// that have ended. A tick is 10 ms: what user space is told is in hundredths of a second, whatever the kernel counts
/// in.
fn cpu_ms() -> Option<u64> {
    const MS_PER_TICK: u64 = 10;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(ticks * MS_PER_TICK)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_those_of_this_process() {
        let before = usage();
        assert!(before.resident_bytes > 1 << 20, "{before:?}");
        let begun = std::time::Instant::now();
        let mut sum: u64 = 0;
        while usage().cpu_ms < before.cpu_ms + 20 {
            sum = std::hint::black_box(sum.wrapping_add(1));
            assert!(begun.elapsed().as_secs() < 30, "working takes no time");
        }
    }
}
