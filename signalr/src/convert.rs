//! Values from one encoding to the other.
//!
//! In: a value that was checked. Out: the same in the other encoding, or what it has that the other has not.
//! Invariants: one pass, and no tree; the recursion is as deep as the levels that were allowed; what comes out is at
//! most seven times as long as what went in, and was not reserved for before it was there. The crate's front page has
//! the rules.

mod to_json;
mod to_message_pack;

use crate::{ConversionError, Encoding};

/// A value of the other encoding, in this one.
pub(crate) fn convert(value: &[u8], to: Encoding, levels: usize) -> Result<Vec<u8>, ConversionError> {
    match to {
        Encoding::Json => to_json::convert(value, levels),
        Encoding::MessagePack => to_message_pack::convert(value, levels),
    }
}

#[cfg(test)]
mod tests;
