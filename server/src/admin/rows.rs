//! The kinds of lists: what their rows can be ordered by and are searched for.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use std::time::UNIX_EPOCH;

use fanfare_hub::{Origin, OutboxFacts, Roster};
use fanfare_protocol::admin::{BanRow, ConnectionRow, LastingRow, MembershipOrigin, QuicFacts, SILENT_MS};
use fanfare_protocol::{GroupName, UserName};
use fanfare_token::Seconds;

use super::listing::{self, Rows};
use crate::access::StoredKey;
use crate::hub::{Hub, Member};
use crate::lists::Key;

/// What changes about a connection, at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Facts {
    address: SocketAddr,
    groups: usize,
    outbox: OutboxFacts,
    deliveries: (u64, u64),
    requests: u64,
    silent_ms: u64,
    calls: u64,
    pub(super) quic: QuicFacts,
}

impl Facts {
    pub(super) fn of(member: &Member) -> Self {
        Self {
            address: member.line().address(),
            groups: member.groups(),
            outbox: member.outbox().facts(),
            deliveries: member.deliveries(),
            requests: member.requests(),
            silent_ms: member.listen_in(Instant::now()),
            calls: member.calls(),
            quic: member.line().quic(),
        }
    }

    /// Whether it is worth a line to one who knows `self`. The round trip is measured anew with every packet: an eighth
    /// more or less says nothing; nor do packets that carried nothing of ours.
    pub(super) fn differs(&self, now: &Self) -> bool {
        let (known, quic) = (&self.quic, &now.quic);
        (self.groups, self.outbox, self.deliveries, self.requests, self.address, self.calls)
            != (now.groups, now.outbox, now.deliveries, now.requests, now.address, now.calls)
            || (known.lost_packets, known.blocked_by_application, known.congestion_events)
                != (quic.lost_packets, quic.blocked_by_application, quic.congestion_events)
            || (self.silent_ms >= SILENT_MS) != (now.silent_ms >= SILENT_MS)
            || quic.rtt_us.abs_diff(known.rtt_us) > known.rtt_us / 8
    }
}

/// Who made a membership, as operators are told it.
pub(super) fn made_by(origin: Origin) -> MembershipOrigin {
    match origin {
        Origin::Client => MembershipOrigin::Client,
        Origin::Operator => MembershipOrigin::Operator,
        Origin::Application => MembershipOrigin::Application,
        Origin::Lasting => MembershipOrigin::Lasting,
    }
}

/// The row of a connection.
pub(super) fn connection_row(member: &Member, facts: &Facts) -> ConnectionRow {
    let Facts {
        address,
        groups,
        outbox,
        deliveries: (deliveries, dropped),
        requests,
        silent_ms,
        calls,
        quic,
    } = facts;
    ConnectionRow {
        connection: member.id(),
        user: member.user().clone(),
        transport: member.line().transport().to_owned(),
        address: address.to_string(),
        since: since(member),
        groups: *groups as u64,
        outbox_frames: outbox.frames as u64,
        outbox_bytes: outbox.bytes as u64,
        requests: *requests,
        deliveries: *deliveries,
        dropped: *dropped,
        rtt_us: quic.rtt_us,
        sent_packets: quic.sent_packets,
        lost_packets: quic.lost_packets,
        blocked_by_application: quic.blocked_by_application,
        congestion_events: quic.congestion_events,
        silent_ms: *silent_ms,
        calls: *calls,
        node: None,
    }
}

fn since(member: &Member) -> Seconds {
    member.since().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn rtt(member: &Member) -> u64 {
    u64::try_from(member.line().rtt().as_micros()).unwrap_or(u64::MAX)
}

pub(super) struct Connections;

impl Rows for Connections {
    type Item = Arc<Member>;
    const FIELDS: &'static [&'static str] = &[
        "connection",
        "user",
        "transport",
        "address",
        "since",
        "groups",
        "outbox_frames",
        "outbox_bytes",
        "requests",
        "deliveries",
        "dropped",
        "rtt_us",
        "sent_packets",
        "lost_packets",
        "blocked_by_application",
        "congestion_events",
        "silent_ms",
        "calls",
    ];

    fn key(&self, member: &Self::Item, field: &str) -> Key {
        match field {
            "user" => member.user().as_str().into(),
            "transport" => member.line().transport().into(),
            "address" => Key::Text(member.line().address().to_string()),
            "since" => {
                let since = member.since().duration_since(UNIX_EPOCH).unwrap_or_default();
                Key::Number(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            "groups" => member.groups().into(),
            "outbox_frames" => member.outbox().facts().frames.into(),
            "outbox_bytes" => member.outbox().facts().bytes.into(),
            "requests" => member.requests().into(),
            "deliveries" => member.deliveries().0.into(),
            "dropped" => member.deliveries().1.into(),
            "rtt_us" => rtt(member).into(),
            "silent_ms" => Key::Number(member.listen_in(Instant::now())),
            "calls" => Key::Number(member.calls()),
            "sent_packets" => member.line().quic().sent_packets.into(),
            "lost_packets" => member.line().quic().lost_packets.into(),
            "blocked_by_application" => member.line().quic().blocked_by_application.into(),
            "congestion_events" => member.line().quic().congestion_events.into(),
            _ => Key::Id(member.id()),
        }
    }

    fn matches(&self, member: &Self::Item, text: &str) -> bool {
        listing::is_in(member.user().as_str(), text)
            || listing::is_in(&member.id().to_string(), text)
            || listing::is_in(&member.line().address().to_string(), text)
    }
}

pub(super) struct Users;

impl Rows for Users {
    type Item = (UserName, usize);
    const FIELDS: &'static [&'static str] = &["user", "connections"];

    fn key(&self, (user, connections): &Self::Item, field: &str) -> Key {
        if field == "connections" { (*connections).into() } else { user.as_str().into() }
    }

    fn matches(&self, (user, _): &Self::Item, text: &str) -> bool {
        listing::is_in(user.as_str(), text)
    }
}

pub(super) struct Groups<'a> {
    pub(super) hub: &'a Hub,
}

impl Groups<'_> {
    pub(super) fn users(&self, group: &GroupName) -> u64 {
        distinct_users(&self.hub.of_group(group))
    }

    /// Messages that went to its members, and frames that wait for them.
    pub(super) fn traffic(&self, group: &GroupName) -> (u64, u64) {
        let roster = self.hub.roster(group);
        roster.map_or((0, 0), |roster| (roster.delivered(), waiting_frames(&roster)))
    }
}

/// Frames that wait for a group's members now.
pub(super) fn waiting_frames(roster: &Roster<GroupName, Member>) -> u64 {
    let mut frames = 0;
    roster.for_each(|member| frames += member.outbox().facts().frames as u64);
    frames
}

/// How many users these belong to.
pub(super) fn distinct_users(members: &[Arc<Member>]) -> u64 {
    members.iter().map(|member| member.user()).collect::<HashSet<_>>().len() as u64
}

impl Rows for Groups<'_> {
    type Item = (GroupName, usize);
    const FIELDS: &'static [&'static str] =
        &["group", "members", "users", "deliveries", "waiting_frames", "watchers"];

    fn key(&self, (group, members): &Self::Item, field: &str) -> Key {
        match field {
            "members" => (*members).into(),
            "users" => self.users(group).into(),
            "deliveries" => Key::Number(self.traffic(group).0),
            "waiting_frames" => Key::Number(self.traffic(group).1),
            "watchers" => self.hub.watchers(group).into(),
            _ => group.as_str().into(),
        }
    }

    fn matches(&self, (group, _): &Self::Item, text: &str) -> bool {
        listing::is_in(group.as_str(), text)
    }
}

pub(super) struct BanRows;

impl BanRows {
    fn subject(ban: &BanRow) -> &str {
        ban.user.as_ref().map(UserName::as_str).or(ban.jti.as_deref()).unwrap_or_default()
    }

    fn groups(ban: &BanRow) -> &str {
        ban.groups.as_ref().map_or("", |groups| groups.as_str())
    }
}

impl Rows for BanRows {
    type Item = BanRow;
    const FIELDS: &'static [&'static str] = &["user", "kind", "groups", "since", "until", "author"];

    fn key(&self, ban: &Self::Item, field: &str) -> Key {
        match field {
            "kind" => Key::Number(ban.kind as u64),
            "groups" => Self::groups(ban).into(),
            "since" => ban.since.into(),
            "until" => ban.until.unwrap_or(u64::MAX).into(),
            "author" => ban.author.as_str().into(),
            _ => Key::Text(format!("{}\0{}\0{}", Self::subject(ban), ban.kind as u8, Self::groups(ban))),
        }
    }

    fn matches(&self, ban: &Self::Item, text: &str) -> bool {
        [Self::subject(ban), Self::groups(ban), ban.reason.as_str(), ban.author.as_str()]
            .iter()
            .any(|shown| listing::is_in(shown, text))
    }
}

pub(super) struct LastingRows;

impl Rows for LastingRows {
    type Item = LastingRow;
    const FIELDS: &'static [&'static str] = &["user", "group", "may", "since", "until", "author"];

    fn key(&self, row: &Self::Item, field: &str) -> Key {
        match field {
            "group" => row.group.as_str().into(),
            "may" => row.may.name().into(),
            "since" => row.since.into(),
            "until" => row.until.unwrap_or(Seconds::MAX).into(),
            "author" => row.author.as_str().into(),
            // A user's rows are told apart by their groups.
            _ => Key::Text(format!("{}\0{}", row.user.as_str(), row.group.as_str())),
        }
    }

    fn matches(&self, row: &Self::Item, text: &str) -> bool {
        [row.user.as_str(), row.group.as_str(), &row.author].iter().any(|shown| listing::is_in(shown, text))
    }
}

pub(super) struct ApiKeyRows;

impl Rows for ApiKeyRows {
    type Item = StoredKey;
    const FIELDS: &'static [&'static str] = &["name", "since", "until", "used", "author"];

    fn key(&self, key: &Self::Item, field: &str) -> Key {
        let row = &key.row;
        match field {
            "since" => row.since.into(),
            "until" => row.until.unwrap_or(Seconds::MAX).into(),
            "used" => row.used.unwrap_or(0).into(),
            "author" => row.author.as_str().into(),
            _ => row.name.as_str().into(),
        }
    }

    fn matches(&self, key: &Self::Item, text: &str) -> bool {
        listing::is_in(&key.row.name, text) || listing::is_in(&key.row.author, text)
    }
}
