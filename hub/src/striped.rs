//! Numbers that many threads add to: each thread adds in a place of its own, and whoever reads adds up.
//!
//! In: additions. Out: sums. A number in one place moves from one processor's cache to the other's with each addition,
//! which costs more than the addition by far. Invariant: two threads share a place only when there are more of them
//! than places.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// As many as a large machine has processors that work for one server; a power of two.
const PLACES: usize = 16;

/// A line of the processor's cache and the one that is fetched with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place<T>(T);

/// One `T` for each thread that adds.
#[derive(Debug)]
pub struct Striped<T>(Box<[Place<T>]>);

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self((0..PLACES).map(|_| Place::default()).collect())
    }
}

impl<T> Striped<T> {
    /// This thread's.
    pub fn own(&self) -> Option<&T> {
        self.0.get(number() % PLACES).map(|place| &place.0)
    }

    /// Everyone's.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|place| &place.0)
    }
}

/// Threads are numbered in the order in which they ask.
pub fn number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let next = THREADS.fetch_add(1, Ordering::Relaxed);
        OWN.set(Some(next));
        next
    })
}

/// A count that only grows. Relaxed, because no other memory is read on the strength of it.
#[derive(Debug, Default)]
pub struct Counter(Striped<AtomicU64>);

impl Counter {
    /// Adds so many.
    pub fn add(&self, count: u64) {
        if let Some(own) = self.0.own() {
            own.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The sum of what every thread added.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.all().map(|place| place.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;

    #[test]
    fn what_more_threads_than_places_add_is_all_there() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * PLACES {
                scope.spawn(|| (0..1_000).for_each(|_| counter.add(3)));
            }
        });
        assert_eq!(counter.value(), 2 * PLACES as u64 * 3_000);
    }

    #[test]
    fn what_many_threads_add_one_after_the_other_is_all_there() {
        let counter = Counter::default();
        for _ in 0..20 * PLACES {
            std::thread::scope(|scope| {
                scope.spawn(|| counter.add(3));
            });
        }
        assert_eq!(counter.value(), 20 * PLACES as u64 * 3);
    }

    #[test]
    fn threads_are_numbered_in_the_order_in_which_they_ask_and_keep_their_numbers() {
        let ask = || std::thread::spawn(|| [number(), number()]).join().unwrap();
        let (first, second) = (ask(), ask());
        assert!(
            first[0] == first[1] && second[0] == second[1] && first[0] < second[0],
            "{first:?} {second:?}"
        );
    }
}
