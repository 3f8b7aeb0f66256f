//! Answers whether a user may join a group, and why: asked of the gate, as the door asks it.
//!
//! In: a user, a group, perhaps a token, and the moment. Out: an [`Explanation`], with the user's connections on all
//! nodes of a cluster. Invariant: it decides nothing by itself, so that who is told "may" gets in, and who is told "may
//! not" does not (test `explain_and_the_door_agree`).

use std::sync::Arc;

use fanfare_protocol::admin::{
    BanKind, BanRow, ConnectionVerdict, Explanation, May, MembershipOrigin, Refusal, TokenVerdict, Verdict,
    Watching,
};
use fanfare_protocol::{Code, Denial, GroupName, Target, Token, UserName};
use fanfare_token::{Permissions, Seconds};

use super::query::{Queries, some_time};
use super::rows::made_by;
use crate::application::Decides;
use crate::cluster::Verdicts;
use crate::hub::Member;

impl Queries {
    pub(crate) fn explain(
        &self,
        user: &UserName,
        group: &GroupName,
        token: Option<&Token>,
        now: Seconds,
    ) -> Explanation {
        let here = self.verdicts_here(user, group, now, usize::MAX);
        let (others, silent) =
            self.cluster.as_ref().map(|side| side.verdicts(user, group)).unwrap_or_default();
        let Verdicts { mut connections, more: mut more_connections, tokens: mut ids } = here;
        if let Some(side) = &self.cluster {
            connections.iter_mut().for_each(|verdict| verdict.node = Some(side.name().to_owned()));
        }
        for Verdicts { connections: more, more: left_out, tokens } in others {
            connections.extend(more);
            more_connections += left_out;
            ids.extend(tokens);
        }
        connections.sort_by_key(|verdict| verdict.connection);
        let connecting = self.connecting(user, now);
        let token = token.map(|token| self.of_token(user, group, token, now, &mut ids));
        let bans = self.gate.bans().concerning(user, group, &ids, now);

        let refused = connections.iter().filter(|one| one.refusal.is_some()).count();
        let lasting = self.gate.bans().lasting().may(user, group, now);
        let is_barred = self.gate.bans().forbids_group(user, group, now) || lasting == Some(May::Send);
        let verdict = match &token {
            Some(token) if token.connect.is_none() && token.join.is_none() => Verdict::May,
            Some(_) => Verdict::MayNot,
            None if connections.is_empty() && (is_barred || !connecting.is_empty()) => Verdict::MayNot,
            None if connections.is_empty() => Verdict::Depends,
            None if refused == 0 => Verdict::May,
            None if refused == connections.len() => Verdict::MayNot,
            None => Verdict::Depends,
        };
        let by_application = self.application_decides(verdict, token.as_ref(), &connections, is_barred);
        let verdict = if by_application { Verdict::Depends } else { verdict };
        let mut explained = Explanation {
            user: user.clone(),
            group: group.clone(),
            verdict,
            may_join: verdict == Verdict::May,
            bans,
            connecting,
            token,
            connections,
            more_connections,
            silent,
            by_application,
            lasting,
            summary: String::new(),
        };
        explained.summary = summary(&explained);
        if !explained.silent.is_empty() {
            let names: Vec<_> = explained.silent.iter().map(|name| fanfare_protocol::visible(name)).collect();
            explained.summary += &format!("; {} did not answer", names.join(", "));
        }
        explained
    }

    /// Whether the application may say otherwise than the gate does. It is asked behind the gate, so that what the gate
    /// refuses for good stays refused; but where it lets somebody in it may grant what the token does not.
    fn application_decides(
        &self,
        verdict: Verdict,
        token: Option<&TokenVerdict>,
        connections: &[ConnectionVerdict],
        is_barred: bool,
    ) -> bool {
        let Decides { connections: lets_in, joins } = self.decides;
        match (token, verdict) {
            (Some(TokenVerdict { connect: None, .. }), Verdict::May) => lets_in || joins,
            // What no grant covers it may grant.
            (Some(TokenVerdict { connect: None, join: Some(refusal), .. }), _) => {
                lets_in && !is_barred && refusal.code == Code::NotGranted.number()
            }
            (Some(_), _) => false,
            // Whoever is in the group already is not asked about.
            (None, Verdict::May) => joins && connections.iter().any(|connection| !connection.member),
            (None, _) => false,
        }
    }

    /// What keeps every new connection of the user out.
    fn connecting(&self, user: &UserName, now: Seconds) -> Vec<Refusal> {
        let full = [self.is_full(), self.is_user_full(user)].into_iter().flatten().map(Denial::from);
        self.gate.keeps_out(user, now).into_iter().chain(full).map(Refusal::from).collect()
    }

    fn is_full(&self) -> Option<Code> {
        self.admission.is_full().then_some(Code::ServerFull)
    }

    fn is_user_full(&self, user: &UserName) -> Option<Code> {
        let connections = self.hub.count(&Target::User(user.clone()));
        (connections >= self.hub.limits().per_user).then_some(Code::UserFull)
    }

    fn of_token(
        &self,
        user: &UserName,
        group: &GroupName,
        token: &Token,
        now: Seconds,
        ids: &mut Vec<String>,
    ) -> TokenVerdict {
        // In the order of the door: is there room, who is it, may it be here, is there room for one more of this user.
        let mut let_in = || -> Result<Permissions, Denial> {
            self.is_full().map_or(Ok(()), Err)?;
            let (named, permissions) = self.gate.verify(token.expose(), now)?;
            ids.extend(permissions.token.clone());
            if named != *user {
                return Err(Code::OtherUser.into());
            }
            self.gate.enter(user, &permissions, now)?;
            self.is_user_full(user).map_or(Ok(()), Err)?;
            Ok(permissions)
        };
        match let_in() {
            Err(denial) => TokenVerdict { connect: Some(denial.into()), join: None, watch: None },
            Ok(permissions) => {
                let join = self.gate.join(user, &permissions, group, now).err();
                let watch = self.gate.watch(user, &permissions, group, now);
                TokenVerdict {
                    connect: None,
                    join: join.map(Refusal::from),
                    watch: Some(watching(watch, Watching::May)),
                }
            }
        }
    }

    pub(super) fn of_connection(
        &self,
        member: &Arc<Member>,
        group: &GroupName,
        now: Seconds,
    ) -> ConnectionVerdict {
        let permissions = member.permissions();
        let until = permissions.grants.join_until(group);
        let memberships = member.memberships();
        let origin = memberships.iter().find(|(name, _)| name == group).map(|(_, origin)| made_by(*origin));
        let watches = member.watches();
        let is_full = memberships.len() + watches.len() >= self.hub.limits().groups;
        // To join a group that it is in does nothing, and is no error.
        let denial = match origin {
            Some(_) => None,
            None if is_full => Some(self.hub.too_many_groups()),
            None => self.gate.join(member.user(), &permissions, group, now).err(),
        };
        // To watch a group that it watches begins anew, and is asked about.
        let may_watch = self.gate.watch(member.user(), &permissions, group, now);
        let watch = if watches.contains(group) {
            watching(may_watch, Watching::Watches)
        } else {
            let has_room = if is_full { Err(self.hub.too_many_groups()) } else { Ok(()) };
            watching(may_watch.and(has_room), Watching::May)
        };
        ConnectionVerdict {
            connection: member.id(),
            granted: until > now,
            refusal: denial.map(Refusal::from),
            held_back: member.is_held_back(),
            watch: Some(watch),
            until: some_time(until).filter(|until| *until > now && *until < permissions.ends),
            member: origin.is_some(),
            by_operator: origin.is_some_and(MembershipOrigin::needs_no_grant),
            origin,
            node: None,
        }
    }
}

fn watching(may: Result<(), Denial>, how: Watching) -> Watching {
    may.map_or_else(|denial| Watching::MayNot(denial.into()), |()| how)
}

/// The answer in a sentence.
fn summary(explained: &Explanation) -> String {
    let Explanation { verdict, bans, connecting, token, connections, lasting, .. } = explained;
    let granted = match lasting {
        Some(May::Both | May::Receive) => {
            "it is there whenever it is here (a lasting membership), and nothing forbids it"
        }
        _ => of_connections(connections),
    };
    let (user, group) = (&explained.user, &explained.group);
    let answer = match verdict {
        Verdict::May => format!("{user:?} may join {group:?}"),
        Verdict::MayNot => format!("{user:?} may not join {group:?}"),
        Verdict::Depends if explained.by_application => {
            format!("whether {user:?} may join {group:?} depends on the application")
        }
        Verdict::Depends => format!("whether {user:?} may join {group:?} depends on the token"),
    };
    if let Some(token) = token {
        let why = match (&token.connect, &token.join) {
            (Some(refusal), _) => format!("with this token it cannot connect: {refusal}"),
            (None, Some(refusal)) => format!("with this token it can connect, and not join: {refusal}"),
            (None, None) if lasting.is_some() => granted.to_owned(),
            (None, None) => "this token grants it, and nothing forbids it".to_owned(),
        };
        let why =
            if explained.by_application { format!("{why}; the application is asked, too") } else { why };
        return format!("{answer}: {why}");
    }
    // A ban says who wanted it and why, which is more than what the user is told.
    let ban = bans.iter().find(|ban| ban.kind != BanKind::SignOut && ban.kind != BanKind::Token);
    if let Some(ban) = ban.filter(|_| *verdict == Verdict::MayNot) {
        let forbidding = bans.iter().filter(|ban| matches!(ban.kind, BanKind::Group | BanKind::User)).count();
        let more = if forbidding > 1 { format!("; so do {} more", forbidding - 1) } else { String::new() };
        return format!("{answer}: {}{more}", by(ban));
    }
    let why = match (connections.len(), verdict) {
        (0, Verdict::MayNot) if connecting.is_empty() => {
            "by a lasting membership it may send there, and not be a member".to_owned()
        }
        (0, Verdict::MayNot) => {
            let refusal = connecting.first().map(Refusal::to_string).unwrap_or_default();
            format!("it is not connected, and cannot connect now: {refusal}")
        }
        (0, _) => match bans.iter().find(|ban| ban.kind == BanKind::SignOut) {
            Some(ban) => format!("it is not connected, and {}: an older token will not do", by(ban)),
            None if lasting.is_some() => {
                "it is not connected; it is there whenever it is (a lasting membership)".to_owned()
            }
            None => "no ban keeps it out, but it is not connected, so what its token grants is not known"
                .to_owned(),
        },
        (_, Verdict::Depends) if explained.by_application => {
            format!("{granted}; the application is asked, too")
        }
        (_, Verdict::May) => granted.to_owned(),
        (1, _) => connections
            .iter()
            .find_map(|one| one.refusal.as_ref())
            .map(Refusal::to_string)
            .unwrap_or_default(),
        (all, Verdict::MayNot) => format!("none of its {all} connections may, each for its own reason below"),
        (all, Verdict::Depends) => {
            let may = connections.iter().filter(|one| one.refusal.is_none()).count();
            format!("{may} of its {all} connections may")
        }
    };
    format!("{answer}: {why}")
}

/// Why all of a user's connections may.
fn of_connections(connections: &[ConnectionVerdict]) -> &'static str {
    // Whoever may without a grant is in it already.
    let mut without = connections.iter().filter(|one| !one.granted).peekable();
    match without.peek().map(|one| one.origin) {
        None => "its token grants it, and nothing forbids it",
        _ if without.count() < connections.len() => {
            "its connections are in it already, or their tokens grant it, and nothing forbids it"
        }
        Some(Some(MembershipOrigin::Operator)) => "it is in it already, by an operator's word",
        Some(Some(MembershipOrigin::Application)) => "it is in it already, by the application's word",
        Some(_) => "it is in it already, and nothing forbids it",
    }
}

/// What an operator did.
fn by(ban: &BanRow) -> String {
    let what = match (&ban.groups, ban.kind) {
        (Some(groups), _) => format!("its access to {groups:?} was revoked"),
        (None, BanKind::SignOut) => "it was signed out".to_owned(),
        (None, BanKind::Token) => "its token was revoked".to_owned(),
        (None, BanKind::User | BanKind::Group) => "it is banned from the server".to_owned(),
    };
    let reason = if ban.reason.is_empty() { String::new() } else { format!(" ({:?})", ban.reason) };
    format!("{what} by {}{reason}", fanfare_protocol::visible(&ban.author))
}

#[cfg(test)]
mod tests;
