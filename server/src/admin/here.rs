//! What this server has of lists, connections and users: for its own answers, and for those of other nodes.
//!
//! In: a question, of whoever asks. Out: this server's part of the answer. Invariants: nothing is changed; each row is
//! of one moment; other nodes are not asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_protocol::admin::{AdminError, ConnectionDetail, GroupRow, MembershipRow, Subject, UserRow};
use fanfare_protocol::{ConnectionId, GroupName, Payload, UserName};
use fanfare_token::Seconds;

use super::listing::{self, Rows, Slice};
use super::query::{Queries, some_time};
use super::rows::{Connections, Facts, Groups, Users, connection_row, made_by};
use crate::access;
use crate::cluster::{Answers, ChainThere, MOST_VERDICTS, Said, UsersThere, Verdicts};
use crate::hub::Member;
use crate::lists::{Entry, Line, ListQuestion, Of, Part};

impl Queries {
    /// What comes next of a list, after so many rows that are passed over.
    pub(super) fn part_here(&self, question: &ListQuestion, offset: usize) -> Result<Part, AdminError> {
        match &question.of {
            Of::Connections => connections(self.hub.list(), question, offset),
            Of::Members(group) => connections(self.hub.of_group(group), question, offset),
            Of::User(user) => connections(self.hub.of_user(user), question, offset),
            Of::Users => users(self.hub.users(), question, offset),
            Of::Present(group) => {
                let mut present: BTreeMap<UserName, usize> = BTreeMap::new();
                for member in self.hub.of_group(group) {
                    *present.entry(member.user().clone()).or_default() += 1;
                }
                users(present.into_iter().collect(), question, offset)
            }
            Of::Groups => {
                let rows = Groups { hub: &self.hub };
                let mut groups = self.hub.groups();
                groups.retain(|(group, _)| question.takes(group.as_str(), &Subject::Group(group)));
                part(&rows, groups, question, offset, |(group, members)| {
                    let (deliveries, waiting_frames) = rows.traffic(&group);
                    let (users, watchers) = (rows.users(&group), self.hub.watchers(&group) as u64);
                    let (members, users_at_most) = (members as u64, false);
                    let row = GroupRow {
                        group,
                        members,
                        users,
                        deliveries,
                        waiting_frames,
                        watchers,
                        users_at_most,
                    };
                    Line::Group(row)
                })
            }
        }
    }

    /// A connection that is here.
    pub(super) fn detail_here(&self, id: &ConnectionId) -> Option<ConnectionDetail> {
        let member = self.hub.connection(id)?;
        let permissions = member.permissions();
        let now = access::now();
        let mut memberships: Vec<MembershipRow> = member
            .memberships()
            .into_iter()
            .map(|(group, origin)| MembershipRow::new(group, made_by(origin)))
            .collect();
        memberships.sort_by(|a, b| a.group.cmp(&b.group));
        let facts = Facts::of(&member);
        Some(ConnectionDetail {
            row: connection_row(&member, &facts),
            memberships,
            token_ends: some_time(permissions.ends),
            grant_ends: permissions.grants.ends().filter(|end| *end > now).min(),
            token_id: permissions.token.clone(),
            quic: facts.quic,
        })
    }

    /// A user's connections that are here, at most so many of them, and whether they may join a group.
    pub(super) fn verdicts_here(
        &self,
        user: &UserName,
        group: &GroupName,
        now: Seconds,
        most: usize,
    ) -> Verdicts {
        let mut members = self.hub.of_user(user);
        members.sort_by_key(|member| member.id());
        let more = members.len().saturating_sub(most) as u64;
        members.truncate(most);
        let tokens = members.iter().filter_map(|member| member.permissions().token.clone()).collect();
        let connections = members.iter().map(|member| self.of_connection(member, group, now)).collect();
        Verdicts { connections, more, tokens }
    }

    /// The users in each of some groups, at most so many in all one by one.
    pub(super) fn users_in_here(&self, groups: &[GroupName], mut most: usize) -> Vec<UsersThere> {
        let users = |group: &GroupName| {
            let members = self.hub.of_group(group);
            let mut numbers: Vec<u64> = members.iter().map(|member| number(member.user())).collect();
            numbers.sort_unstable();
            numbers.dedup();
            match most.checked_sub(numbers.len()) {
                Some(left) => {
                    most = left;
                    UsersThere::Numbers(numbers)
                }
                None => UsersThere::TooMany(numbers.len() as u64),
            }
        };
        groups.iter().map(users).collect()
    }
}

/// What is said here of a user.
fn said((order, Payload { format, bytes }): (u64, Payload)) -> Said {
    Said { order, data: STANDARD.encode(&bytes), format: format.number() }
}

impl Answers for Queries {
    fn part(&self, question: &ListQuestion) -> Option<Part> {
        self.part_here(question, 0).ok()
    }

    fn users_in(&self, groups: &[GroupName], most: usize) -> Vec<UsersThere> {
        self.users_in_here(groups, most)
    }

    fn said(&self, group: &GroupName, users: &[UserName]) -> Vec<Option<Said>> {
        users.iter().map(|user| self.hub.said(group, user).map(said)).collect()
    }

    fn chain(&self, noted: &[(String, Vec<String>)]) -> Option<ChainThere> {
        // Its own failures are told where it is.
        self.chain_here(noted, None).ok()
    }

    fn detail(&self, connection: &ConnectionId) -> Option<ConnectionDetail> {
        self.detail_here(connection)
    }

    fn verdicts(&self, user: &UserName, group: &GroupName) -> Verdicts {
        self.verdicts_here(user, group, access::now(), MOST_VERDICTS)
    }
}

/// A user as a number that is the same on all nodes, and never in practice another's.
fn number(user: &UserName) -> u64 {
    let hash = digest(&SHA256, user.as_str().as_bytes());
    hash.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn connections(
    mut members: Vec<Arc<Member>>,
    question: &ListQuestion,
    offset: usize,
) -> Result<Part, AdminError> {
    members.retain(|member| {
        let user = member.user();
        question.takes(user.as_str(), &Subject::Connection(Some(user)))
    });
    part(&Connections, members, question, offset, |member| {
        Line::Connection(Box::new(connection_row(&member, &Facts::of(&member))))
    })
}

fn users(
    mut users: Vec<(UserName, usize)>,
    question: &ListQuestion,
    offset: usize,
) -> Result<Part, AdminError> {
    users.retain(|(user, _)| question.takes(user.as_str(), &Subject::User(user)));
    part(&Users, users, question, offset, |(user, connections)| {
        Line::User(UserRow { user, connections: connections as u64 })
    })
}

fn part<R: Rows>(
    rows: &R,
    items: Vec<R::Item>,
    question: &ListQuestion,
    offset: usize,
    line: impl Fn(R::Item) -> Line,
) -> Result<Part, AdminError> {
    let cut = listing::cut(rows, items, Slice { offset, ..Slice::asked(question) })?;
    let entry = |(at, item)| Entry { at, line: (!question.bare).then(|| line(item)) };
    Ok(Part { total: cut.total, entries: cut.items.into_iter().map(entry).collect(), more: cut.more })
}
