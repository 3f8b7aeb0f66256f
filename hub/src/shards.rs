//! A map that is cut into parts with a lock each, so that work on one name seldom waits for work on another.
//!
//! In: keys and small values (an `Arc`). Out: clones of the values. No guard leaves this file, and of the
//! caller nothing runs under a lock but what [`Shards::for_each`] visits and [`Shards::find_or_replace`] makes.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::sync::RwLock;

/// Enough that two of a few dozen threads seldom meet, few enough that going through all of them costs nothing.
const SHARDS: usize = 64;

type Shard<K, V> = RwLock<HashTable<(K, V)>>;

/// A map from `K` to `V`, locked in parts.
///
/// Keys are hashed with the standard library's keyed SipHash: clients choose the names, and must not be able to choose
/// names that collide.
pub(crate) struct Shards<K, V> {
    hasher: RandomState,
    shards: Box<[Shard<K, V>]>,
}

impl<K: Eq + Hash, V: Clone> Shards<K, V> {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect();
        Self { hasher: RandomState::new(), shards }
    }

    pub(crate) fn find<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash).read();
        shard.find(hash, |(known, _)| known.borrow() == key).map(|(_, value)| value.clone())
    }

    /// The value that is there, if `keep` says so; otherwise a new one, which takes its place.
    pub(crate) fn find_or_replace(&self, key: &K, keep: impl FnOnce(&V) -> bool, new: impl FnOnce() -> V) -> V
    where
        K: Clone,
    {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).write();
        let entry = shard.entry(hash, |(known, _)| known == key, |(known, _)| self.hasher.hash_one(known));
        match entry {
            Entry::Occupied(mut occupied) => {
                let (_, value) = occupied.get_mut();
                if !keep(value) {
                    *value = new();
                }
                value.clone()
            }
            Entry::Vacant(vacant) => {
                let value = new();
                vacant.insert((key.clone(), value.clone()));
                value
            }
        }
    }

    /// Takes the value out, if `condition` says so. Tells whether it did.
    pub(crate) fn remove_if<Q>(&self, key: &Q, condition: impl FnOnce(&V) -> bool) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).write();
        let Ok(entry) = shard.find_entry(hash, |(known, _)| known.borrow() == key) else { return false };
        if !condition(&entry.get().1) {
            return false;
        }
        entry.remove();
        if let Some(places) = fewer_places(shard.len(), shard.capacity()) {
            shard.shrink_to(places, |(known, _)| self.hasher.hash_one(known));
        }
        true
    }

    /// How many there are. Each part is counted at its own moment.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Calls `visit` for every value, one part at a time, with that part's read lock held: `visit` must not come back
    /// to this map.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&V)) {
        for shard in &self.shards {
            for (_, value) in shard.read().iter() {
                visit(value);
            }
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder of a division by the number of shards")]
    fn shard(&self, hash: u64) -> &Shard<K, V> {
        // The table inside uses the low bits and the top seven; these are others.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

/// How many places a table of so many is to have from now on, where it is to have fewer: a crowd that has gone leaves
/// no memory behind (promise 3), and a crowd that comes and goes does not make the table shrink and grow at every turn.
pub(crate) fn fewer_places(used: usize, places: usize) -> Option<usize> {
    (places > 64 && used * 8 < places).then_some(used * 2)
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_mostly_empty_has_fewer_places_and_does_not_change_at_every_turn() {
        assert_eq!((fewer_places(0, 64), fewer_places(0, 65)), (None, Some(0)), "a small one stays");
        assert_eq!(
            (fewer_places(100, 800), fewer_places(100, 801)),
            (None, Some(200)),
            "an eighth is enough"
        );
        // Then it has to double, or to lose three quarters, until it changes again.
        assert_eq!((fewer_places(200, 200), fewer_places(25, 200)), (None, None));
    }

    /// Else two that do different things would wait for each other.
    #[test]
    fn keys_are_spread_over_all_parts() {
        let map: Shards<u32, ()> = Shards::new();
        for number in 0..10_000 {
            map.find_or_replace(&number, |_| true, || ());
        }
        assert!(map.shards.iter().all(|shard| !shard.read().is_empty()));
    }

    #[test]
    fn what_is_put_in_is_found_counted_and_taken_out() {
        let map: Shards<String, u32> = Shards::new();
        for number in 0..1_000u32 {
            assert_eq!(map.find_or_replace(&number.to_string(), |_| true, || number), number);
        }
        assert_eq!(map.len(), 1_000);
        assert_eq!(map.find("77"), Some(77));
        assert_eq!(map.find_or_replace(&"77".to_owned(), |_| true, || 0), 77);
        assert_eq!(map.find_or_replace(&"77".to_owned(), |_| false, || 78), 78);
        assert!(!map.remove_if("77", |value| *value == 77));
        assert!(map.remove_if("77", |value| *value == 78));
        assert_eq!(map.find("77"), None);
        let mut sum = 0;
        map.for_each(|value| sum += u64::from(*value));
        assert_eq!(sum, (0..1_000).sum::<u64>() - 77);
    }

    #[test]
    fn an_emptied_map_gives_its_memory_back() {
        let map: Shards<u32, u32> = Shards::new();
        for number in 0..100_000 {
            map.find_or_replace(&number, |_| true, || number);
        }
        for number in 0..100_000 {
            assert!(map.remove_if(&number, |_| true));
        }
        let capacity: usize = map.shards.iter().map(|shard| shard.read().capacity()).sum();
        assert!(capacity <= SHARDS * 64, "{capacity} places are still allocated");
    }
}
