//! The picture of a model. Pure: the same model draws the same picture.
//!
//! ```text
//! header   fanfare 127.0.0.1:4433  up 3m          oncall, operator   live
//! tabs     1 Overview  2 Connections  3 Users ...  › user alice
//! banner   only where the server is lost, or the picture stands still
//! body     overview.rs | list.rs | detail.rs
//! footer   keys, or what was done last, or the filter
//!          over all of it: dialog.rs, help.rs
//! ```
//!
//! Invariants: rows that are not seen are not built; colour is never the only sign; names are shown with their control
//! characters escaped.

mod chart;
mod detail;
mod dialog;
mod help;
mod list;
mod overview;
mod theme;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use unicode_width::UnicodeWidthStr;

use self::theme::Theme;
use crate::keymap;
use crate::model::{Item, Link, Model, Prompt, View};
use crate::text::{self, many, span, visible};
use crate::update::{selected_user, selected_who};

/// The least that the dashboard needs.
pub const LEAST: (u16, u16) = (60, 12);

/// Draws the dashboard.
pub fn draw(model: &Model, frame: &mut Frame<'_>) {
    let theme = Theme { colours: model.colours };
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let words = format!(
            "fanfare needs {} columns and {} rows; there are {} and {}",
            LEAST.0, LEAST.1, area.width, area.height
        );
        frame.render_widget(Paragraph::new(words).wrap(ratatui::widgets::Wrap { trim: true }), area);
        return;
    }
    let banner = banner(model);
    let [header, tabs, banner_area, body, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(u16::from(banner.is_some())),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_header(model, theme, frame, header);
    draw_tabs(model, theme, frame, tabs);
    if let Some(words) = banner {
        frame.render_widget(
            Paragraph::new(text::cut(&words, area.width.into())).style(theme.warning()),
            banner_area,
        );
    }
    match &model.place().view {
        View::Overview => overview::draw(model, theme, frame, body),
        View::Connection(id) => detail::draw(model, *id, theme, frame, body),
        _ => list::draw(model, theme, frame, body),
    }
    draw_footer(model, theme, frame, footer);
    match &model.prompt {
        Some(Prompt::Form(form)) => dialog::draw(model, form, theme, frame, area),
        Some(Prompt::Lift(what, _)) => dialog::draw_lift(what, theme, frame, area),
        Some(Prompt::Filter | Prompt::Palette(_)) | None => {}
    }
    if model.help {
        help::draw(model, theme, frame, area);
    }
}

/// Two texts on one line, at its two ends; the left one is cut where both do not fit.
fn draw_ends(frame: &mut Frame<'_>, area: Rect, left: &str, right: &str, style: ratatui::style::Style) {
    let room = usize::from(area.width).saturating_sub(right.width() + 1);
    let left = text::cut(left, room);
    let gap = " ".repeat(usize::from(area.width).saturating_sub(left.width() + right.width()));
    frame.render_widget(Paragraph::new(format!("{left}{gap}{right}")).style(style), area);
}

fn draw_header(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let link = match (&model.link, model.silence()) {
        (Link::Connecting, _) => "connecting".to_owned(),
        (Link::Lost { .. }, _) => "LOST".to_owned(),
        (Link::Live, Some(silent)) => format!("no news for {}", span(silent / 1_000)),
        (Link::Live, None) if model.is_paused() => "paused".to_owned(),
        (Link::Live, None) => "live".to_owned(),
    };
    let (left, right) = match &model.status {
        None => (" fanfare".to_owned(), format!("{link} ")),
        Some(status) => {
            // It is not known to be up for longer than it was heard.
            let is_heard = model.link == Link::Live && model.silence().is_none();
            let until = if is_heard { model.now_ms } else { model.heard_ms };
            let since = until.saturating_sub(model.attached_ms) / 1_000;
            (
                format!(
                    " {} {}  up {}{}",
                    visible(&status.server),
                    visible(&status.address),
                    span(status.uptime + since),
                    scope(model)
                ),
                format!("{}, {}  {link} ", visible(&status.operator), status.role),
            )
        }
    };
    draw_ends(frame, area, &left, &right, theme.bar());
}

/// That all nodes are looked at, where they are.
fn scope(model: &Model) -> String {
    if model.all_nodes {
        let nodes = || model.picture.nodes.iter().filter(|node| !node.is_lost);
        let troubled = nodes().filter(|node| node.problem.is_some()).count();
        let trouble = if troubled > 0 { format!(", {troubled} IN TROUBLE") } else { String::new() };
        format!("  ALL {}{trouble}", many(nodes().count() as u64, "node").to_uppercase())
    } else {
        String::new()
    }
}

fn draw_tabs(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let first = model.path.first().map(|place| &place.view);
    let mut spans = Vec::new();
    for (number, view) in (1..).zip(View::NUMBERED.iter()) {
        let style = if Some(view) == first { theme.chosen() } else { theme.quiet() };
        spans.push(Span::styled(format!(" {number} {} ", view.title()), style));
    }
    for place in model.path.iter().skip(1) {
        spans.push(Span::styled(format!(" › {}", text::cut(&place.view.title(), 32)), theme.accent()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

/// What one must know before one reads the rest.
fn banner(model: &Model) -> Option<String> {
    match &model.link {
        Link::Lost { since_ms, reason, retry_ms } => {
            let age = span(model.now_ms.saturating_sub(*since_ms) / 1_000);
            let retry = span(retry_ms.saturating_sub(model.now_ms).div_ceil(1_000));
            Some(format!(
                " ! no server for {age}; what you see is as old. Again in {retry}. {}",
                visible(reason)
            ))
        }
        // As it is now, also while the picture stands still.
        _ if let Some(why) = &model.behind.as_ref().unwrap_or(&model.picture).acts_impaired => {
            Some(format!(" ! acts cannot be taken now: {}; the server tries again", visible(why)))
        }
        _ if model.picture.skipped > 0 => Some(format!(
            " ! {} updates were skipped: this terminal was too slow for them",
            model.picture.skipped
        )),
        _ => None,
    }
}

fn draw_footer(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    if let Some(Prompt::Filter) = model.prompt {
        let words =
            format!(" /{}_   Enter keeps it, Esc takes it away", visible(&model.place().listing.filter));
        frame.render_widget(Paragraph::new(words).style(theme.accent()), area);
        return;
    }
    if let Some(Prompt::Palette(words)) = &model.prompt {
        let found: Vec<String> = keymap::search(words)
            .iter()
            .map(|binding| format!("{} ({})", binding.help, binding.shown))
            .collect();
        let found = if found.is_empty() { "nothing is called that".to_owned() } else { found.join("   ") };
        let line = text::cut(&format!(" :{}_   {found}", visible(words)), area.width.into());
        frame.render_widget(Paragraph::new(line).style(theme.accent()), area);
        return;
    }
    if let Some(notice) = &model.notice {
        let mark = if notice.bad { " ! " } else { " " };
        // Its names were made visible where it was written.
        let words = text::cut(&format!("{mark}{}", text::harmless(&notice.text)), area.width.into());
        let style = if notice.bad { theme.warning() } else { theme.accent() };
        frame.render_widget(Paragraph::new(words).style(style), area);
        return;
    }
    draw_ends(frame, area, &format!(" {}", keys(model).join("  ")), "q quit ", theme.quiet());
}

/// The keys that do something where one is, the most used of them.
fn keys(model: &Model) -> Vec<&'static str> {
    let place = model.place();
    let item = place.listing.current();
    let opens = matches!(item, Some(Item::Connection(_) | Item::User(_) | Item::Group(_)));
    let is_list = !place.listing.columns.is_empty();
    let (user, who) = (selected_user(model).is_some(), selected_who(model).is_some());
    let acts = [
        (user, "r revoke"),
        (user, "b ban"),
        (who, "x close"),
        (matches!(item, Some(Item::Ban(_))), "u lift"),
        (place.view == View::Overview, "m send to all"),
    ];
    let looks = [
        (true, "? help"),
        (place.view == View::Overview, "1-6 views"),
        (!model.picture.nodes.is_empty() && !model.all_nodes, "n all nodes"),
        (model.all_nodes, "n this node"),
        (is_list, "/ filter"),
        (is_list, "s sort"),
        (opens, "Enter open"),
        (model.path.len() > 1 || !place.listing.filter.is_empty(), "Esc back"),
    ];
    let there = |keys: &[(bool, &'static str)]| -> Vec<&'static str> {
        keys.iter().filter(|(works, _)| *works).map(|(_, key)| *key).collect()
    };
    let mut keys = there(&looks);
    match (there(&acts), model.may_act()) {
        (acts, Ok(())) => keys.extend(acts),
        (acts, Err(_)) if acts.is_empty() => {}
        (_, Err(_)) => keys.push("(what acts: for operators)"),
    }
    keys
}

#[cfg(test)]
mod tests;
