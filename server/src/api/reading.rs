//! What back ends may know: who is here, in which groups, what is forbidden to whom, what was done.
//!
//! In: a key, and which rows. Out: rows in JSON, of about one moment, and of all nodes of a cluster. Invariants:
//! nothing is changed; a list has no more than the key may see, and does not tell how much more there is; what is asked
//! by its name and may not be seen is refused in the same words whether it is there or not.

use fanfare_protocol::admin::{BanRow, Explanation, Subject, Verb, Who};
use fanfare_protocol::{Code, ConnectionId, GroupName, Target, UserName};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::command::{Api, allow};
use super::page::{PageQuery, unknown_cursor};
use super::problem::Problem;
use super::row::{
    Ban, Bans, Connection, ConnectionDetail, Connections, Explained, Group, Groups, LastingMembership,
    LastingMemberships, Membership, NodeStats, Presence, PresentUser, PublicData, Records, Stats, User,
    Users,
};
use crate::access::{self, ApiKey};
use crate::admin::Gathered;
use crate::lists::{Key, Line, ListQuestion, Of, Place};

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
        let found = self.list(Of::Groups, Some(key), page)?;
        let (next, silent) = (next(found.next.as_ref()), found.silent);
        let group = |line| if let Line::Group(row) = line { Some(Group::from(row)) } else { None };
        Ok(Groups { groups: found.lines.into_iter().filter_map(group).collect(), next, silent })
    }

    pub(super) fn group(&self, key: &ApiKey, group: GroupName) -> Result<Group, Problem> {
        allow(key, Verb::Read, &Subject::Group(&group))?;
        let (connections, mut silent) = self.count(Who::Group(group.clone()));
        if connections == 0 {
            return Err(nobody(&silent, format!("nobody is in the group {group:?}")));
        }
        let found = self.queries.users_of(&group);
        let (users, users_at_most, others) = (found.users, found.at_most, found.silent);
        silent.extend(others);
        silent.sort_unstable();
        silent.dedup();
        Ok(Group { group, connections, users, users_at_most, silent })
    }

    pub(super) fn members(
        &self,
        key: &ApiKey,
        group: &GroupName,
        page: &PageQuery,
    ) -> Result<Connections, Problem> {
        allow(key, Verb::Read, &Subject::Group(group))?;
        self.list(Of::Members(group.clone()), None, page).map(connections)
    }

    /// Who is in a group: a snapshot.
    pub(super) fn present(
        &self,
        key: &ApiKey,
        group: &GroupName,
        page: &PageQuery,
    ) -> Result<Users, Problem> {
        allow(key, Verb::Read, &Subject::Group(group))?;
        self.list(Of::Present(group.clone()), None, page).map(users)
    }

    /// Who is present in a group, with what is said of them.
    pub(super) fn presence(
        &self,
        key: &ApiKey,
        group: &GroupName,
        page: &PageQuery,
    ) -> Result<Presence, Problem> {
        allow(key, Verb::Read, &Subject::Group(group))?;
        let Users { users, next, mut silent } =
            self.list(Of::Present(group.clone()), None, page).map(users)?;
        let names: Vec<UserName> = users.iter().map(|row| row.user.clone()).collect();
        let (mut said, others) = self.queries.said(group, &names);
        silent.extend(others);
        silent.sort_unstable();
        silent.dedup();
        let present = users.into_iter().map(|User { user, connections, .. }| {
            let data = said.remove(&user).map(PublicData::from);
            PresentUser { user, connections, data }
        });
        Ok(Presence { present: present.collect(), next, silent })
    }

    pub(super) fn users(&self, key: &ApiKey, page: &PageQuery) -> Result<Users, Problem> {
        self.list(Of::Users, Some(key), page).map(users)
    }

    pub(super) fn user(&self, key: &ApiKey, user: UserName) -> Result<User, Problem> {
        allow(key, Verb::Read, &Subject::User(&user))?;
        match self.count(Who::User(user.clone())) {
            (0, silent) => Err(nobody(&silent, format!("the user {user:?} has no connection"))),
            (connections, silent) => Ok(User { user, connections, silent }),
        }
    }

    pub(super) fn user_connections(
        &self,
        key: &ApiKey,
        user: &UserName,
        page: &PageQuery,
    ) -> Result<Connections, Problem> {
        allow(key, Verb::Read, &Subject::User(user))?;
        self.list(Of::User(user.clone()), None, page).map(connections)
    }

    pub(super) fn connections(&self, key: &ApiKey, page: &PageQuery) -> Result<Connections, Problem> {
        self.list(Of::Connections, Some(key), page).map(connections)
    }

    pub(super) fn connection(&self, key: &ApiKey, id: &ConnectionId) -> Result<ConnectionDetail, Problem> {
        let found = self.queries.find(id);
        let owner = found.as_ref().ok().and_then(|found| found.as_ref()).map(|detail| &detail.row.user);
        // Whoever may not see it is not told whether a node answered, either.
        allow(key, Verb::Read, &Subject::Connection(owner))?;
        let gone = || Problem::new(Code::NothingThere, format!("there is no connection {id}"));
        let detail = found?.ok_or_else(gone)?;
        let memberships = detail
            .memberships
            .into_iter()
            // Who may see a user need not be to know all of its groups.
            .filter(|row| key.allows(Verb::Read, &Subject::Group(&row.group)))
            .map(|row| Membership { origin: row.made_by(), group: row.group })
            .collect();
        Ok(ConnectionDetail {
            connection: Connection::from(detail.row),
            memberships,
            token_ends: detail.token_ends,
            token_id: detail.token_id.filter(|_| key.allows(Verb::Moderate, &Subject::All)),
        })
    }

    /// A page of a list of all nodes, in the order of what tells rows apart: those that a key may see, where one is
    /// given.
    fn list(&self, of: Of, key: Option<&ApiKey>, page: &PageQuery) -> Result<Gathered, Problem> {
        let limit = u32::try_from(page.rows()?).unwrap_or(u32::MAX);
        let is_by_id = matches!(of, Of::Connections | Of::Members(_) | Of::User(_));
        let place = |after: String| {
            let by = if is_by_id { after.parse().ok().map(Key::Id) } else { Some(Key::Text(after)) };
            by.map(|by| Place { by, id: None }).ok_or_else(unknown_cursor)
        };
        let question = ListQuestion {
            allow: key.map(|key| key.scopes().to_vec()),
            prefix: page.prefix().map(str::to_owned),
            after: page.after()?.map(place).transpose()?,
            ..ListQuestion::new(of, limit)
        };
        Ok(self.queries.gather(question, 0)?)
    }

    /// How many connections somebody has, and which nodes did not say so.
    fn count(&self, who: Who) -> (u64, Vec<String>) {
        let here = self.queries.hub.count(&Target::from(&who)) as u64;
        let (others, silent) =
            self.queries.cluster.as_ref().map(|cluster| cluster.count_here(who)).unwrap_or_default();
        (here + others, silent)
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
        let Explanation { verdict, lasting, summary, silent, .. } = explained;
        Ok(Explained { verdict, lasting, summary, silent })
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
            nodes: self
                .queries
                .nodes()
                .into_iter()
                .filter(|node| !node.is_lost)
                .map(NodeStats::from)
                .collect(),
        })
    }
}

/// The cursor of the page behind a row.
fn next(last: Option<&Place>) -> Option<String> {
    match &last?.by {
        Key::Id(id) => Some(PageQuery::cursor(&id.to_string())),
        Key::Text(name) => Some(PageQuery::cursor(name)),
        Key::Number(_) => None,
    }
}

fn connections(found: Gathered) -> Connections {
    let (next, silent) = (next(found.next.as_ref()), found.silent);
    let connection =
        |line| if let Line::Connection(row) = line { Some(Connection::from(*row)) } else { None };
    Connections { connections: found.lines.into_iter().filter_map(connection).collect(), next, silent }
}

fn users(found: Gathered) -> Users {
    let (next, silent) = (next(found.next.as_ref()), found.silent);
    let user = |line| if let Line::User(row) = line { Some(User::from(row)) } else { None };
    Users { users: found.lines.into_iter().filter_map(user).collect(), next, silent }
}

/// There is nobody; or that is not known.
fn nobody(silent: &[String], what: String) -> Problem {
    if silent.is_empty() {
        return Problem::new(Code::NothingThere, what);
    }
    let names = silent.join(", ");
    Problem::new(Code::CutOff, format!("{what} on the nodes that answered; {names} did not"))
}
