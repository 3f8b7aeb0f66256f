//! Extensions: what may stand behind the last field of any frame.
//!
//! In: the rest of a frame. Out: the content of the one that is known for that frame, if it is there; or that one must
//! be understood and is not. An extension is a number, a length and so many bytes. Its number says by being odd that
//! the frame means something else without it. Invariants: the numbers ascend, so that none stands twice and a list has
//! one encoding; what is no such list is malformed, whatever the numbers in front of it say.

use bytes::Bytes;

use super::DecodeError;
use super::reader::Reader;
use super::stream::PREFIX_BYTES;
use super::writer::Writer;

impl Reader<'_> {
    /// Reads what stands behind the last field, which ends the frame.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        self.end_with(None).map(drop)
    }

    /// The same. Gives the content of the extension with this number.
    pub(super) fn end_with(&mut self, known: Option<u64>) -> Result<Option<Bytes>, DecodeError> {
        let (mut last, mut critical, mut content) = (None, None, None);
        while !self.is_at_end() {
            let number = self.u64()?;
            if last.is_some_and(|last| number <= last) {
                return Err(DecodeError::Malformed(
                    "its extensions do not stand in the order of their numbers",
                ));
            }
            last = Some(number);
            let bytes = self.shared()?;
            if known == Some(number) {
                content = Some(bytes);
            } else if number % 2 == 1 {
                critical = critical.or(last);
            }
        }
        critical.map_or(Ok(content), |number| Err(self.extension_not_known(number)))
    }
}

/// The frame, prefix included, with these extensions behind what it has. Their numbers must ascend.
///
/// This is how tests speak as a later version does.
#[must_use]
pub fn with_extensions(frame: &[u8], extensions: &[(u64, &[u8])]) -> Bytes {
    let mut writer = Writer::part(frame.len());
    writer.raw(frame);
    for (number, content) in extensions {
        writer.integer(*number);
        writer.blob(content);
    }
    debug_assert!(frame.len() >= PREFIX_BYTES, "a frame has its length before it");
    writer.into_frame(0)
}
