//! Answers as a person reads them. With `--json` they are printed as they come, and nothing here is asked.

use std::time::Duration;

use std::collections::BTreeSet;

use fanfare_protocol::admin::{
    AuditVerdict, BanKind, BanRow, ConnectionDetail, ConnectionRow, Counters, Explanation, GroupRow, Listing,
    Receipt, Status, Times, UserRow,
};
use serde_json::Value;

use fanfare_tui::text::{
    act, bytes, far_day, harmless, made_by, many, micros, moment, per_mille, span, visible,
};

use super::table::Table;

pub(super) fn status(status: &Status) -> String {
    let Status { counters, totals, .. } = status;
    let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    let named = |counts: &std::collections::BTreeMap<String, u64>| {
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
        ("requests", requests(counters)),
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
    lines.map(|(name, text)| shown(name, &text)).concat() + &impaired
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

pub(super) fn connections(listing: &Listing<ConnectionRow>) -> String {
    let mut table = Table::new(&[
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
    ]);
    for row in &listing.rows {
        table.row(&[
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
        ]);
    }
    with_total(&table, listing.rows.len(), listing.total)
}

pub(super) fn users(listing: &Listing<UserRow>) -> String {
    let mut table = Table::new(&["USER", ">CONNECTIONS"]);
    for row in &listing.rows {
        table.row(&[row.user.as_str().to_owned(), row.connections.to_string()]);
    }
    with_total(&table, listing.rows.len(), listing.total)
}

pub(super) fn groups(listing: &Listing<GroupRow>) -> String {
    let mut table = Table::new(&["GROUP", ">MEMBERS", ">USERS"]);
    for row in &listing.rows {
        table.row(&[row.group.as_str().to_owned(), row.members.to_string(), row.users.to_string()]);
    }
    with_total(&table, listing.rows.len(), listing.total)
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
    with_total(&table, listing.rows.len(), listing.total)
}

fn with_total(table: &Table, shown: usize, total: u64) -> String {
    match total {
        0 => "none\n".to_owned(),
        total if shown as u64 == total => table.to_string(),
        total => format!("{table}({shown} of {total})\n"),
    }
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
        ("connection", row.connection.to_string()),
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
        ("requests", row.requests.to_string()),
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
        let mut table = Table::new(&["CONNECTION", "MAY JOIN", "TOKEN", "MEMBER"]);
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
            table.row(&[one.connection.to_string(), may, token, member]);
        }
        text += &table.to_string();
        // In full, and each once: a column has no room for it.
        let refusals = why.connections.iter().filter_map(|one| one.refusal.as_ref());
        let told: BTreeSet<_> = refusals.map(|refusal| (refusal.code, &refusal.message)).collect();
        for (code, message) in told {
            text += &format!("code {code}: {}\n", harmless(message));
        }
    }
    if !why.bans.is_empty() {
        text += &bans(&Listing { total: why.bans.len() as u64, rows: why.bans.clone() });
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
}

/// What was done, in one line.
pub(super) fn receipt(done: &Done, receipt: &Receipt) -> String {
    let record = format!("; record {}, {}\n", receipt.audit, micros(receipt.took_us));
    let done = match done {
        Done::To(done) => done,
        Done::Lifted if receipt.unchanged => return format!("there was nothing to lift{record}"),
        Done::Lifted => return format!("lifted{record}"),
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
    match &verdict.broken {
        None => format!("the chain is whole: {head}"),
        Some(problem) => format!("THE CHAIN IS BROKEN: {}\n{head}", harmless(problem)),
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
    use fanfare_protocol::admin::{AuditHead, Role, Totals};
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
        use fanfare_protocol::admin::{ConnectionVerdict, MembershipOrigin, Verdict};
        use fanfare_protocol::{ConnectionId, GroupName, UserName};
        let verdict = |number: u8, origin: Option<MembershipOrigin>| ConnectionVerdict {
            connection: ConnectionId::from_bytes([number; 16]),
            granted: true,
            refusal: None,
            held_back: false,
            until: None,
            member: origin.is_some(),
            by_operator: origin.is_some_and(MembershipOrigin::needs_no_grant),
            origin,
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
            connections: connections.map(|(origin, number)| verdict(number, origin)).collect(),
            summary: String::new(),
        });
        let told: Vec<&str> =
            shown.lines().skip(2).map(|line| line.split("grants it").nth(1).unwrap().trim()).collect();
        assert_eq!(told, ["no", "yes", "yes, by an operator", "yes, by the application"], "{shown}");
    }

    #[test]
    fn the_id_of_a_token_is_shown_so_that_it_is_told_apart() {
        let shown = token(Some(NAME), Some(0));
        assert_eq!(shown, "a\\u{2800}b, ends now");
        assert_eq!(token(None, None), "none");
    }

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
        };
        let shown = super::status(&status);
        assert!(shown.contains("refused     2  (NotGranted 2)\n"), "{shown}");
        assert!(shown.contains("you         a\\u{2800}b, operator\n"), "{shown}");
    }
}
