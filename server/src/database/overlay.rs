//! A database file that is looked at without being touched: redb writes to a file even to open it.
//!
//! In: a file. Out: what redb works on: the file's bytes, with what redb writes kept in memory. Invariant: the file,
//! its bytes and its times stay as they are (test `looking_at_a_store_changes_nothing_also_after_a_power_cut`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

const BLOCK: u64 = 4_096;
const BLOCK_BYTES: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Overlay {
    file: FileBackend,
    /// Whether others are to be kept out, which takes a file that may be written to.
    locks: bool,
    above: Mutex<Above>,
}

#[derive(Debug)]
struct Above {
    len: u64,
    /// So much of the file still shows.
    below: u64,
    /// Blocks that were written, by their number.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Overlay {
    pub(crate) fn new(file: File, locks: bool) -> Result<Self, DatabaseError> {
        let len = file.metadata().map_err(redb::StorageError::Io)?.len();
        let above = Above { len, below: len, blocks: BTreeMap::new() };
        Ok(Self { file: FileBackend::new(file)?, locks, above: Mutex::new(above) })
    }

    fn locking(&self) -> Result<&FileBackend, BackendError> {
        if self.locks { Ok(&self.file) } else { Err(BackendError::Unsupported) }
    }

    /// A block as it is now: zeros where nothing was ever written.
    fn block(&self, above: &Above, number: u64) -> io::Result<Box<[u8]>> {
        if let Some(written) = above.blocks.get(&number) {
            return Ok(written.clone());
        }
        let mut block = vec![0; BLOCK_BYTES].into_boxed_slice();
        let shows = above.below.saturating_sub(number * BLOCK).min(BLOCK);
        if let Some(shown) = usize::try_from(shows).ok().and_then(|shows| block.get_mut(..shows))
            && !shown.is_empty()
        {
            self.file.read(number * BLOCK, shown)?;
        }
        Ok(block)
    }
}

/// The parts of blocks that a range of bytes is in: a block's number, and from where to where in it.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let end = offset + length as u64;
    (offset / BLOCK..end.div_ceil(BLOCK)).map(move |number| {
        let start = number * BLOCK;
        let within = |position: u64| usize::try_from(position - start).unwrap_or(BLOCK_BYTES);
        (number, within(offset.max(start))..within(end.min(start + BLOCK)))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.above.lock().len)
    }

    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let above = self.above.lock();
        if offset + out.len() as u64 > above.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within) in parts(offset, out.len()) {
            let (now, later) = out.split_at_mut(within.len());
            now.copy_from_slice(self.block(&above, number)?.get(within).unwrap_or_default());
            out = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut above = self.above.lock();
        if len < above.len {
            // What is cut off is zero when the storage grows again.
            let last = len / BLOCK;
            let mut kept = self.block(&above, last)?;
            if let Some(cut) = kept.get_mut(usize::try_from(len % BLOCK).unwrap_or(BLOCK_BYTES)..) {
                cut.fill(0);
            }
            above.below = above.below.min(last * BLOCK);
            above.blocks.split_off(&last);
            above.blocks.insert(last, kept);
        }
        above.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut above = self.above.lock();
        if offset + data.len() as u64 > above.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within) in parts(offset, data.len()) {
            let mut block = self.block(&above, number)?;
            let (now, later) = data.split_at(within.len());
            if let Some(place) = block.get_mut(within) {
                place.copy_from_slice(now);
            }
            above.blocks.insert(number, block);
            data = later;
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locking()?.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locking()?.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking()?.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking()?.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking()?.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locking()?.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(usize, Vec<u8>),
        Resize(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..20_000, prop::collection::vec(any::<u8>(), 0..9_000))
                .prop_map(|(at, bytes)| Step::Write(at, bytes)),
            (0usize..30_000).prop_map(Step::Resize),
        ]
    }

    /// As redb asks for them, through two handles of one file.
    #[test]
    fn others_are_kept_out_through_the_file_where_that_is_wanted() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let overlay = |locks| {
            let file = File::options().read(true).write(true).open(place.path()).unwrap();
            Overlay::new(file, locks).unwrap()
        };
        let range = (Bound::Included(10_u64), Bound::Excluded(20_u64));
        let (first, second) = (overlay(true), overlay(true));
        let free = |shared: bool| {
            let taken = if shared {
                second.try_lock_shared_range(range.0, range.1).unwrap()
            } else {
                second.try_lock_range(range.0, range.1).unwrap()
            };
            if taken {
                second.unlock_range(range.0, range.1).unwrap();
            }
            taken
        };
        for exclusive in [true, false] {
            for waits in [true, false] {
                assert!(free(false) && !first.query_lock_range(range.0, range.1).unwrap());
                match (exclusive, waits) {
                    (true, true) => first.lock_range(range.0, range.1).unwrap(),
                    (true, false) => assert!(first.try_lock_range(range.0, range.1).unwrap()),
                    (false, true) => first.lock_shared_range(range.0, range.1).unwrap(),
                    (false, false) => assert!(first.try_lock_shared_range(range.0, range.1).unwrap()),
                }
                assert_eq!((free(false), free(true)), (false, !exclusive), "{exclusive} {waits}");
                assert!(second.query_lock_range(range.0, range.1).unwrap());
                first.unlock_range(range.0, range.1).unwrap();
            }
        }
        assert!(first.try_lock_range(range.0, range.1).unwrap() && !free(true));
        first.close().unwrap();
        assert!(free(false), "who closes it lets go");

        let looks = overlay(false);
        let unsupported = |answer: &dyn std::fmt::Debug| format!("{answer:?}").contains("Unsupported");
        assert!(unsupported(&looks.try_lock_range(range.0, range.1)));
        assert!(unsupported(&looks.try_lock_shared_range(range.0, range.1)));
        assert!(unsupported(&looks.lock_range(range.0, range.1)));
        assert!(unsupported(&looks.lock_shared_range(range.0, range.1)));
        assert!(unsupported(&looks.unlock_range(range.0, range.1)));
        assert!(unsupported(&looks.query_lock_range(range.0, range.1)));
    }

    #[test]
    fn it_can_be_read_and_written_to_its_very_end_and_no_further() {
        let place = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(place.path(), [7; 10]).unwrap();
        let overlay = Overlay::new(File::open(place.path()).unwrap(), false).unwrap();
        let mut read = [0; 4];
        assert!(overlay.write(7, &[1; 4]).is_err() && overlay.read(7, &mut read).is_err());
        overlay.write(6, &[1; 4]).unwrap();
        overlay.read(6, &mut read).unwrap();
        assert_eq!((read, overlay.len().unwrap()), ([1; 4], 10));
        assert_eq!(std::fs::read(place.path()).unwrap(), [7; 10]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_as_a_file_would_be_and_the_file_stays(
            before in prop::collection::vec(any::<u8>(), 0..20_000),
            steps in prop::collection::vec(step(), 0..12),
        ) {
            let place = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(place.path(), &before).unwrap();
            let overlay = Overlay::new(File::open(place.path()).unwrap(), false).unwrap();
            let mut model = before.clone();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        let end = at + bytes.len();
                        prop_assert_eq!(overlay.write(at as u64, &bytes).is_ok(), end <= model.len());
                        if end <= model.len() {
                            model[at..end].copy_from_slice(&bytes);
                        }
                    }
                    Step::Resize(len) => {
                        overlay.set_len(len as u64).unwrap();
                        model.resize(len, 0);
                    }
                }
                let mut whole = vec![1; model.len()];
                overlay.read(0, &mut whole).unwrap();
                prop_assert!(whole == model);
            }
            prop_assert!(std::fs::read(place.path()).unwrap() == before);
        }
    }
}
