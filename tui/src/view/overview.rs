//! The overview: totals, what happened in the last minutes, and who is busiest.
//!
//! ```text
//! now          120 connections  80 users  31 groups
//! messages     in  ▁▂▃▅  40/s      out ▁▂▅▇ 400/s
//! ...
//! busiest connections             largest groups
//! ```

use fanfare_protocol::admin::{Counters, NodeRow, WebhookRow};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::chart;
use super::theme::Theme;
use crate::model::{Held, Model};
use crate::text::{bound, bytes, count, cut, many, micros, span, tenths, visible};

pub(super) fn draw(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let more = [model.picture.webhooks.is_empty(), model.picture.nodes.is_empty()];
    let rows = 9 + u16::try_from(more.iter().filter(|is_empty| !**is_empty).count()).unwrap_or_default();
    let [facts, charts, tops] =
        Layout::vertical([Constraint::Length(rows), Constraint::Length(4), Constraint::Fill(1)]).areas(area);
    draw_facts(model, theme, frame, facts);
    draw_charts(model, theme, frame, charts);
    draw_tops(model, theme, frame, tops);
}

fn draw_facts(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let (totals, counters) = (&model.picture.totals, &model.picture.counters);
    let at_most = model.picture.at_most;
    let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    let now = model.picture.at_ms;
    let held = model.picture.connections.values().filter_map(|tracked| tracked.held(now));
    let (mut network, mut application) = (0, 0);
    for held in held {
        match held {
            Held::Network => network += 1,
            Held::Application => application += 1,
        }
    }
    let left = counters.closed.get("Normal").copied().unwrap_or_default();
    let dropped_slow = counters.closed.get("SlowConsumer").copied().unwrap_or_default();
    let rows = [
        (
            "now",
            [
                (totals.connections, "connection", false),
                (totals.users, "user", at_most.users),
                (totals.groups, "group", at_most.groups),
            ]
            .map(|(count, what, at_most)| format!("{}{}", bound(at_most), many(count, what)))
            .join("  "),
        ),
        (
            "handshakes",
            format!(
                "{} begun  {} welcomed  {} refused unseen",
                counters.handshakes, counters.welcomed, counters.handshakes_refused
            ),
        ),
        (
            "requests",
            format!(
                "{}  {} refused  {} held back{}",
                counters.requests,
                sum(&counters.refused),
                counters.throttled,
                calls(counters)
            ),
        ),
        (
            "messages",
            format!(
                "{} in  {} out  {} dropped  {} purged{}",
                counters.sends,
                counters.deliveries,
                counters.dropped,
                counters.purged,
                presence(counters)
            ),
        ),
        ("bytes", rates(model)),
        ("delivered", delivered(model)),
        (
            "slow",
            format!(
                "{} now ({network} by the network, {application} by the application)  {dropped_slow} closed for it",
                network + application
            ),
        ),
        (
            "ended",
            format!(
                "{} closed by the server  {left} left  {} lost  {} ended",
                sum(&counters.closed).saturating_sub(left),
                counters.lost,
                many(sum(&counters.removed), "membership")
            ),
        ),
        (
            "server",
            format!(
                "{} of memory  {} of {} waiting  {} % of a processor  {} in force",
                bytes(counters.resident_bytes),
                bytes(counters.waiting_bytes),
                bytes(counters.waiting_limit),
                model.history.processor.back().copied().unwrap_or_default(),
                many(model.bans.total, "ban")
            ),
        ),
    ];
    let room = usize::from(area.width).saturating_sub(13);
    let webhooks = webhooks(&model.picture.webhooks).map(|text| ("back ends", text));
    let nodes = nodes(&model.picture.nodes).map(|text| ("nodes", text));
    let lines: Vec<Line<'_>> = rows
        .into_iter()
        .chain(webhooks)
        .chain(nodes)
        .map(|(name, text)| {
            Line::from(vec![Span::styled(format!(" {name:12}"), theme.quiet()), Span::raw(cut(&text, room))])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// What became of requests to back ends: those first that fail, with what the matter is. `None` where there are none.
fn webhooks(rows: &[WebhookRow]) -> Option<String> {
    let mut rows: Vec<&WebhookRow> = rows.iter().collect();
    rows.sort_by_key(|row| (!row.is_failing, row.lost == 0));
    let words = |row: &WebhookRow| {
        let waiting = match row.oldest_seconds {
            Some(age) => format!("{} waiting for {}", row.waiting, span(age)),
            None => format!("{} waiting", row.waiting),
        };
        let lost = if row.lost > 0 { format!(" {} lost", row.lost) } else { String::new() };
        let error = row.last_error.as_ref().filter(|_| row.is_failing);
        let error = error.map_or(String::new(), |error| format!(" FAILS: {}", visible(&error.words)));
        format!("{}{error}  {} told  {waiting}{lost}", visible(&row.name), row.delivered)
    };
    let words: Vec<String> = rows.into_iter().map(words).collect();
    (!words.is_empty()).then(|| words.join("   "))
}

/// The nodes of the cluster: how many connections they have together, the one that is looked at, those with a trouble,
/// and the others, with how many each has. `None` where there is no cluster.
fn nodes(rows: &[NodeRow]) -> Option<String> {
    let mut rows: Vec<&NodeRow> = rows.iter().collect();
    rows.sort_by_key(|row| (!row.is_this, row.problem.is_none(), row.missed == 0));
    let words = |row: &NodeRow| {
        let this = if row.is_this { " (this one)" } else { "" };
        // A heartbeat comes twice a second.
        let old =
            if row.age_ms > 2_000 { format!(" {} ago", span(row.age_ms / 1_000)) } else { String::new() };
        let missed = if row.missed > 0 { format!(" {} LOST", row.missed) } else { String::new() };
        if row.is_lost {
            return format!("{} LOST {} ago", visible(&row.name), span(row.age_ms / 1_000));
        }
        let problem = row.problem.as_ref();
        let problem = problem.map_or(String::new(), |problem| format!(" {}!", visible(problem)));
        format!("{}{this} {}{old}{missed}{problem}", visible(&row.name), row.connections)
    };
    let all = rows.iter().fold(0, |sum: u64, row| sum.saturating_add(row.connections));
    let there = rows.iter().filter(|row| !row.is_lost).count() as u64;
    let all = format!("{} on {}", many(all, "connection"), many(there, "node"));
    let is_cluster = !rows.is_empty();
    let words: Vec<String> = std::iter::once(all).chain(rows.into_iter().map(words)).collect();
    is_cluster.then(|| words.join("   "))
}

/// What the application was called for, and whom it did not let in; nothing where there is none, or it never did.
fn calls(counters: &Counters) -> String {
    let calls = match counters.calls {
        0 => String::new(),
        calls => {
            let (running, failed) = (counters.calls_running, counters.calls_failed);
            format!("  {}: {running} running, {failed} failed", many(calls, "call"))
        }
    };
    match counters.refused_by_application() {
        0 => calls,
        refused => format!("{calls}  {refused} not let in by the application"),
    }
}

/// Who watches groups, where somebody does.
fn presence(counters: &Counters) -> String {
    match counters.watches {
        0 => String::new(),
        watches => format!("  {watches} watching groups"),
    }
}

/// What there is to say of a second before one has passed.
const NOT_YET: &str = "not known yet";

/// Bytes in the last second.
fn rates(model: &Model) -> String {
    if model.history.connections.is_empty() {
        return NOT_YET.to_owned();
    }
    format!("{}/s in  {}/s out", bytes(model.history.bytes.0), bytes(model.history.bytes.1))
}

/// How long messages were in the server in the last minute.
fn delivered(model: &Model) -> String {
    if model.history.connections.is_empty() {
        return NOT_YET.to_owned();
    }
    let times = &model.history.delivery;
    let share = |name: &str, thousandths| {
        times.quantile(thousandths).map(|took| format!("{name} in {}", micros(took)))
    };
    let shares: Vec<String> = [("50 %", 500), ("90 %", 900), ("99 %", 990), ("99.9 %", 999), ("all", 1_000)]
        .into_iter()
        .filter_map(|(name, thousandths)| share(name, thousandths))
        .collect();
    if shares.is_empty() { "nothing in the last minute".to_owned() } else { shares.join("  ") }
}

fn draw_charts(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let history = &model.history;
    // Nothing is known of any second, which is not the same as that there was nothing.
    if history.connections.is_empty() {
        return;
    }
    let charts = [
        ("messages in/s", &history.incoming),
        ("messages out/s", &history.outgoing),
        ("connections", &history.connections),
    ];
    let now = |values: &std::collections::VecDeque<u64>| values.back().copied().unwrap_or_default();
    let charts = charts.map(|(name, values)| (name, now(values).to_string(), values));
    chart::draw(&charts, theme, frame, area);
}

fn draw_tops(model: &Model, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let [left, right] = Layout::horizontal([Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)]).areas(area);
    let room = usize::from(area.height.saturating_sub(1));
    let now = model.picture.at_ms;
    let mut busy: Vec<(u64, &str)> = model
        .picture
        .connections
        .values()
        .map(|tracked| (tenths(tracked.rates(now).0), tracked.row.user.as_str()))
        .filter(|(rate, _)| *rate > 0)
        .collect();
    busy.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let mut groups: Vec<(u64, &str)> =
        model.picture.groups.values().map(|busy| (busy.row.members, busy.row.group.as_str())).collect();
    groups.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let busy = busy.into_iter().map(|(rate, user)| (count(rate as f64 / 10.0), user));
    draw_top("who asks most, requests/s", busy.take(room), theme, frame, left);
    let groups = groups.into_iter().map(|(members, group)| (members.to_string(), group));
    draw_top("largest groups, members", groups.take(room), theme, frame, right);
}

fn draw_top<'a>(
    title: &str,
    rows: impl Iterator<Item = (String, &'a str)>,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let width = usize::from(area.width).saturating_sub(11);
    let mut lines = vec![Line::styled(format!(" {title}"), theme.head())];
    lines.extend(rows.map(|(value, name)| Line::raw(format!("{value:>8}  {}", cut(&visible(name), width)))));
    frame.render_widget(Paragraph::new(lines), area);
}
