//! The help: every key of the table, in two columns, and what the one mark means.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::theme::Theme;
use crate::keymap::BINDINGS;
use crate::model::Model;

pub(super) fn draw(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let may = model.may_act();
    let rows = BINDINGS.len().div_ceil(2);
    let height = u16::try_from(rows + 6).unwrap_or(area.height).min(area.height);
    let width = area.width.min(96);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let column = usize::from(width.saturating_sub(2)) / 2;
    let entry = |at: usize| {
        let Some(binding) = BINDINGS.get(at) else { return vec![Span::raw("")] };
        let style = if binding.acts && may.is_err() { theme.quiet() } else { ratatui::style::Style::new() };
        let help = crate::text::cut(binding.help, column.saturating_sub(10));
        let room =
            " ".repeat(column.saturating_sub(9 + unicode_width::UnicodeWidthStr::width(help.as_str())));
        vec![
            Span::styled(format!(" {:<8}", binding.shown), theme.accent()),
            Span::styled(format!("{help}{room}"), style),
        ]
    };
    let mut lines: Vec<Line<'_>> =
        (0..rows).map(|at| Line::from([entry(at), entry(at + rows)].concat())).collect();
    lines.push(Line::raw(""));
    let room = usize::from(width.saturating_sub(2));
    lines.push(Line::styled(
        crate::text::cut(
            " SLOW is who does not keep up: !net, the network is slow; !app, the client does not read",
            room,
        ),
        theme.quiet(),
    ));
    lines.push(Line::styled(
        match may {
            Ok(()) => " any key closes this".to_owned(),
            Err(_) => " any key closes this; what acts is not for you now:".to_owned(),
        },
        theme.quiet(),
    ));
    lines
        .extend(may.err().map(|why| Line::styled(crate::text::cut(&format!(" {why}"), room), theme.quiet())));
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" Keys ").border_style(theme.accent())),
        place,
    );
}
