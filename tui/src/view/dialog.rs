//! The dialog of an action.
//!
//! ```text
//! ┌ Revoke alice ──────────────────────────────┐
//! │ › group   room-*_                          │
//! │   for     2h                               │
//! │   reason  (the user is told)               │
//! │                                            │
//! │   this removes 3 connections (room-1 3)    │
//! │   F2 does it   Tab next   Esc cancels      │
//! └────────────────────────────────────────────┘
//! ```

use fanfare_protocol::admin::Who;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::theme::Theme;
use crate::model::{Act, Form, Model};
use crate::text::{cut, harmless, visible};
use crate::update::{done, form_request, form_told};

pub(super) fn draw(model: &Model, form: &Form, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = area.width.min(72);
    let fields = u16::try_from(form.fields.len()).unwrap_or(u16::MAX);
    let height = (fields + 6).min(area.height);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let room = usize::from(width).saturating_sub(14);
    let mut lines = vec![Line::raw("")];
    for (at, field) in form.fields.iter().enumerate() {
        let here = at == form.focus;
        // The end of what is typed is what one sees.
        // Whom it is about is a name; what is said to people is a text.
        let value = if field.name == "group" { visible(&field.value) } else { harmless(&field.value) };
        let skipped = value.chars().count().saturating_sub(room);
        let value: String = value.chars().skip(skipped).collect();
        let hint = if !here && field.value.is_empty() { field.hint } else { "" };
        let (mark, cursor) = if here { ("›", "_") } else { (" ", "") };
        lines.push(Line::from(vec![
            Span::styled(
                format!(" {mark} {:8}", field.name),
                if here { theme.accent() } else { theme.quiet() },
            ),
            Span::raw(format!("{value}{cursor}")),
            Span::styled(hint, theme.quiet()),
        ]));
    }
    let (words, bad) = consequence(model, form);
    let style = if bad { theme.quiet() } else { theme.warning() };
    lines.push(Line::raw(""));
    lines.push(Line::styled(format!("   {}", cut(&words, usize::from(width).saturating_sub(6))), style));
    lines.push(Line::styled("   F2 does it   Tab next field   Esc cancels", theme.quiet()));
    let title = format!(" {} ", cut(&form.title(), usize::from(width).saturating_sub(6)));
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(title).border_style(theme.accent());
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

/// Whether a ban is to be lifted.
pub(super) fn draw_lift(what: &str, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (area.width.min(72), 6.min(area.height));
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let room = usize::from(width).saturating_sub(6);
    let lines = vec![
        Line::raw(""),
        Line::styled(format!("   {}", cut(what, room)), theme.warning()),
        Line::raw(""),
        Line::styled("   F2 does it   Esc cancels", theme.quiet()),
    ];
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(" Lift ").border_style(theme.accent());
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

/// What it would do, and whether it cannot be done yet.
fn consequence(model: &Model, form: &Form) -> (String, bool) {
    let now = model.server_ms();
    if let Err(problem) = form_request(form, now, true) {
        return (problem, true);
    }
    if form.act.can_be_previewed() {
        let verb = if form.act == Act::Revoke { "removes" } else { "closes" };
        return match form_told(form, now) {
            None => ("asking what it would do ...".to_owned(), true),
            Some(Ok(receipt)) => (format!("this {verb} {}", done(receipt)), false),
            Some(Err(error)) => (format!("! {}", harmless(error)), true),
        };
    }
    let count = match &form.who {
        Who::Connection(_) => 1,
        Who::User(user) => {
            model.picture.connections.values().filter(|tracked| tracked.row.user == *user).count() as u64
        }
        Who::Group(group) => model.picture.groups.get(group).map_or(0, |busy| busy.row.members),
        Who::All => model.picture.totals.connections,
    };
    let whom = if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") };
    let words = match form.act {
        Act::SignOut => format!("this refuses all tokens so far, and closes {whom} at most"),
        Act::Add => format!("this makes {whom} members, without a grant"),
        Act::Remove => format!("this ends the membership of {whom} at most; they may join again"),
        Act::Send => format!("this goes to {whom}"),
        Act::Close | Act::Revoke | Act::Ban => format!("this closes {whom}; they may come back"),
    };
    (words, false)
}
