//! How much memory the process uses, as its allocator counts.
//!
//! In: nothing. Out: bytes that were asked for and not given back. What the system calls resident has what the
//! allocator keeps for later in it, too, which says nothing about what a peer costs.

/// Bytes in use; 0 where the allocator does not count. Takes some microseconds.
#[cfg(target_os = "linux")]
pub(crate) fn live_bytes() -> u64 {
    use tikv_jemalloc_ctl::{epoch, stats};
    // The figures are those of the last time that the epoch was advanced.
    let counted = epoch::advance().and_then(|_| stats::allocated::read());
    counted.map_or(0, |bytes| bytes as u64)
}

/// The system's allocator does not count.
#[cfg(not(target_os = "linux"))]
pub(crate) fn live_bytes() -> u64 {
    0
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_and_what_is_given_back_is_not() {
        let before = live_bytes();
        let held = vec![1_u8; 32 << 20];
        let with = live_bytes();
        assert!(with >= before + (24 << 20), "{before} bytes became {with} with {} more", held.len());
        drop(held);
        assert!(live_bytes() < with - (24 << 20), "what was given back is still counted");
    }
}
