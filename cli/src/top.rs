//! `fanfare top`: the dashboard, or one snapshot of it.
//!
//! In: a command line. Out: the dashboard on the terminal, or text. `NO_COLOR` is heeded.

use std::ffi::OsStr;
use std::io::{IsTerminal, Write};

use fanfare_tui::TuiError;

use crate::arguments::TopArguments;
use crate::failure::Failure;
use crate::output::may_colour;

/// How wide a snapshot is: as wide as it takes to show every column.
const WIDTH: u16 = 160;

pub(crate) async fn run(arguments: TopArguments) -> Result<(), Failure> {
    let TopArguments { once, access } = arguments;
    let config = access.config()?;
    let failed = |error| match error {
        TuiError::Operator(error) => Failure::from(error),
        error @ (TuiError::Terminal(_) | TuiError::Size { .. }) => Failure::failed(error.to_string()),
    };
    if once {
        let text = fanfare_tui::once(config, WIDTH).await.map_err(failed)?;
        std::io::stdout().lock().write_all(text.as_bytes())?;
        return Ok(());
    }
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        return Err(Failure::usage(
            "the dashboard needs a terminal; --once prints a snapshot to anything else",
        ));
    }
    refuse_unable()
        .map_err(|why| Failure::usage(format!("{why}; --once prints a snapshot to any terminal")))?;
    fanfare_tui::run(config, may_colour()).await.map_err(failed)
}

/// Refuses a terminal on which no dashboard can be shown.
///
/// # Errors
/// Why, in words.
pub(crate) fn refuse_unable() -> Result<(), String> {
    match unable(std::env::var_os("TERM").as_deref()) {
        Some(what) => Err(format!("the dashboard places text on the screen, and {what}")),
        None => Ok(()),
    }
}

/// What a terminal says of itself by which the dashboard can't be shown on it.
fn unable(term: Option<&OsStr>) -> Option<&'static str> {
    match term.map(OsStr::as_encoded_bytes) {
        None | Some(b"") => Some("TERM does not say what terminal this is"),
        Some(b"dumb" | b"unknown") => Some("this terminal cannot do that (TERM)"),
        Some(_) => None,
    }
}
