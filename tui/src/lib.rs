//! Fanfare's dashboard: attaches to a live server and shows who is connected, and an operator acts from it.
//!
//! In: a terminal and an operator's credentials. Out: pictures, and what the operator confirms. The order of the files:
//!
//! `model` (plain state) <- `update` (events to changes and effects) ; `view` (a model to a picture) ; `keymap` one
//! table; `attach` talks to the server, `everywhere` has what it asks all nodes, `terminal` to the terminal, and `app`
//! runs them together.

mod app;
mod attach;
mod everywhere;
pub mod keymap;
pub mod model;
mod terminal;
pub mod text;
pub mod update;
pub mod view;

pub use app::{TuiError, once, run};
