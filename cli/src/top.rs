//! `fanfare top`: the dashboard, or one snapshot of it.
//!
//! In: a command line. Out: the dashboard on the terminal, or text. `NO_COLOR` is heeded.

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
        error @ TuiError::Terminal(_) => Failure::failed(error.to_string()),
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
    fanfare_tui::run(config, may_colour()).await.map_err(failed)
}
