//! What a server says of itself, as a person reads it.
//!
//! In: a status. Out: a line for each thing that is told, with its name in front; the last one, where no action can be
//! taken, says why. Invariant: what others chose cannot steer the terminal.

use std::collections::BTreeMap;

use fanfare_protocol::admin::{Counters, NodeRow, Status, Times, WebhookRow};
use fanfare_tui::text::{bytes, harmless, many, micros, span, visible};

/// What a server says of itself, in lines with a name in front.
pub(in crate::admin) fn status(status: &Status) -> String {
    let Status { counters, totals, .. } = status;
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let named = |counts: &BTreeMap<String, u64>| {
        let named: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if named.is_empty() { String::new() } else { format!("  ({})", named.join(", ")) }
    };
    let mode = if status.dev { ", development" } else { "" };
    let lines = [
        (
            "server",
            format!(
                "{} at {}{mode}, up {}",
                visible(&status.server),
                visible(&status.address),
                span(status.uptime)
            ),
        ),
        ("you", format!("{}, {}", visible(&status.operator), status.role)),
        (
            "now",
            [
                many(totals.connections, "connection"),
                many(totals.users, "user"),
                many(totals.groups, "group"),
            ]
            .join(", "),
        ),
        (
            "handshakes",
            format!(
                "{}, {} welcomed, {} refused unseen",
                counters.handshakes, counters.welcomed, counters.handshakes_refused
            ),
        ),
        (
            "messages",
            format!(
                "{} in, {} out, {} dropped, {} purged",
                counters.sends, counters.deliveries, counters.dropped, counters.purged
            ),
        ),
        (
            "presence",
            format!(
                "{} watching groups, {}, {} told anew",
                counters.watches,
                many(counters.presence, "frame"),
                counters.presence_restarts
            ),
        ),
        ("requests", requests(counters)),
        ("calls", calls(counters)),
        ("refused", format!("{}{}", sum(&counters.refused), named(&counters.refused))),
        ("removed", format!("{}{}", sum(&counters.removed), named(&counters.removed))),
        ("closed", format!("{}{}, lost {}", sum(&counters.closed), named(&counters.closed), counters.lost)),
        ("bytes", format!("{} in, {} out", bytes(counters.bytes_in), bytes(counters.bytes_out))),
        ("delivered", delivered(&counters.delivery_us)),
        ("waiting", waiting(counters)),
        ("memory", memory(counters)),
        ("processor", format!("{} of one, in all", micros(counters.cpu_ms * 1_000))),
        ("bans", status.bans.to_string()),
        (
            "audit",
            match status.audit.sequence {
                0 => "no records".to_owned(),
                records => {
                    format!("{}, the last has the hash {}", many(records, "record"), status.audit.hash)
                }
            },
        ),
    ];
    let shown = |name: &str, text: &str| format!("{name:11} {}\n", harmless(text));
    let impaired = status.acts_impaired.as_ref();
    let impaired =
        impaired.map_or(String::new(), |why| shown("acts", &format!("CANNOT BE TAKEN NOW: {why}")));
    let webhooks: String = status.webhooks.iter().map(|row| shown("webhook", &webhook(row))).collect();
    let nodes: String = status.nodes.iter().map(|row| shown("node", &node(row))).collect();
    let cluster = cluster(&status.nodes).map_or(String::new(), |text| shown("cluster", &text));
    lines.map(|(name, text)| shown(name, &text)).concat() + &webhooks + &cluster + &nodes + &impaired
}

/// All nodes of the cluster together. A user, or a group, may be on several, so that how many there are is not a sum.
fn cluster(nodes: &[NodeRow]) -> Option<String> {
    let connections = nodes.iter().fold(0, |sum: u64, node| sum.saturating_add(node.connections));
    let nodes = nodes.iter().filter(|node| !node.is_lost).count() as u64;
    (nodes > 0).then(|| format!("{}, {}", many(nodes, "node"), many(connections, "connection")))
}

/// A node of the cluster.
fn node(row: &NodeRow) -> String {
    if row.is_lost {
        let problem = row.problem.as_deref().unwrap_or("it was given up");
        let (name, id, age) = (visible(&row.name), visible(&row.node), span(row.age_ms / 1_000));
        return format!("{name} ({id}), LOST {age} ago: {}", visible(problem));
    }
    let mut words = vec![format!(
        "{} ({}), {}, {}, {}",
        visible(&row.name),
        visible(&row.node),
        many(row.connections, "connection"),
        many(row.users, "user"),
        many(row.groups, "group")
    )];
    words.push(match row.is_this {
        true => "this one".to_owned(),
        false => format!("{} ms ago", row.age_ms),
    });
    words.push(format!("up to revision {}", row.in_force));
    if row.missed > 0 {
        words.push(format!("{} of its messages LOST", row.missed));
    }
    let counts = [(row.unsent, "not sent"), (row.late, "too late"), (row.foreign, "of no node")];
    words
        .extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    words.extend(row.problem.as_ref().map(|problem| format!("PROBLEM: {}", visible(problem))));
    words.join(", ")
}

/// What became of requests to a back end.
fn webhook(row: &WebhookRow) -> String {
    let mut words = vec![format!("{} at {}", visible(&row.name), visible(&row.url))];
    if row.asked > 0 {
        words.push(format!("asked {}, {} unanswered", many(row.asked, "time"), row.unanswered));
    }
    let oldest = row.oldest_seconds.map(|age| format!(" for {}", span(age))).unwrap_or_default();
    words.push(format!("{} told, {} waiting{oldest}, {} lost", row.delivered, row.waiting, row.lost));
    if let Some(error) = &row.last_error {
        let failing = if row.is_failing { "FAILING, " } else { "last error " };
        words.push(format!("{failing}{} ago: {}", span(error.seconds_ago), visible(&error.words)));
    }
    words.join(", ")
}

/// What clients asked for. Frames of later versions are told of only where there are any: they are rare, and mean that
/// somebody is newer than the server.
fn requests(counters: &Counters) -> String {
    let asked = format!("{}, held back {}", counters.requests, many(counters.throttled, "time"));
    match counters.unknown {
        0 => asked,
        unknown => format!("{asked}, {} not known here", many(unknown, "frame")),
    }
}

/// What the application's methods were called for, and whom it did not let in.
fn calls(counters: &Counters) -> String {
    let calls =
        format!("{}, {} running, {} failed", counters.calls, counters.calls_running, counters.calls_failed);
    match counters.refused_by_application() {
        0 => calls,
        refused => format!("{calls}, {} not let in by the application", many(refused, "connection")),
    }
}

/// What waits for clients that do not read, and how much may.
fn waiting(counters: &Counters) -> String {
    format!("{} of {}", bytes(counters.waiting_bytes), bytes(counters.waiting_limit))
}

/// What the system gave the server, and what the server uses of it.
fn memory(counters: &Counters) -> String {
    match counters.live_bytes {
        0 => bytes(counters.resident_bytes),
        live => format!("{}, {} of it in use", bytes(counters.resident_bytes), bytes(live)),
    }
}

/// How long messages were in the server, since its start.
fn delivered(times: &Times) -> String {
    let share =
        |name, thousandths| times.quantile(thousandths).map(|took| format!("{name} in {}", micros(took)));
    let shares = [share("half", 500), share("99 %", 990), share("99.9 %", 999), share("all", 1_000)];
    let shares: Vec<String> = shares.into_iter().flatten().collect();
    if shares.is_empty() { "nothing yet".to_owned() } else { shares.join(", ") }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::admin::{AuditHead, Role, Totals};

    use super::*;

    const NAME: &str = "a\u{2800}b";

    #[test]
    fn names_of_operators_and_servers_do_not_spoil_the_room_between_words() {
        let refused = [("NotGranted".to_owned(), 2)].into();
        let status = Status {
            server: "fanfare".to_owned(),
            address: "[::1]:1".to_owned(),
            operator: NAME.to_owned(),
            role: Role::Operator,
            uptime: 1,
            dev: false,
            totals: Totals::default(),
            counters: Counters { refused, ..Counters::default() },
            bans: 0,
            audit: AuditHead { sequence: 0, hash: String::new() },
            acts_impaired: None,
            webhooks: Vec::new(),
            nodes: Vec::new(),
        };
        let shown = super::status(&status);
        assert!(shown.contains("refused     2  (NotGranted 2)\n"), "{shown}");
        assert!(shown.contains("you         a\\u{2800}b, operator\n"), "{shown}");
    }

    #[test]
    fn a_node_is_told_with_how_old_that_is_and_what_is_wrong_with_it() {
        let row = NodeRow {
            node: "00c0ffee".to_owned(),
            name: "b".to_owned(),
            connections: 1,
            users: 1,
            groups: 2,
            age_ms: 480,
            in_force: 17,
            ..NodeRow::default()
        };
        let begin = "b (00c0ffee), 1 connection, 1 user, 2 groups";
        assert_eq!(node(&row), format!("{begin}, 480 ms ago, up to revision 17"));
        let problem = Some("there is no\u{1b} connection".to_owned());
        let row = NodeRow { is_this: true, missed: 3, problem, unsent: 4, late: 5, foreign: 6, ..row };
        let counts = "3 of its messages LOST, 4 not sent, 5 too late, 6 of no node";
        let end = format!("this one, up to revision 17, {counts}, PROBLEM: there is no\\u{{1b}} connection");
        assert_eq!(node(&row), format!("{begin}, {end}"));
        let problem = Some("it was given up".to_owned());
        let lost = NodeRow { is_lost: true, age_ms: 90_000, problem, ..row.clone() };
        assert_eq!(node(&lost), "b (00c0ffee), LOST 1m 30s ago: it was given up");
        let lost = NodeRow { connections: 0, ..lost };
        let together = cluster(&[row.clone(), NodeRow { connections: 8, ..row }, lost]);
        assert_eq!((together.as_deref(), cluster(&[])), (Some("2 nodes, 9 connections"), None));
    }

    #[test]
    fn a_back_end_that_fails_is_told_with_what_it_said() {
        let row = WebhookRow {
            name: "billing".to_owned(),
            url: "https://billing.example/hook".to_owned(),
            waiting: 7,
            oldest_seconds: Some(90),
            delivered: 40,
            failed: 3,
            ..WebhookRow::default()
        };
        assert_eq!(
            webhook(&row),
            "billing at https://billing.example/hook, 40 told, 7 waiting for 1m 30s, 0 lost"
        );
        let words = "it answers\u{1b} 500".to_owned();
        let last_error = Some(fanfare_protocol::admin::WebhookError { seconds_ago: 5, words });
        let row = WebhookRow { asked: 9, unanswered: 2, is_failing: true, last_error, ..row };
        assert!(
            webhook(&row).ends_with(
                "asked 9 times, 2 unanswered, 40 told, 7 waiting for 1m 30s, 0 lost, FAILING, 5s ago: \
                 it answers\\u{1b} 500"
            ),
            "{}",
            webhook(&row)
        );
    }
}
