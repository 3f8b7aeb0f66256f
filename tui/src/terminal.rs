//! The terminal: taken, and given back as it was, however the dashboard ends.
//!
//! In: nothing. Out: a [`Screen`] to draw on. Invariant: raw mode, the alternate screen, the mouse and the cursor are
//! restored when the screen is dropped, and before a panic is told.

use std::io::{self, Stdout, Write};

use crossterm::cursor::Show;
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::execute;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use rustix::process::{Pid, Signal, getpgid, getpgrp, getppid, getsid};

/// A terminal that is ours.
pub(crate) struct Screen {
    pub(crate) terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(crate) fn take() -> io::Result<Self> {
        // From here on something is to be given back; the rest is undone by the drop, too.
        let taken = set_up().and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        let terminal = taken.inspect_err(|_| give_back())?;
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            tell(panic);
        }));
        Ok(Self { terminal })
    }

    /// Gives the terminal back, stops the job as Ctrl-Z stops any, and takes the terminal again when it goes on. Gives
    /// whether it did: where nobody controls jobs nobody would take it up again, and the system does not stop such a
    /// job at Ctrl-Z either.
    pub(crate) fn suspend(&mut self) -> io::Result<bool> {
        if !is_controlled() {
            return Ok(false);
        }
        give_back();
        // With whatever wraps it: the shell waits for the whole job.
        rustix::process::kill_current_process_group(Signal::STOP)?;
        set_up()?;
        // One that knows nothing of what is on the screen draws all of it.
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(true)
    }

    /// Puts a text into the clipboard of whoever sits at the terminal, be it far away (OSC 52).
    pub(crate) fn copy(text: &str) -> io::Result<()> {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        write!(io::stdout(), "\x1b]52;c;{text}\x07")?;
        io::stdout().flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether there is somebody in this session, outside of this job, whose child somebody in this job is (POSIX: the
/// process group is not orphaned): a shell that controls jobs.
fn is_controlled() -> bool {
    let (Ok(session), job) = (getsid(None), getpgrp()) else { return false };
    let mut above = getppid();
    while let Some(process) = above {
        if getsid(Some(process)) != Ok(session) {
            return false;
        }
        if getpgid(Some(process)) != Ok(job) {
            return true;
        }
        above = parent(process);
    }
    false
}

/// The parent of a process that is not our own parent (proc(5); elsewhere than on Linux it is not known).
fn parent(process: Pid) -> Option<Pid> {
    let facts = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    // Behind the name, which may have anything in it: the state, and then the parent.
    let number = facts.rsplit(')').next()?.split_ascii_whitespace().nth(1)?;
    Pid::from_raw(number.parse().ok()?)
}

fn set_up() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture, EnableBracketedPaste)
}

fn give_back() {
    // There is nothing to do about a terminal that takes nothing any more.
    let _ = execute!(io::stdout(), DisableBracketedPaste, DisableMouseCapture, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
