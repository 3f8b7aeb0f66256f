//! What back ends may know: who is here, in which groups, what is forbidden to whom, what was done.
//!
//! In: a key, and which rows. Out: rows in JSON, of about one moment. Invariants: nothing is changed; a list has no
//! more than the key may see, and does not tell how much more there is; what is asked by its name and may not be seen
//! is refused in the same words whether it is there or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_protocol::admin::{BanRow, Subject, Verb};
use fanfare_protocol::{Code, ConnectionId, GroupName, UserName};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::command::{Api, allow};
use super::page::PageQuery;
use super::problem::Problem;
use super::row::{
    Ban, Bans, Connection, ConnectionDetail, Connections, Explained, Group, Groups, LastingMembership,
    LastingMemberships, Membership, Presence, PresentUser, Records, Stats, User, Users,
};
use crate::access::{self, ApiKey};
use crate::admin::{distinct_users, made_by};
use crate::hub::Member;

/// Who, and which group.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainQuery {
    #[param(value_type = String)]
    user: UserName,
    #[param(value_type = String)]
    group: GroupName,
}

/// Which audit records.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Records with a higher number than this.
    after: u64,
    /// At most so many; 100, if it is not given, and 1,000 at most.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

impl Api {
    pub(super) fn groups(&self, key: &ApiKey, page: &PageQuery) -> Result<Groups, Problem> {
        let mut groups = self.hub.groups();
        groups.retain(|(group, _)| {
            !page.passes_over(group.as_str()) && key.allows(Verb::Read, &Subject::Group(group))
        });
        let (groups, next) = page.cut(groups, |(group, _)| group.as_str().to_owned())?;
        let groups = groups.into_iter().map(|(group, connections)| {
            let users = distinct_users(&self.queries.hub.of_group(&group));
            Group { group, connections: connections as u64, users }
        });
        Ok(Groups { groups: groups.collect(), next })
    }

    pub(super) fn group(&self, key: &ApiKey, group: GroupName) -> Result<Group, Problem> {
        allow(key, Verb::Read, &Subject::Group(&group))?;
        let members = self.queries.hub.of_group(&group);
        if members.is_empty() {
            return Err(Problem::new(Code::NothingThere, format!("nobody is in the group {group:?}")));
        }
        Ok(Group { connections: members.len() as u64, users: distinct_users(&members), group })
    }

    pub(super) fn members(
        &self,
        key: &ApiKey,
        group: &GroupName,
        page: &PageQuery,
    ) -> Result<Connections, Problem> {
        allow(key, Verb::Read, &Subject::Group(group))?;
        connections(self.queries.hub.of_group(group), page)
    }

    /// Who is in a group: a snapshot.
    pub(super) fn present(
        &self,
        key: &ApiKey,
        group: &GroupName,
        page: &PageQuery,
    ) -> Result<Users, Problem> {
        allow(key, Verb::Read, &Subject::Group(group))?;
        let mut present: BTreeMap<UserName, u64> = BTreeMap::new();
        for member in self.queries.hub.of_group(group) {
            if !page.passes_over(member.user().as_str()) {
                *present.entry(member.user().clone()).or_default() += 1;
            }
        }
        let rows = present.into_iter().map(|(user, connections)| User { user, connections }).collect();
        let (users, next) = page.cut(rows, |row| row.user.as_str().to_owned())?;
        Ok(Users { users, next })
    }

    /// Who is present in a group, with what is said of them.
    pub(super) fn presence(
        &self,
        key: &ApiKey,
        group: &GroupName,
        page: &PageQuery,
    ) -> Result<Presence, Problem> {
        allow(key, Verb::Read, &Subject::Group(group))?;
        let mut present = self.hub.present(group);
        present.retain(|one| !page.passes_over(one.user.as_str()));
        let (present, next) = page.cut(present, |one| one.user.as_str().to_owned())?;
        Ok(Presence { present: present.into_iter().map(PresentUser::from).collect(), next })
    }

    pub(super) fn users(&self, key: &ApiKey, page: &PageQuery) -> Result<Users, Problem> {
        let mut users = self.hub.users();
        users.retain(|(user, _)| {
            !page.passes_over(user.as_str()) && key.allows(Verb::Read, &Subject::User(user))
        });
        let (users, next) = page.cut(users, |(user, _)| user.as_str().to_owned())?;
        let row = |(user, connections)| User { user, connections: connections as u64 };
        Ok(Users { users: users.into_iter().map(row).collect(), next })
    }

    pub(super) fn user(&self, key: &ApiKey, user: UserName) -> Result<User, Problem> {
        allow(key, Verb::Read, &Subject::User(&user))?;
        match self.queries.hub.of_user(&user).len() as u64 {
            0 => Err(Problem::new(Code::NothingThere, format!("the user {user:?} has no connection"))),
            connections => Ok(User { user, connections }),
        }
    }

    pub(super) fn user_connections(
        &self,
        key: &ApiKey,
        user: &UserName,
        page: &PageQuery,
    ) -> Result<Connections, Problem> {
        allow(key, Verb::Read, &Subject::User(user))?;
        connections(self.queries.hub.of_user(user), page)
    }

    pub(super) fn connections(&self, key: &ApiKey, page: &PageQuery) -> Result<Connections, Problem> {
        let mut members = self.queries.hub.list();
        members.retain(|member| key.allows(Verb::Read, &Subject::Connection(Some(member.user()))));
        connections(members, page)
    }

    pub(super) fn connection(&self, key: &ApiKey, id: &ConnectionId) -> Result<ConnectionDetail, Problem> {
        let member = self.queries.hub.connection(id);
        let owner = member.as_ref().map(|member| member.user());
        allow(key, Verb::Read, &Subject::Connection(owner))?;
        let gone = || Problem::new(Code::NothingThere, format!("there is no connection {id}"));
        let member = member.ok_or_else(gone)?;
        let mut memberships: Vec<_> = member
            .memberships()
            .into_iter()
            // Who may see a user need not be to know all of its groups.
            .filter(|(group, _)| key.allows(Verb::Read, &Subject::Group(group)))
            .map(|(group, origin)| Membership { group, origin: made_by(origin) })
            .collect();
        memberships.sort_by(|one, other| one.group.cmp(&other.group));
        let permissions = member.permissions();
        Ok(ConnectionDetail {
            connection: Connection::from(&member),
            memberships,
            token_ends: (permissions.ends != u64::MAX).then_some(permissions.ends),
            token_id: permissions.token.clone().filter(|_| key.allows(Verb::Moderate, &Subject::All)),
        })
    }

    pub(super) fn lasting(&self, key: &ApiKey, page: &PageQuery) -> Result<LastingMemberships, Problem> {
        let mut rows = self.moderation.lasting().all();
        let now = access::now();
        rows.retain(|row| {
            let subject = Subject::Group(&row.group);
            let may_know = key.allows(Verb::Members, &subject) || key.allows(Verb::Read, &subject);
            may_know && row.until.is_none_or(|until| until > now) && !page.passes_over(row.user.as_str())
        });
        let (rows, next) = page.cut(rows, |row| format!("{}\0{}", row.user.as_str(), row.group.as_str()))?;
        Ok(LastingMemberships { lasting: rows.into_iter().map(LastingMembership::from).collect(), next })
    }

    pub(super) fn bans(&self, key: &ApiKey, page: &PageQuery) -> Result<Bans, Problem> {
        let mut bans = self.moderation.bans();
        bans.retain(|ban| {
            let subject = ban.user.as_ref().map_or(Subject::All, Subject::User);
            let name = ban.user.as_ref().map_or("", |user| user.as_str());
            !page.passes_over(name) && key.allows(Verb::Moderate, &subject)
        });
        let order = |ban: &BanRow| {
            let user = ban.user.as_ref().map_or("", |user| user.as_str());
            let groups = ban.groups.as_ref().map_or("", |groups| groups.as_str());
            format!("{user}\0{:?}\0{groups}\0{}", ban.kind, ban.jti.as_deref().unwrap_or_default())
        };
        let (bans, next) = page.cut(bans, order)?;
        Ok(Bans { bans: bans.into_iter().map(Ban::from).collect(), next })
    }

    pub(super) fn explain(&self, key: &ApiKey, query: &ExplainQuery) -> Result<Explained, Problem> {
        allow(key, Verb::Moderate, &Subject::User(&query.user))?;
        let explained = self.queries.explain(&query.user, &query.group, None, access::now());
        Ok(Explained { verdict: explained.verdict, lasting: explained.lasting, summary: explained.summary })
    }

    pub(super) fn records(&self, key: &ApiKey, query: &AuditQuery) -> Result<Records, Problem> {
        allow(key, Verb::Moderate, &Subject::All)?;
        let limit = query.limit.unwrap_or(100);
        if !(1..=1_000).contains(&limit) {
            return Err(Problem::invalid("a page has 1 to 1,000 records"));
        }
        let found = self.moderation.audit(query.after, limit).map_err(|error| {
            tracing::error!(%error, "the audit could not be read");
            Problem::new(Code::Internal, "the audit cannot be read now; the server's log says why")
        })?;
        let next = found.last().map_or(query.after, |(number, _)| *number);
        // Written by ourselves. One that cannot be read would not be hidden: the next page begins behind it.
        let record = |(_, bytes): (u64, Vec<u8>)| RawValue::from_string(String::from_utf8(bytes).ok()?).ok();
        Ok(Records { records: found.into_iter().filter_map(record).collect(), next })
    }

    pub(super) fn stats(&self, key: &ApiKey) -> Result<Stats, Problem> {
        allow(key, Verb::Read, &Subject::All)?;
        let population = self.hub.population();
        let snapshot = self.queries.metrics.snapshot(&self.queries.hub);
        Ok(Stats {
            connections: population.connections as u64,
            users: population.users as u64,
            groups: population.groups as u64,
            sends: snapshot.sends,
            deliveries: snapshot.deliveries,
            dropped: snapshot.displaced,
            bans: self.moderation.bans().len() as u64,
            uptime: self.queries.started.elapsed().as_secs(),
            server: crate::edge::handshake::SERVER,
        })
    }
}

fn connections(mut members: Vec<Arc<Member>>, page: &PageQuery) -> Result<Connections, Problem> {
    members.retain(|member| !page.passes_over(member.user().as_str()));
    let (members, next) = page.cut(members, |member| member.id().to_string())?;
    Ok(Connections { connections: members.iter().map(Connection::from).collect(), next })
}
