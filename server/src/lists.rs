//! Lists over several nodes: what is asked of each, what it gives, and how that becomes one list.
//!
//! `question` is what is asked, `place` where a row is, `part` what a node gives at a time, `merge` makes one list of
//! the parts. Nothing here knows what carries them, or where rows come from.

mod merge;
mod part;
mod place;
mod question;

pub(crate) use merge::{Merge, Merged, Step};
pub(crate) use part::{Entry, Line, Part, pack};
pub(crate) use place::{Key, Place};
pub(crate) use question::{ListQuestion, Of};
