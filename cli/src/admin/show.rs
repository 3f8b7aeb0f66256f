//! Answers as a person reads them. With `--json` they are printed as they come, and nothing here is asked.
//!
//! In: an answer. Out: lines; of an audit record one without its end. Invariant: what others chose (names, reasons)
//! cannot steer the terminal.

mod status;

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_protocol::ConnectionId;
use fanfare_protocol::admin::{
    ApiKeyRow, AuditVerdict, BanKind, BanRow, ConnectionDetail, ConnectionRow, Explanation, GroupRow,
    LastingRow, Listing, Receipt, Standing, UserRow, Watching,
};
use fanfare_tui::text::{act, far_day, harmless, made_by, many, micros, moment, per_mille, span, visible};
use serde_json::Value;

pub(super) use self::status::status;
use super::table::Table;
use crate::output;

pub(super) fn connections(listing: &Listing<ConnectionRow>) -> String {
    let has_nodes = listing.rows.iter().any(|row| row.node.is_some());
    let mut columns = vec![
        "CONNECTION",
        "USER",
        "VIA",
        "ADDRESS",
        ">AGE",
        ">HEARD",
        ">GROUPS",
        ">IN",
        ">OUT",
        ">WAITING",
        ">DROPPED",
        ">RTT",
        ">LOSS",
    ];
    columns.extend(has_nodes.then_some("NODE"));
    let mut table = Table::new(&columns);
    for row in &listing.rows {
        let mut cells = vec![
            row.connection.to_string(),
            row.user.as_str().to_owned(),
            row.transport.clone(),
            row.address.clone(),
            span(now().saturating_sub(row.since)),
            span(row.silent_ms / 1_000),
            row.groups.to_string(),
            row.requests.to_string(),
            row.deliveries.to_string(),
            row.outbox_frames.to_string(),
            row.dropped.to_string(),
            micros(row.rtt_us),
            per_mille(
                row.lost_packets.saturating_mul(1_000).checked_div(row.sent_packets).unwrap_or_default(),
            ),
        ];
        cells.extend(has_nodes.then(|| row.node.clone().unwrap_or_default()));
        table.row(&cells);
    }
    with_total(&table, listing)
}

pub(super) fn users(listing: &Listing<UserRow>) -> String {
    let mut table = Table::new(&["USER", ">CONNECTIONS"]);
    for row in &listing.rows {
        table.row(&[row.user.as_str().to_owned(), row.connections.to_string()]);
    }
    with_total(&table, listing)
}

pub(super) fn groups(listing: &Listing<GroupRow>) -> String {
    let mut table = Table::new(&["GROUP", ">MEMBERS", ">USERS"]);
    for row in &listing.rows {
        let users = if row.users_at_most { format!("<={}", row.users) } else { row.users.to_string() };
        table.row(&[row.group.as_str().to_owned(), row.members.to_string(), users]);
    }
    with_total(&table, listing)
}

pub(super) fn bans(listing: &Listing<BanRow>) -> String {
    let mut table = Table::new(&["WHO", "WHAT", "SINCE", "ENDS", "BY", "REASON"]);
    for row in &listing.rows {
        let who = row
            .user
            .as_ref()
            .map(fanfare_protocol::UserName::as_str)
            .or(row.jti.as_deref())
            .unwrap_or_default();
        let what = match (row.kind, &row.groups) {
            (BanKind::Group, Some(groups)) => format!("group {}", groups.as_str()),
            (BanKind::Group, None) => "group".to_owned(),
            (BanKind::User, _) => "server".to_owned(),
            (BanKind::SignOut, _) => "tokens until then".to_owned(),
            (BanKind::Token, _) => "this token".to_owned(),
        };
        table.row(&[
            who.to_owned(),
            what,
            moment(row.since),
            ends(row.until),
            row.author.clone(),
            row.reason.clone(),
        ]);
    }
    with_total(&table, listing)
}

pub(super) fn lasting(listing: &Listing<LastingRow>) -> String {
    let mut table = Table::new(&["USER", "GROUP", "MAY", "SINCE", "ENDS", "BY"]);
    for row in &listing.rows {
        table.row(&[
            row.user.as_str().to_owned(),
            row.group.as_str().to_owned(),
            row.may.name().to_owned(),
            moment(row.since),
            ends(row.until),
            row.author.clone(),
        ]);
    }
    with_total(&table, listing)
}

pub(crate) fn api_keys(listing: &Listing<ApiKeyRow>) -> String {
    let mut table =
        Table::new(&["KEY", "BEGINS WITH", "MAY", ">A SECOND", "SINCE", "ENDS", "LAST USED", "BY"]);
    for row in &listing.rows {
        let allow: Vec<String> = row.allow.iter().map(ToString::to_string).collect();
        table.row(&[
            row.name.clone(),
            row.id.clone(),
            allow.join(" "),
            row.per_second.map_or_else(|| "any".to_owned(), |rate| rate.to_string()),
            moment(row.since),
            ends(row.until),
            row.used.map_or_else(|| "never".to_owned(), moment),
            row.author.clone(),
        ]);
    }
    with_total(&table, listing)
}

fn with_total<R>(table: &Table, listing: &Listing<R>) -> String {
    let Listing { total, rows, at_most, next, silent } = listing;
    let of = if *at_most { "at most " } else { "" };
    let mut text = match rows.len() {
        0 if *total == 0 => "none\n".to_owned(),
        shown if shown as u64 == *total => table.to_string(),
        shown => match next {
            Some(next) => format!("{table}({shown} of {of}{total}; more with --after {})\n", visible(next)),
            None => format!("{table}({shown} of {of}{total})\n"),
        },
    };
    if !silent.is_empty() {
        text += &format!("{}: NO ANSWER, so that what is there is not in the list\n", output::nodes(silent));
    }
    text
}

/// `before` is what it was some time ago.
pub(super) fn detail(detail: &ConnectionDetail, before: &ConnectionDetail, ago: Duration) -> String {
    let ConnectionDetail { row, memberships, quic, .. } = detail;
    let groups: Vec<String> = memberships
        .iter()
        .map(|one| match made_by(one.made_by()) {
            None => visible(one.group.as_str()),
            Some(by) => format!("{} ({by})", visible(one.group.as_str())),
        })
        .collect();
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / ago.as_secs_f64().max(0.001);
    let rates = format!(
        "{:.1} requests/s, {:.1} messages/s out; {:.0} bytes/s in, {:.0} bytes/s out",
        rate(row.requests, before.row.requests),
        rate(row.deliveries, before.row.deliveries),
        rate(quic.received_bytes, before.quic.received_bytes),
        rate(quic.sent_bytes, before.quic.sent_bytes),
    );
    let lost = if quic.sent_packets == 0 {
        0.0
    } else {
        quic.lost_packets as f64 * 100.0 / quic.sent_packets as f64
    };
    let lines = [
        ("connection", on_node(&row.connection, row.node.as_deref())),
        ("user", visible(row.user.as_str())),
        ("from", format!("{} over {}, moved {}", row.address, row.transport, many(quic.migrations, "time"))),
        ("since", format!("{}, {} ago", moment(row.since), span(now().saturating_sub(row.since)))),
        ("token", token(detail.token_id.as_deref(), detail.token_ends)),
        (
            "grants",
            detail.grant_ends.map_or("as long as the token".to_owned(), |end| {
                format!("the next ends {}", ends(Some(end)))
            }),
        ),
        ("groups", if groups.is_empty() { "none".to_owned() } else { groups.join(", ") }),
        ("requests", format!("{}, {} running", row.requests, many(row.calls, "call"))),
        ("messages", format!("{} out, {} dropped", row.deliveries, row.dropped)),
        ("last heard", format!("{} ago", span(row.silent_ms / 1_000))),
        ("waiting", format!("{}, {}", many(row.outbox_frames, "frame"), many(row.outbox_bytes, "byte"))),
        ("round trip", micros(quic.rtt_us)),
        (
            "packets",
            format!(
                "{} sent, {} lost ({lost:.1} %), window {} bytes, MTU {}",
                quic.sent_packets, quic.lost_packets, quic.congestion_window, quic.mtu
            ),
        ),
        ("bytes", format!("{} sent, {} received", quic.sent_bytes, quic.received_bytes)),
        ("rates", rates),
        (
            "held up",
            format!(
                "{} by the application, {} by the network",
                many(quic.blocked_by_application, "time"),
                many(quic.congestion_events, "time")
            ),
        ),
    ];
    lines.map(|(name, text)| format!("{name:11} {}\n", harmless(&text))).concat()
}

/// A connection, and the node that it is on, where there are several.
fn on_node(connection: &ConnectionId, node: Option<&str>) -> String {
    node.map_or_else(|| connection.to_string(), |node| format!("{connection} on {}", visible(node)))
}

/// The token of a connection: its id, and when it ends.
fn token(id: Option<&str>, end: Option<u64>) -> String {
    match (id, end) {
        (_, None) => "none".to_owned(),
        (None, Some(end)) => format!("ends {}", ends(Some(end))),
        (Some(id), Some(end)) => format!("{}, ends {}", visible(id), ends(Some(end))),
    }
}

pub(super) fn explanation(why: &Explanation) -> String {
    let mut text = format!("{}\n", harmless(&why.summary));
    for refusal in &why.connecting {
        text += &format!("new connections are refused: {}\n", harmless(&refusal.to_string()));
    }
    if !why.connections.is_empty() {
        let has_nodes = why.connections.iter().any(|one| one.node.is_some());
        let mut columns = vec!["CONNECTION", "MAY JOIN", "TOKEN", "MEMBER", "MAY SEE WHO IS IN IT"];
        columns.extend(has_nodes.then_some("NODE"));
        let mut table = Table::new(&columns);
        for one in &why.connections {
            let may = match (&one.refusal, one.held_back) {
                (Some(refusal), _) => format!("no, code {}", refusal.code),
                (None, false) => "yes".to_owned(),
                (None, true) => "yes, and is held back: it asks too often".to_owned(),
            };
            let token = match (one.granted, one.until) {
                (false, _) => "does not grant it".to_owned(),
                (true, None) => "grants it".to_owned(),
                (true, Some(until)) => format!("grants it until {}", moment(until)),
            };
            let member = match one.made_by().map(made_by) {
                None => "no".to_owned(),
                Some(None) => "yes".to_owned(),
                Some(Some(by)) => format!("yes, {by}"),
            };
            let watch = match &one.watch {
                // A server of an earlier version.
                None => "not said".to_owned(),
                Some(Watching::Watches) => "yes, and watches".to_owned(),
                Some(Watching::May) => "yes".to_owned(),
                Some(Watching::MayNot(refusal)) => format!("no, code {}", refusal.code),
            };
            let mut cells = vec![one.connection.to_string(), may, token, member, watch];
            cells.extend(has_nodes.then(|| one.node.clone().unwrap_or_default()));
            table.row(&cells);
        }
        text += &table.to_string();
        if why.more_connections > 0 {
            text += &format!("and {}\n", many(why.more_connections, "more connection"));
        }
        // In full, and each once: a column has no room for it.
        let refusals = why.connections.iter().flat_map(|one| {
            let watch = one.watch.as_ref().and_then(|watch| match watch {
                Watching::MayNot(refusal) => Some(refusal),
                Watching::May | Watching::Watches => None,
            });
            one.refusal.iter().chain(watch)
        });
        let told: BTreeSet<_> = refusals.map(|refusal| (refusal.code, &refusal.message)).collect();
        for (code, message) in told {
            text += &format!("code {code}: {}\n", harmless(message));
        }
    }
    if !why.bans.is_empty() {
        text += &bans(&Listing::new(why.bans.len() as u64, why.bans.clone()));
    }
    text
}

/// What an action does.
pub(super) enum Done {
    /// This to connections, like `removed`.
    To(&'static str),
    /// It lifts a ban.
    Lifted,
    /// It copies the store.
    Copied,
    /// It takes out what a dead node has left.
    Forgotten,
}

/// What was done, in one line.
pub(super) fn receipt(done: &Done, receipt: &Receipt) -> String {
    receipt_here(done, receipt) + &on_nodes(receipt)
}

/// Where it is in force, and where that is not known; a line where there are several nodes.
fn on_nodes(receipt: &Receipt) -> String {
    let of = |standings: &[Standing]| -> Vec<String> {
        let nodes = receipt.nodes.iter().filter(|node| standings.contains(&node.standing));
        nodes.map(|node| format!("{} {} ms", visible(&node.name), node.after_ms)).collect()
    };
    let mut lines = String::new();
    let in_force = of(&[Standing::InForce]);
    if !in_force.is_empty() {
        lines += &format!("in force on {} ({})\n", many(in_force.len() as u64, "node"), in_force.join(", "));
    }
    let told: [(&[Standing], &str); 3] = [
        (&[Standing::LeaseEnded], "cut off, and delivering nothing until it is in force there"),
        (&[Standing::ServesWithout], "CUT OFF, AND DELIVERING ALL THE SAME: it is not in force there"),
        (&[Standing::Unknown], "NOT KNOWN TO BE IN FORCE there: do it again"),
    ];
    for (standings, words) in told {
        let nodes = receipt.nodes.iter().filter(|node| standings.contains(&node.standing));
        let names: Vec<_> = nodes.map(|node| visible(&node.name)).collect();
        if !names.is_empty() {
            lines += &format!("{}: {words}\n", names.join(", "));
        }
    }
    if !receipt.silent.is_empty() {
        lines += &format!(
            "{}: NO ANSWER, so that what was done there is not known\n",
            output::nodes(&receipt.silent)
        );
    }
    lines
}

fn receipt_here(done: &Done, receipt: &Receipt) -> String {
    let record = format!("; record {}, {}\n", receipt.audit, micros(receipt.took_us));
    let done = match done {
        Done::To(done) => done,
        Done::Lifted if receipt.unchanged => return format!("there was nothing to lift{record}"),
        Done::Lifted => return format!("lifted{record}"),
        Done::Forgotten => return format!("forgotten: no receipt names it any more{record}"),
        Done::Copied => {
            return format!("copied to bans.redb.backup in the server's state directory{record}");
        }
    };
    let connections = match receipt.connections {
        0 => "no connection".to_owned(),
        some => many(some, "connection"),
    };
    let groups: Vec<String> =
        receipt.groups.iter().map(|(group, count)| format!("{} {count}", visible(group.as_str()))).collect();
    let groups = if groups.is_empty() { String::new() } else { format!(" ({})", groups.join(", ")) };
    if receipt.dry_run {
        return format!("{connections} would be {done}{groups}; nothing was changed\n");
    }
    let purged = match receipt.purged {
        0 => String::new(),
        1 => ", 1 queued message thrown away".to_owned(),
        many => format!(", {many} queued messages thrown away"),
    };
    let before = if receipt.unchanged { "in force already; " } else { "" };
    format!("{before}{connections} {done}{groups}{purged}{record}")
}

pub(super) fn verdict(verdict: &AuditVerdict) -> String {
    let head = format!("{}, the last has the hash\n{}\n", many(verdict.records, "record"), verdict.head.hash);
    let mut nodes = String::new();
    for node in &verdict.nodes {
        let name = harmless(&node.node);
        nodes += &match &node.broken {
            None => format!("node {name}: {}\n", many(node.records, "record")),
            Some(problem) => format!("node {name}: BROKEN: {}\n", harmless(problem)),
        };
    }
    for node in &verdict.silent {
        nodes += &format!("node {}: NO ANSWER\n", harmless(node));
    }
    match &verdict.broken {
        None if !verdict.silent.is_empty() => format!("{nodes}whole, as far as is known; here {head}"),
        None => format!("{nodes}the chain is whole: {head}"),
        Some(problem) => format!("{nodes}THE CHAIN IS BROKEN: {}\n{head}", harmless(problem)),
    }
}

/// A record in one line.
pub(super) fn record(record: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let field = |name: &str| record.get(name).map(text).unwrap_or_default();
    let at = record.get("at_ms").and_then(Value::as_u64).unwrap_or_default() / 1_000;
    let act = act(record.get("act").unwrap_or(&Value::Null));
    let outcome = record.get("outcome").unwrap_or(&Value::Null);
    let outcome = match (outcome.get("done"), outcome.get("refused")) {
        (Some(done), _) => {
            many(done.get("connections").and_then(Value::as_u64).unwrap_or_default(), "connection")
        }
        (_, Some(refused)) => format!("REFUSED: {}", refused.get("message").map(text).unwrap_or_default()),
        _ => text(outcome),
    };
    let line = format!(
        "{:>6}  {}  {} ({})  {act}  -> {outcome}",
        field("sequence"),
        moment(at),
        visible(&field("author")),
        field("role")
    );
    harmless(&line)
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `in 1h 59m`, the day where that is far, or `never`.
fn ends(until: Option<u64>) -> String {
    match until {
        None => "never".to_owned(),
        Some(until) if until <= now() => "now".to_owned(),
        Some(until) => far_day(now(), until).unwrap_or_else(|| format!("in {}", span(until - now()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAME: &str = "a\u{2800}b";

    #[test]
    fn who_did_it_is_shown_so_that_it_is_told_apart() {
        let act = json!({ "ask": "kick", "user": NAME });
        let line = record(&json!({
            "sequence": 1, "at_ms": 0, "author": NAME, "role": "operator", "act": act, "outcome": "begun"
        }));
        assert!(line.contains("a\\u{2800}b (operator)  kick user=a\\u{2800}b"), "{line}");
        assert!(!line.contains(NAME), "{line}");
    }

    #[test]
    fn where_a_membership_comes_from_is_shown() {
        use fanfare_protocol::admin::{ConnectionVerdict, MembershipOrigin, Refusal, Verdict};
        use fanfare_protocol::{ConnectionId, GroupName, UserName};
        let watches = [None, Some(Watching::May), Some(Watching::Watches)];
        let verdict = |number: u8, origin: Option<MembershipOrigin>| ConnectionVerdict {
            watch: match watches.get(usize::from(number) - 1) {
                Some(watch) => watch.clone(),
                None => Some(Watching::MayNot(Refusal { code: 3001, message: "no right".to_owned() })),
            },
            connection: ConnectionId::from_bytes([number; 16]),
            granted: true,
            refusal: None,
            held_back: false,
            until: None,
            member: origin.is_some(),
            by_operator: origin.is_some_and(MembershipOrigin::needs_no_grant),
            origin,
            node: None,
        };
        let origins =
            [MembershipOrigin::Client, MembershipOrigin::Operator, MembershipOrigin::Application].map(Some);
        let connections = [None].into_iter().chain(origins).zip(1..);
        let shown = explanation(&Explanation {
            user: UserName::new("alice").unwrap(),
            group: GroupName::new("room").unwrap(),
            verdict: Verdict::May,
            may_join: true,
            bans: Vec::new(),
            connecting: Vec::new(),
            token: None,
            lasting: None,
            by_application: false,
            connections: connections.map(|(origin, number)| verdict(number, origin)).collect(),
            more_connections: 0,
            silent: Vec::new(),
            summary: String::new(),
        });
        let rows = shown.lines().skip(2).filter_map(|line| line.split("grants it").nth(1));
        let told: Vec<Vec<&str>> = rows
            .map(|row| row.trim().split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
            .collect();
        let expected = [
            ["no", "not said"],
            ["yes", "yes"],
            ["yes, by an operator", "yes, and watches"],
            ["yes, by the application", "no, code 3001"],
        ];
        assert_eq!(told, expected, "{shown}");
        assert!(shown.ends_with("code 3001: no right\n"), "{shown}");
    }

    #[test]
    fn the_id_of_a_token_is_shown_so_that_it_is_told_apart() {
        let shown = token(Some(NAME), Some(0));
        assert_eq!(shown, "a\\u{2800}b, ends now");
        assert_eq!(token(None, None), "none");
    }
}
