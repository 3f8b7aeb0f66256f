//! One connection: everything that the server knows of it, and what happened to it while one looked.

use fanfare_protocol::ConnectionId;
use fanfare_protocol::admin::{MembershipOrigin, MembershipRow};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::chart;
use super::theme::Theme;
use crate::model::{Held, Model};
use crate::text::{count, far_day, made_by, many, micros, per_mille, span, visible};

pub(super) fn draw(model: &Model, id: ConnectionId, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let Some(tracked) = model.connection(&id) else {
        frame.render_widget(Paragraph::new("  this connection is gone").style(theme.quiet()), area);
        return;
    };
    let (row, now_ms) = (&tracked.row, model.picture.at_ms);
    let (requests, deliveries) = tracked.rates(now_ms);
    let age = (now_ms / 1_000).saturating_sub(row.since);
    let mut rows = vec![
        ("user", visible(row.user.as_str())),
        ("connection", id.to_string()),
        (
            "from",
            match &row.node {
                Some(node) => {
                    format!("{} over {}, for {}, on {}", row.address, row.transport, span(age), visible(node))
                }
                None => format!("{} over {}, for {}", row.address, row.transport, span(age)),
            },
        ),
        ("rates", format!("{} requests/s in  {} messages/s out", count(requests), count(deliveries))),
        (
            "in all",
            format!(
                "{}  {}  {} dropped{}",
                many(row.requests, "request"),
                many(row.deliveries, "message"),
                row.dropped,
                match row.calls {
                    0 => String::new(),
                    calls => format!("  {} running", many(calls, "call")),
                }
            ),
        ),
        ("waiting", format!("{}  {}", many(row.outbox_frames, "frame"), many(row.outbox_bytes, "byte"))),
        (
            "silent",
            tracked
                .silent(now_ms)
                .map_or_else(|| "no".to_owned(), |seconds| format!("for {}", span(seconds))),
        ),
    ];
    match model.detail.as_ref().filter(|detail| detail.row.connection == id) {
        None => rows.push(("", "asking the server for the rest ...".to_owned())),
        Some(detail) => {
            let quic = &detail.quic;
            let ends = |what: &str, end: Option<u64>| match end {
                None => format!("{what} never ends"),
                Some(end) => match far_day(now_ms / 1_000, end) {
                    Some(day) => format!("{what} ends {day}"),
                    None => format!("{what} ends in {}", span(end.saturating_sub(now_ms / 1_000))),
                },
            };
            let loss = per_mille(tracked.loss());
            let held = match (quic.blocked_by_application, quic.congestion_events) {
                (0, 0) => "by nothing".to_owned(),
                (application, network) => {
                    let who = match tracked.held(now_ms) {
                        None => "it keeps up now",
                        Some(Held::Application) => "now the application reads slowly",
                        Some(Held::Network) => "now the network is slow",
                    };
                    format!(
                        "{} by the application, {network} by the network; {who}",
                        many(application, "time")
                    )
                }
            };
            rows.extend([
                ("round trip", micros(quic.rtt_us)),
                (
                    "packets",
                    format!(
                        "{} sent  {} lost ({loss})  window {} bytes  MTU {}",
                        quic.sent_packets, quic.lost_packets, quic.congestion_window, quic.mtu
                    ),
                ),
                ("bytes", format!("{} out  {} in", quic.sent_bytes, quic.received_bytes)),
                ("held up", held),
                ("moved", many(quic.migrations, "time")),
                (
                    "token",
                    match detail.grant_ends {
                        None => ends("it", detail.token_ends),
                        grant => format!("{}  {}", ends("it", detail.token_ends), ends("a grant", grant)),
                    },
                ),
                ("groups", groups(&detail.memberships)),
            ]);
        }
    }
    let lines: Vec<Line<'_>> = rows
        .into_iter()
        .map(|(name, text)| {
            Line::from(vec![Span::styled(format!(" {name:12}"), theme.quiet()), Span::raw(text)])
        })
        .collect();
    let [facts, charts] = Layout::vertical([Constraint::Fill(1), Constraint::Length(4)]).areas(area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), facts);
    let trace = &model.trace;
    let now = |values: &std::collections::VecDeque<u64>| values.back().copied().unwrap_or_default();
    chart::draw(
        &[
            ("round trip", micros(now(&trace.rtt)), &trace.rtt),
            ("requests/s in", now(&trace.requests).to_string(), &trace.requests),
            ("messages/s out", now(&trace.deliveries).to_string(), &trace.deliveries),
        ],
        theme,
        frame,
        charts,
    );
}

/// The groups, with a mark on those that the client did not join itself, and what the marks that there are mean.
fn groups(memberships: &[MembershipRow]) -> String {
    const MARKED: [(MembershipOrigin, &str); 4] = [
        (MembershipOrigin::Operator, "*"),
        (MembershipOrigin::Application, "+"),
        (MembershipOrigin::Lasting, "="),
        (MembershipOrigin::Other, "?"),
    ];
    let named = memberships.iter().map(|one| {
        let mark = MARKED.iter().find(|(origin, _)| *origin == one.made_by()).map_or("", |(_, mark)| *mark);
        format!("{}{mark}", visible(one.group.as_str()))
    });
    let shown = named.collect::<Vec<_>>().join("  ");
    let meant = MARKED.iter().filter(|(origin, _)| memberships.iter().any(|one| one.made_by() == *origin));
    let meanings: Vec<String> =
        meant.filter_map(|(origin, mark)| made_by(*origin).map(|by| format!("{mark} {by}"))).collect();
    match (memberships.is_empty(), meanings.is_empty()) {
        (true, _) => "none".to_owned(),
        (false, true) => shown,
        (false, false) => format!("{shown}   ({})", meanings.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::GroupName;

    use super::*;

    #[test]
    fn who_made_a_membership_is_marked_and_only_marks_that_are_there_are_explained() {
        let of = |origins: &[MembershipOrigin]| {
            let rows: Vec<MembershipRow> = origins
                .iter()
                .zip(["a", "b", "c", "d", "e"])
                .map(|(origin, name)| MembershipRow::new(GroupName::new(name).unwrap(), *origin))
                .collect();
            groups(&rows)
        };
        use MembershipOrigin::{Application, Client, Lasting, Operator, Other};
        assert_eq!(of(&[]), "none");
        assert_eq!(of(&[Client, Client]), "a  b");
        assert_eq!(of(&[Application, Client]), "a+  b   (+ by the application)");
        assert_eq!(
            of(&[Client, Application, Operator, Other, Lasting]),
            "a  b+  c*  d?  e=   (* by an operator, + by the application, = lasting, ? in a way that is not known here)"
        );
    }
}
