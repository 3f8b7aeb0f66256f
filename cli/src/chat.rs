//! `fanfare chat`: a group, line by line.
//!
//! In: lines that a person types, or a program writes. Out: what the others say, above the line that is being typed. The
//! terminal is read on a thread of its own, because reading it cannot be interrupted.

use std::io::{BufRead, IsTerminal, Write};

use fanfare_client::{Client, Event, Outgoing};
use fanfare_protocol::{GroupName, Target};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

use crate::arguments::ChatArguments;
use crate::failure::Failure;
use crate::output;

const HELP: &str = "* /who counts the members, /to USER TEXT speaks to one user, /quit leaves";

/// Lines that may wait while one is being sent.
const LINES: usize = 16;

pub(crate) async fn run(arguments: ChatArguments) -> Result<(), Failure> {
    let client = arguments.connection.connect(arguments.connection.config()).await?;
    let group = arguments.group;
    let (lines, mut typed) = mpsc::channel(LINES);
    let mut screen = open(lines)?;
    client.join(group.clone()).await?;
    screen.show(HELP)?;
    let outcome = loop {
        tokio::select! {
            line = typed.recv() => match line {
                Some(line) => match speak(&client, &group, line.trim()).await {
                    Ok(Some(answer)) => screen.show(&answer)?,
                    Ok(None) => {}
                    Err(Refused::Quit) => break Ok(()),
                    Err(Refused::Said(reason)) => screen.show(&format!("* {reason}"))?,
                },
                None => break Ok(()),
            },
            event = client.next() => match event {
                Some(Event::Closed { reason, .. }) => break Err(Failure::failed(reason.to_string())),
                Some(event) => screen.show(&output::line(&event))?,
                None => break Ok(()),
            },
        }
    };
    let closed = client.close().await;
    outcome.and(closed.map_err(|error| Failure::failed(error.to_string())))
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
        ("quit" | "q", _) => Err(Refused::Quit),
        ("who", _) => {
            let members = client.count(Target::Group(group.clone())).await.map_err(said)?;
            let many = if members == 1 { "1 connection is".to_owned() } else { format!("{members} connections are") };
            Ok(Some(format!("* {many} in {}", output::visible(group.as_str()))))
        }
        ("to", rest) => {
            let Some((user, text)) = rest.split_once(' ') else {
                return Err(Refused::Said("write /to USER TEXT".to_owned()));
            };
            let outgoing = Outgoing::new("ReceiveMessage", text.trim().to_owned()).to_user(user);
            let reached = client.send_acked(outgoing).await.map_err(said)?;
            Ok((reached == 0).then(|| format!("* {} is not here", output::visible(user))))
        }
        _ => Ok(Some(HELP.to_owned())),
    }
}

/// Where lines are shown: above the line editor's prompt, or on plain stdout.
enum Screen {
    Editor(Box<dyn ExternalPrinter + Send>),
    Plain,
}

impl Screen {
    fn show(&mut self, line: &str) -> Result<(), Failure> {
        match self {
            Self::Editor(printer) => printer
                .print(format!("{line}\n"))
                .map_err(|error| Failure::failed(format!("cannot write to the terminal: {error}"))),
            Self::Plain => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{line}")?;
                Ok(out.flush()?)
            }
        }
    }
}

/// Starts reading: with a line editor on a terminal, plainly otherwise. `lines` closes when there is no more to read.
fn open(lines: mpsc::Sender<String>) -> Result<Screen, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        return Ok(Screen::Plain);
    }
    let failed = |error: ReadlineError| Failure::failed(format!("cannot use the terminal: {error}"));
    let mut editor = DefaultEditor::new().map_err(failed)?;
    let printer = editor.create_external_printer().map_err(failed)?;
    std::thread::spawn(move || {
        loop {
            match editor.readline("> ") {
                Ok(line) => {
                    // Fails only in that the line is not remembered for the arrow keys.
                    let _ = editor.add_history_entry(line.as_str());
                    if lines.blocking_send(line).is_err() {
                        return;
                    }
                }
                // Ctrl-C, Ctrl-D, or no terminal any more: all of them mean that nothing more will be typed.
                Err(_) => return,
            }
        }
    });
    Ok(Screen::Editor(Box::new(printer)))
}
