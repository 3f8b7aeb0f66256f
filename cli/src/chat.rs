//! `fanfare chat`: a group, line by line.
//!
//! In: lines that a person types, or a program writes. Out: what the others say, above the line that is being typed.
//! The terminal is read on a thread of its own, because reading it cannot be interrupted.

use std::io::{BufRead, IsTerminal, Write};
use std::pin::pin;

use fanfare_client::{Client, Counted, Event, Outgoing};
use fanfare_protocol::{GroupName, Target};
use rustix::termios::{self, OptionalActions, Termios};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

use crate::arguments::ChatArguments;
use crate::connection::leave;
use crate::failure::Failure;
use crate::output;
use crate::stopping::Stopping;

const HELP: &str = "* /who counts the members, /to USER TEXT speaks to one user, /quit leaves";

/// Lines that may wait while one is being sent.
const LINES: usize = 16;

pub(crate) async fn run(arguments: ChatArguments) -> Result<(), Failure> {
    let client = arguments.connection.connect(arguments.connection.config()?).await?;
    let mut stopping = Stopping::new()?;
    let (lines, mut typed) = mpsc::channel(LINES);
    // Kept to the very end: until then the editor may still change the terminal's mode.
    let mut opened = Screen::open(lines);
    let outcome = match &mut opened {
        Ok(screen) => tokio::select! {
            outcome = talk(&client, &arguments.group, &mut typed, screen) => outcome,
            () = stopping.signal() => Ok(()),
        },
        Err(_) => Ok(()),
    };
    let left = leave(&client, &mut stopping).await;
    opened.map(drop).and(outcome).and(left)
}

async fn talk(
    client: &Client,
    group: &GroupName,
    typed: &mut mpsc::Receiver<String>,
    screen: &mut Screen,
) -> Result<(), Failure> {
    // First: what the group says may come before the answer that we are in it.
    screen.show(HELP)?;
    meanwhile(client, screen, client.join(group.clone())).await??;
    while let Some(line) = meanwhile(client, screen, typed.recv()).await? {
        match meanwhile(client, screen, speak(client, group, line.trim())).await? {
            Ok(Some(answer)) => screen.show(&answer)?,
            Ok(None) => {}
            Err(Refused::Quit) => break,
            Err(Refused::Said(reason)) => screen.show(&format!("* {}", output::harmless(&reason)))?,
        }
    }
    Ok(())
}

/// Shows what comes while `work` goes on: the client must never stop taking events, or an answer waits behind them.
async fn meanwhile<T>(
    client: &Client,
    screen: &mut Screen,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            event = client.next() => match event {
                Some(Event::Closed { reason, .. }) => return Err(Failure::failed(reason.to_string())),
                Some(event) => screen.show(&output::line(&event))?,
                None => return Err(Failure::failed("the connection is closed")),
            },
        }
    }
}

enum Refused {
    Quit,
    Said(String),
}

/// Does what a line says. Gives what is to be shown for it.
async fn speak(client: &Client, group: &GroupName, line: &str) -> Result<Option<String>, Refused> {
    let said = |error: fanfare_client::RequestError| Refused::Said(error.to_string());
    let Some(command) = line.strip_prefix('/') else {
        if line.is_empty() {
            return Ok(None);
        }
        // Not to this connection, which has just seen it typed, but to the user's others.
        let text = line.to_owned();
        let outgoing = Outgoing::new("ReceiveMessage", text).to_group(group.clone()).others();
        return client.send(outgoing).await.map(|_| None).map_err(said);
    };
    match command.split_once(' ').map_or((command, ""), |(name, rest)| (name, rest.trim())) {
        _ if is_quit(line) => Err(Refused::Quit),
        ("who", _) => {
            let members = client.count(Target::Group(group.clone())).await.map_err(said)?;
            let many = if members == 1 {
                "1 connection is".to_owned()
            } else {
                format!("{members} connections are")
            };
            Ok(Some(format!("* {many} in {}", output::visible(group.as_str()))))
        }
        ("to", rest) => {
            let Some((user, text)) = rest.split_once(' ') else {
                return Err(Refused::Said("write /to USER TEXT".to_owned()));
            };
            let outgoing = Outgoing::new("ReceiveMessage", text.trim().to_owned()).to_user(user);
            let reached = client.send_counted(outgoing).await.map_err(said)?;
            Ok(unreached(user, &reached))
        }
        _ => Ok(Some(HELP.to_owned())),
    }
}

/// What is said where a message has reached nobody, as far as that is known.
fn unreached(user: &str, Counted { count, silent, .. }: &Counted) -> Option<String> {
    let user = output::visible(user);
    match count {
        0 if silent.is_empty() => Some(format!("* {user} is not here")),
        0 => Some(format!("* whether {user} is here is not known: no answer from {}", output::nodes(silent))),
        _ => None,
    }
}

fn is_quit(line: &str) -> bool {
    matches!(line.trim(), "/quit" | "/q")
}

/// Where lines are shown: above the line editor's prompt, or on plain stdout.
enum Screen {
    Editor { printer: Box<dyn ExternalPrinter + Send>, _mode: TerminalMode },
    Plain,
}

impl Screen {
    /// Starts reading: with a line editor on a terminal, plainly otherwise. `lines` closes when there is no more to
    /// read.
    fn open(lines: mpsc::Sender<String>) -> Result<Self, Failure> {
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            let failed = |error: ReadlineError| Failure::failed(format!("cannot use the terminal: {error}"));
            let mut editor = DefaultEditor::new().map_err(failed)?;
            // A terminal that knows no cursor movements (TERM=dumb) has none.
            if let Ok(printer) = editor.create_external_printer() {
                let _mode = TerminalMode::keep()?;
                std::thread::spawn(move || edit(editor, &lines));
                return Ok(Self::Editor { printer: Box::new(printer), _mode });
            }
        }
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self::Plain)
    }

    fn show(&mut self, line: &str) -> Result<(), Failure> {
        if let Self::Editor { printer, .. } = self
            && printer.print(format!("{line}\n")).is_ok()
        {
            return Ok(());
        }
        // No editor, or it has just ended.
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }
}

/// Reads lines with the editor until no more is to be typed.
fn edit(mut editor: DefaultEditor, lines: &mpsc::Sender<String>) {
    // Ctrl-C, Ctrl-D, or no terminal any more: all of them mean the end.
    while let Ok(line) = editor.readline("> ") {
        // Fails only in that the line is not remembered for the arrow keys.
        let _ = editor.add_history_entry(line.as_str());
        // After the last line no prompt, and no raw mode that nobody would end.
        let last = is_quit(&line);
        if lines.blocking_send(line).is_err() || last {
            return;
        }
    }
}

/// The terminal's mode as it was found, put back when this is dropped: the editor's thread may be in the middle of a
/// line when the chat ends, and a shell in raw mode shows nothing of what is typed.
struct TerminalMode(Termios);

impl TerminalMode {
    fn keep() -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("cannot use the terminal: {error}"));
        termios::tcgetattr(std::io::stdin()).map(Self).map_err(failed)
    }
}

impl Drop for TerminalMode {
    fn drop(&mut self) {
        let stdin = std::io::stdin();
        let is_raw = |now: &Termios| now.local_modes != self.0.local_modes;
        if termios::tcgetattr(&stdin).as_ref().is_ok_and(is_raw) {
            // If the terminal is gone there is nothing to put right.
            let _ = termios::tcsetattr(&stdin, OptionalActions::Now, &self.0);
            // The editor had also asked the terminal to mark what is pasted.
            let _ = writeln!(std::io::stdout(), "\x1b[?2004l");
        }
    }
}
