//! What operators do: every act from its request to its receipt.
//!
//! `actions` carries acts out, and `connections` those on connections; `request` reads what is asked for, `people`
//! finds whom it is about, and `enforcement` has a ban do to them what it says. `journal` writes a mark before each and
//! a record behind it, into the `store`; `audit` is the chain over the records, which `records` reads. `impaired` says
//! that acts cannot be taken now, and `mending` tries the store again; `noting` writes down when keys of the HTTP API
//! were used, `lasting` puts users into groups for good, and out of them, `ending` when their time is over. The store
//! is a file (`file_store`); a server without a state directory has a `memory_store`. Where several servers decide
//! together, `decisions` says where what is decided goes, and `standing` puts in force what comes back.

mod actions;
mod audit;
mod connections;
mod decisions;
mod ending;
mod enforcement;
mod error;
mod file_store;
mod impaired;
mod journal;
mod lasting;
mod memory_store;
mod mending;
mod noting;
mod people;
mod records;
mod request;
mod standing;
mod store;
#[cfg(test)]
mod tests;

pub use actions::{Moderation, Operator};
pub(crate) use audit::Head;
pub(crate) use decisions::{Carried, Decided, Decision, Decisions, Fence};
pub(crate) use ending::end_lasting;
pub use error::ModerationError;
pub(crate) use file_store::FileStore;
pub(crate) use memory_store::MemoryStore;
pub(crate) use mending::mend_store;
pub(crate) use noting::note_keys;
#[cfg(any(test, fuzzing))]
pub(crate) use request::described as described_for_fuzzing;
pub use store::StoreError;
pub(crate) use store::{Standing, Store};
