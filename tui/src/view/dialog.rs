//! The dialog of a revocation.
//!
//! ```text
//! ┌ Revoke alice ──────────────────────────────┐
//! │ group   room-*_                            │
//! │ for     2h        (empty: until restored)  │
//! │ reason                                     │
//! │ removes 3 connections (room-1 2, room-2 1) │
//! │ Enter revoke   Tab next field   Esc not    │
//! └────────────────────────────────────────────┘
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::theme::Theme;
use crate::model::{Model, RevokeForm};
use crate::text::{cut, visible};
use crate::update::{done, revoke_request, revoke_told};

pub(super) fn draw(model: &Model, form: &RevokeForm, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = area.width.min(72);
    let height = 9;
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + area.height.saturating_sub(height) / 2,
        width,
        height: height.min(area.height),
    };
    let room = usize::from(width).saturating_sub(14);
    let mut lines = vec![Line::raw("")];
    for (at, (name, value)) in RevokeForm::FIELDS.iter().zip(&form.fields).enumerate() {
        let here = at == form.focus;
        // The end of what is typed is what one sees.
        let value = visible(value);
        let skipped = value.chars().count().saturating_sub(room);
        let value: String = value.chars().skip(skipped).collect();
        let hint = match (here, *name, value.is_empty()) {
            (false, "for", true) => "(until it is restored)",
            (false, "reason", true) => "(the user is told)",
            _ => "",
        };
        let mark = if here { "›" } else { " " };
        let cursor = if here { "_" } else { "" };
        lines.push(Line::from(vec![
            Span::styled(format!(" {mark} {name:8}"), if here { theme.accent() } else { theme.quiet() }),
            Span::raw(format!("{value}{cursor}")),
            Span::styled(hint, theme.quiet()),
        ]));
    }
    let now = model.picture.at_ms;
    let (words, style) = match (revoke_request(form, now, true), revoke_told(form, now)) {
        (Err(problem), _) => (problem, theme.quiet()),
        (Ok(_), None) => ("asking what it would do ...".to_owned(), theme.quiet()),
        (Ok(_), Some(Ok(receipt))) => (format!("this removes {}", done(receipt)), theme.warning()),
        (Ok(_), Some(Err(error))) => (format!("! {}", visible(error)), theme.warning()),
    };
    lines.push(Line::raw(""));
    lines.push(Line::styled(format!("   {}", cut(&words, usize::from(width).saturating_sub(6))), style));
    lines.push(Line::styled("   Enter revoke   Tab next field   Esc do nothing", theme.quiet()));
    let title =
        format!(" Revoke {} ", cut(&visible(form.user.as_str()), usize::from(width).saturating_sub(14)));
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(title).border_style(theme.accent())),
        place,
    );
}
