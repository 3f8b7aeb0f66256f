//! Runs the dashboard: events in, pictures out.
//!
//! In: credentials and a terminal. Out: pictures, until the operator quits or the process is told to end. Invariant:
//! what comes in faster than it can be drawn is taken into the model all the same, and drawn once.

use std::future::{pending, poll_fn};
use std::io;
use std::task::Poll;
use std::time::Duration;

use crossterm::event::{Event as Input, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use fanfare_client::{OperatorClient, OperatorConfig, OperatorError};
use fanfare_protocol::admin::{self, BanRow, Listing, Page, Update};
use futures_core::Stream;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::attach::Attachment;
use crate::model::{Model, Place, View};
use crate::terminal::Screen;
use crate::update::{CONFIRM, Effect, Event, update};
use crate::view;

/// The time between two pictures at least: faster is not seen.
const FRAME: Duration = Duration::from_millis(33);
/// How long nothing else may come before and behind a key that confirms: a person's fingers take longer, and a text
/// that is pasted into a terminal which does not mark that comes faster, also in several pieces.
const ALONE: Duration = Duration::from_millis(100);
/// How often time is told.
const TICK: Duration = Duration::from_millis(250);

/// Columns and rows in which there is room to say that more is needed.
const SMALLEST: (u16, u16) = (20, 2);

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// The terminal does not do as it is told.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
    /// So small that not even a sentence could be shown.
    #[error(
        "the terminal has {columns} columns and {rows} rows, and the dashboard needs {} and {}",
        view::LEAST.0,
        view::LEAST.1
    )]
    Size {
        /// Its columns.
        columns: u16,
        /// Its rows.
        rows: u16,
    },
    /// The server cannot be asked.
    #[error(transparent)]
    Operator(#[from] OperatorError),
}

/// Runs the dashboard until the operator quits.
///
/// # Errors
/// When the terminal cannot be used, and when the server does not take the certificate. A server that is not there is
/// shown, and tried again.
pub async fn run(config: OperatorConfig, colours: bool) -> Result<(), TuiError> {
    // Whatever ends it, the terminal is given back.
    let mut ends = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()] {
        ends.push(signal(kind)?);
    }
    let mut stops = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
    let began = Instant::now();
    let (events, mut told) = mpsc::channel(64);
    let (wishes, wanted) = mpsc::channel(64);
    let attachment = Attachment { config, events, wishes: wanted, began, all_nodes: false };
    let attached = AbortOnDropHandle::new(tokio::spawn(attachment.run()));
    let mut screen = Screen::take()?;
    let size = screen.terminal.size()?;
    if size.width < SMALLEST.0 || size.height < SMALLEST.1 {
        return Err(TuiError::Size { columns: size.width, rows: size.height });
    }
    let mut model = Model::new((size.width, size.height), colours);
    let mut inputs = EventStream::new();
    let mut ticks = interval(TICK);
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed = true;
    let mut last = Instant::now();
    // A key that confirms, and when it has been alone for long enough.
    let mut held: Option<(Instant, KeyEvent)> = None;
    loop {
        let waits = held;
        let event = tokio::select! {
            biased;
            () = poll_fn(|context| {
                let told = ends.iter_mut().any(|end| end.poll_recv(context).is_ready());
                if told { Poll::Ready(()) } else { Poll::Pending }
            }) => return Ok(()),
            _ = stops.recv() => {
                changed = true;
                held = None;
                if screen.suspend()? { None } else { Some(Event::Unstopped) }
            }
            input = poll_fn(|context| Pin::new(&mut inputs).poll_next(context)) => match input {
                None => return Ok(()),
                Some(input) => {
                    let input = input?;
                    let quiet = last.elapsed() >= ALONE;
                    let now = Instant::now();
                    let typed = is_typed(&input);
                    if typed {
                        last = now;
                    }
                    match input {
                        input if is_stop(&input) => {
                            changed = true;
                            held = None;
                            if screen.suspend()? { None } else { Some(Event::Unstopped) }
                        }
                        // Whichever comes second was not alone, and neither was the first.
                        Input::Key(key) if key.code == CONFIRM && typed => match held.take() {
                            None if quiet => {
                                held = Some((now + ALONE, key));
                                None
                            }
                            _ => Some(Event::Unconfirmed),
                        },
                        input => {
                            if is_company(&input) && held.take().is_some() {
                                // It is said, and asks for nothing.
                                let _ = update(&mut model, Event::Unconfirmed);
                            }
                            taken(input)
                        }
                    }
                }
            },
            key = alone(waits) => {
                held = None;
                Some(Event::Key(key))
            }
            _ = frames.tick(), if changed => {
                screen.terminal.draw(|frame| view::draw(&model, frame))?;
                changed = false;
                None
            }
            event = told.recv() => match event {
                Some(event) => Some(event),
                // It ends with us, where it is of no use to go on, or in a panic that has been told.
                None => return Err(match attached.await {
                    Ok(Some(refused)) => refused.into(),
                    _ => io::Error::other("what follows the server has ended").into(),
                }),
            },
            _ = ticks.tick() => {
                Some(Event::Tick(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)))
            }
        };
        let Some(event) = event else { continue };
        changed = true;
        for effect in update(&mut model, event) {
            match effect {
                Effect::Quit => return Ok(()),
                Effect::Copy(text) => Screen::copy(&text)?,
                wish => {
                    // Full only where nothing at all is answered. Looks are asked again soon; of an action it must be
                    // known.
                    if let Err(unsent) = wishes.try_send(wish)
                        && let Effect::Act(name, request) = unsent.into_inner()
                    {
                        let why = "nothing was done: too much is waiting for the server".to_owned();
                        update(&mut model, Event::Done(name, request, Err(why)));
                    }
                }
            }
        }
    }
}

/// A key that confirms, once it has been alone for long enough.
async fn alone(held: Option<(Instant, KeyEvent)>) -> KeyEvent {
    match held {
        Some((until, key)) => {
            sleep_until(until).await;
            key
        }
        None => pending().await,
    }
}

/// Whether it is something that is typed or pasted. The mouse moves while one types, too.
fn is_typed(input: &Input) -> bool {
    match input {
        Input::Key(key) => key.kind != KeyEventKind::Release,
        Input::Paste(_) => true,
        _ => false,
    }
}

/// Whether a key that confirms and comes just before it was not alone: everything but what the terminal says of itself.
fn is_company(input: &Input) -> bool {
    match input {
        Input::Key(key) => key.kind != KeyEventKind::Release,
        Input::Resize(..) => false,
        _ => true,
    }
}

/// What an input means.
fn taken(input: Input) -> Option<Event> {
    match input {
        Input::Key(key) if key.kind != KeyEventKind::Release => Some(Event::Key(key)),
        Input::Paste(text) => Some(Event::Paste(text)),
        Input::Mouse(mouse) => Some(Event::Mouse(mouse)),
        Input::Resize(columns, rows) => Some(Event::Resize(columns, rows)),
        _ => None,
    }
}

/// Whether it is Ctrl-Z, which the terminal does not turn into a signal for us.
fn is_stop(input: &Input) -> bool {
    matches!(input, Input::Key(key) if key.code == KeyCode::Char('z') && key.modifiers == KeyModifiers::CONTROL)
}

/// One readable snapshot, as text.
///
/// # Errors
/// When the server cannot be asked.
pub async fn once(config: OperatorConfig, width: u16) -> Result<String, TuiError> {
    let (client, status) = OperatorClient::connect(config).await?;
    let after = status.audit.sequence.saturating_sub(20);
    let mut model = Model::new((width, 24), false);
    update(&mut model, Event::Attached(Box::new(status)));
    let mut updates = client.follow::<Update>(&admin::Subscription::Watch { interval_ms: 250 }).await?;
    while let Some(line) = updates.next().await? {
        let more = line.more;
        update(&mut model, Event::Update(Box::new(line)));
        if !more {
            break;
        }
    }
    let bans: Listing<BanRow> = client.ask(&admin::Question::Bans(Page::default())).await?;
    update(&mut model, Event::Bans(bans));
    let mut records =
        client.follow::<Value>(&admin::Subscription::Audit { after, limit: 0, follow: false }).await?;
    while let Some(record) = records.next().await? {
        update(&mut model, Event::Record(record));
    }
    client.close().await;
    let mut text = String::new();
    for view in View::NUMBERED {
        model.path = vec![Place::new(view.clone())];
        model.refresh();
        // As high as its list, within reason; and without what only a terminal needs.
        let rows = u16::try_from(model.place().listing.items.len().clamp(8, 50)).unwrap_or(50) + 8;
        let mut terminal =
            Terminal::new(TestBackend::new(width.max(view::LEAST.0), rows)).map_err(io::Error::other)?;
        terminal.draw(|frame| view::draw(&model, frame)).map_err(io::Error::other)?;
        let picture = terminal.backend().to_string();
        // The backend notes behind a line what wide characters cover.
        let lines: Vec<&str> = picture
            .lines()
            .map(|line| line.split("\" Hidden by").next().unwrap_or_default().trim_matches('"').trim_end())
            .collect();
        // The header once, then each view under its name.
        if text.is_empty() {
            text += &format!("{}\n", lines.first().copied().unwrap_or_default());
        }
        text += &format!("\n[{}]\n", view.title());
        let body = lines.get(2..lines.len().saturating_sub(1)).unwrap_or_default();
        let mut empty = false;
        for line in body {
            // Empty rows are the terminal's, not the snapshot's.
            if !(line.is_empty() && empty) {
                text += &format!("{line}\n");
            }
            empty = line.is_empty();
        }
    }
    Ok(text)
}
