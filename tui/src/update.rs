//! What an event does to the model, and what is to be done in the world because of it. Pure: no clock, no terminal, no
//! network.
//!
//! In: the model and an event. Out: the changed model, and effects. Invariant: nothing is changed on the server without
//! an operator's confirmation of what the server itself said that it would do, or a key that says so plainly.

mod event;
mod form;
mod lift;
mod selection;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEventKind};
use fanfare_protocol::admin::{Receipt, Update};

pub use self::event::{Effect, Event};
pub(crate) use self::form::{CONFIRM, request as form_request, told as form_told};
pub(crate) use self::selection::{selected_user, selected_who};
use crate::keymap::{self, Action};
use crate::model::{AtMost, Item, Link, Model, Place, Prompt, View};

/// Milliseconds that a notice stays.
const NOTICE_MS: u64 = 6_000;
/// Milliseconds between two looks at what is open.
const LOOK_MS: u64 = 1_000;

/// Takes an event.
pub fn update(model: &mut Model, event: Event) -> Vec<Effect> {
    match event {
        Event::Key(key) => return on_key(model, &key),
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::ScrollDown => return act_on(model, Action::Step(3)),
            MouseEventKind::ScrollUp => return act_on(model, Action::Step(-3)),
            MouseEventKind::Down(MouseButton::Left) if model.prompt.is_none() && !model.help => {
                return on_click(model, mouse.column, mouse.row);
            }
            _ => {}
        },
        Event::Paste(text) => return on_paste(model, &text),
        Event::Unconfirmed => {
            if matches!(model.prompt, Some(Prompt::Form(_) | Prompt::Lift(..))) {
                model.say(
                    "F2 counts where nothing else is typed just before or behind it: press it again",
                    true,
                );
            }
        }
        Event::Unstopped => model.say("no shell is there that could take the dashboard up again", true),
        Event::Resize(columns, rows) => model.size = (columns, rows),
        Event::Tick(now_ms) => return tick(model, now_ms),
        Event::Attached(status) => {
            model.link = Link::Live;
            model.status = Some(*status);
            model.attached_ms = model.now_ms;
            model.heard_ms = model.now_ms;
            model.behind.as_mut().unwrap_or(&mut model.picture).skipped = 0;
            model.audit.clear();
            model.history.forget_counters();
        }
        Event::Update(update) => take(model, *update, AtMost::default()),
        Event::Everywhere(update, at_most) => take(model, *update, at_most),
        Event::Lost { reason, retry_ms } => {
            let since_ms = if let Link::Lost { since_ms, .. } = model.link { since_ms } else { model.now_ms };
            model.link = Link::Lost { since_ms, reason, retry_ms };
        }
        Event::Bans(bans) => {
            model.bans = bans;
            model.refresh();
        }
        Event::Record(record) => {
            model.recorded(record);
            if model.place().view == View::Audit && !model.is_paused() {
                model.refresh();
            }
        }
        Event::Members(group, members) => {
            model.joined(group, members);
        }
        Event::Detail(detail) => {
            if let Some(detail) = &detail {
                model.trace.take(model.now_ms, detail);
            }
            model.detail = detail.map(|detail| *detail);
        }
        Event::Previewed(request, outcome) => {
            let now_ms = model.server_ms();
            if let Some(Prompt::Form(form)) = &mut model.prompt {
                form::previewed(form, request, outcome, now_ms);
            }
        }
        Event::Done(name, request, outcome) => {
            let text = match (&outcome, lift::lifted(&request)) {
                (Ok(Receipt { unchanged: true, audit, .. }), Some(_)) => {
                    format!("{name}: there was nothing to lift; record {audit}")
                }
                // It hits no connection, and what it allows is more than that.
                (Ok(receipt), Some(what)) => format!("{name}: {what}; record {}", receipt.audit),
                (Ok(receipt), None) => format!("{name}: {}", done(receipt)),
                (Err(error), _) => format!("{name}: {error}"),
            };
            model.say(text, outcome.is_err());
        }
    }
    Vec::new()
}

/// A receipt in few words.
pub(crate) fn done(receipt: &Receipt) -> String {
    let groups: Vec<String> = receipt
        .groups
        .iter()
        .map(|(group, count)| format!("{} {count}", crate::text::visible(group.as_str())))
        .collect();
    let groups = if groups.is_empty() { String::new() } else { format!(" ({})", groups.join(", ")) };
    let plural = if receipt.connections == 1 { "" } else { "s" };
    let record = if receipt.dry_run { String::new() } else { format!("; record {}", receipt.audit) };
    format!("{} connection{plural}{groups}{record}{}", receipt.connections, not_everywhere(receipt))
}

/// In a cluster: where it is not known to be in force.
fn not_everywhere(receipt: &Receipt) -> String {
    let open = receipt.nodes.iter().filter(|node| !node.standing.is_fenced()).map(|node| &node.name);
    let names: Vec<String> = open.chain(&receipt.silent).map(|name| crate::text::visible(name)).collect();
    if names.is_empty() { String::new() } else { format!("; NOT KNOWN on {}", names.join(", ")) }
}

/// Takes what there is now.
fn take(model: &mut Model, update: Update, at_most: AtMost) {
    model.heard_ms = model.now_ms;
    let paused = model.is_paused();
    let picture = model.behind.as_mut().unwrap_or(&mut model.picture);
    // While the picture stands still so do the charts; the next second makes up for it.
    if picture.take(update, at_most) && !paused {
        model.history.take(picture.at_ms, &picture.counters, picture.totals.connections);
        model.refresh();
    }
}

fn tick(model: &mut Model, now_ms: u64) -> Vec<Effect> {
    let before = model.now_ms;
    model.now_ms = now_ms;
    if model.notice.as_ref().is_some_and(|notice| now_ms.saturating_sub(notice.at_ms) > NOTICE_MS) {
        model.notice = None;
    }
    let look = now_ms / LOOK_MS != before / LOOK_MS && model.link == Link::Live && !model.is_paused();
    if look { look_at(&model.place().view) } else { Vec::new() }
}

/// What must be asked for a view that the feed has not all of.
fn look_at(view: &View) -> Vec<Effect> {
    match view {
        View::Connection(id) => vec![Effect::Look(*id)],
        View::Group(group) => vec![Effect::Members(group.clone())],
        _ => Vec::new(),
    }
}

/// A click on a tab goes there; on a row selects it; on the selected row opens it.
fn on_click(model: &mut Model, column: u16, row: u16) -> Vec<Effect> {
    if row == 1 {
        let mut end = 0;
        for (number, view) in View::NUMBERED.iter().enumerate() {
            // ` 1 Overview `
            end += view.title().len() + 4;
            if usize::from(column) < end {
                return act_on(model, Action::View(number));
            }
        }
        return Vec::new();
    }
    // Below the header, the tabs, perhaps the banner, and the list's own head; above its foot and the footer.
    let top = 3 + u16::from(model.has_banner());
    let rows = usize::from(model.size.1.saturating_sub(top + 2));
    let listing = &mut model.place_mut().listing;
    let Some(offset) = row.checked_sub(top).map(usize::from).filter(|offset| *offset < rows) else {
        return Vec::new();
    };
    let clicked = listing.first(rows) + offset;
    if clicked >= listing.items.len() {
        return Vec::new();
    }
    if clicked == listing.selected {
        return open(model);
    }
    listing.selected = clicked;
    Vec::new()
}

fn on_key(model: &mut Model, key: &KeyEvent) -> Vec<Effect> {
    // Escape and a key that come in one piece are Alt and that key to a program, and no key here wants Alt.
    if key.modifiers.contains(KeyModifiers::ALT) {
        let mut effects = on_key(model, &KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
        effects.extend(on_key(model, &KeyEvent::new(key.code, key.modifiers - KeyModifiers::ALT)));
        return effects;
    }
    if keymap::action(key) == Some(Action::Quit) && key.code == KeyCode::Char('c') {
        return vec![Effect::Quit];
    }
    match &mut model.prompt {
        Some(Prompt::Filter) => on_filter_key(model, key),
        Some(Prompt::Palette(_)) => on_palette_key(model, key),
        Some(Prompt::Form(_)) => form::on_key(model, key),
        Some(Prompt::Lift(..)) => lift::on_key(model, key),
        None if model.help => {
            model.help = false;
            Vec::new()
        }
        None => keymap::action(key).map(|action| act_on(model, action)).unwrap_or_default(),
    }
}

/// A text goes where texts are typed: its first line, without what is no text. Terminals send line ends as CR, which is
/// what the key Enter sends.
fn on_paste(model: &mut Model, text: &str) -> Vec<Effect> {
    let line = text.split(['\r', '\n']).next().unwrap_or_default();
    let text: String = line.chars().filter(|character| !character.is_control()).collect();
    match &mut model.prompt {
        Some(Prompt::Filter) => model.place_mut().listing.filter.push_str(&text),
        Some(Prompt::Palette(words)) => words.push_str(&text),
        Some(Prompt::Form(_)) => return form::paste(model, &text),
        Some(Prompt::Lift(..)) | None => {
            model.say("pasted text is no order: open a field for it first", true);
        }
    }
    model.refresh();
    Vec::new()
}

fn on_filter_key(model: &mut Model, key: &KeyEvent) -> Vec<Effect> {
    let filter = &mut model.place_mut().listing.filter;
    match key.code {
        KeyCode::Enter => model.prompt = None,
        KeyCode::Esc => {
            filter.clear();
            model.prompt = None;
        }
        KeyCode::Backspace => drop(filter.pop()),
        KeyCode::Char(character) => filter.push(character),
        _ => {}
    }
    model.refresh();
    Vec::new()
}

fn on_palette_key(model: &mut Model, key: &KeyEvent) -> Vec<Effect> {
    let Some(Prompt::Palette(words)) = &mut model.prompt else { return Vec::new() };
    let first = keymap::search(words).into_iter().next();
    match key.code {
        KeyCode::Esc => model.prompt = None,
        KeyCode::Backspace => drop(words.pop()),
        KeyCode::Tab => {
            if let Some(binding) = first {
                binding.help.clone_into(words);
            }
        }
        KeyCode::Enter => {
            model.prompt = None;
            return first.map(|binding| act_on(model, binding.action)).unwrap_or_default();
        }
        KeyCode::Char(character) => words.push(character),
        _ => {}
    }
    Vec::new()
}

fn act_on(model: &mut Model, action: Action) -> Vec<Effect> {
    // The header, the tabs, the list's own head and the footer.
    let page = isize::try_from(model.size.1.saturating_sub(6).max(1)).unwrap_or(1);
    match action {
        Action::Quit => return vec![Effect::Quit],
        Action::Help => model.help = !model.help,
        Action::Pause => {
            match model.behind.take() {
                Some(now) => model.picture = now,
                None => model.behind = Some(model.picture.clone()),
            }
            model.refresh();
        }
        Action::Scope if model.picture.nodes.is_empty() && !model.all_nodes => {
            model.say("this server is a whole hub, and no node of a cluster", true);
        }
        Action::Scope => {
            model.all_nodes = !model.all_nodes;
            return vec![Effect::Scope(model.all_nodes)];
        }
        Action::View(number) => {
            if let Some(view) = View::NUMBERED.get(number) {
                model.path = vec![Place::new(view.clone())];
                model.refresh();
            }
        }
        Action::NextView => {
            let at = View::NUMBERED
                .iter()
                .position(|view| Some(view) == model.path.first().map(|place| &place.view));
            return act_on(model, Action::View((at.unwrap_or(0) + 1) % View::NUMBERED.len()));
        }
        Action::Step(rows) => model.place_mut().listing.step(rows),
        Action::Page(pages) => model.place_mut().listing.step(pages * page),
        Action::End(direction) => model.place_mut().listing.step(direction * isize::MAX / 2),
        Action::Open => return open(model),
        Action::Back => back(model),
        Action::Filter if !model.place().listing.columns.is_empty() => model.prompt = Some(Prompt::Filter),
        Action::Filter => {}
        Action::Sort => {
            let listing = &mut model.place_mut().listing;
            listing.sort = (listing.sort + 1) % listing.columns.len().max(1);
            model.refresh();
        }
        Action::Reverse => {
            let listing = &mut model.place_mut().listing;
            listing.descending = !listing.descending;
            model.refresh();
        }
        Action::Copy => {
            if let Some(text) = selection::named(model) {
                model.say(format!("copied {}", crate::text::visible(&text)), false);
                return vec![Effect::Copy(text)];
            }
        }
        Action::Palette => model.prompt = Some(Prompt::Palette(String::new())),
        Action::Begin(_) | Action::Lift => {
            if let Err(why) = model.may_act() {
                model.say(why, true);
                return Vec::new();
            }
            return if let Action::Begin(act) = action {
                form::begin(model, act)
            } else {
                lift::begin(model)
            };
        }
    }
    Vec::new()
}

fn open(model: &mut Model) -> Vec<Effect> {
    let view = match model.place().listing.current() {
        Some(Item::Connection(id)) => View::Connection(*id),
        Some(Item::User(user)) => View::User(user.clone()),
        Some(Item::Group(group)) => View::Group(group.clone()),
        _ => return Vec::new(),
    };
    let effects = look_at(&view);
    model.detail = None;
    model.path.push(Place::new(view));
    model.refresh();
    effects
}

fn back(model: &mut Model) {
    let filter = &mut model.place_mut().listing.filter;
    if !filter.is_empty() {
        filter.clear();
    } else if model.path.len() > 1 {
        model.path.pop();
    }
    model.refresh();
}

#[cfg(test)]
pub(crate) mod tests;
