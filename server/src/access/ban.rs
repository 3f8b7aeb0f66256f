//! The bans in force: what is forbidden to whom, whatever a token grants.
//!
//! In: bans that are on disk already. Out: yes or no, at one moment, without waiting. Invariants: what is put in is in force
//! for whoever asks from then on; a ban past its end forbids nothing.

use std::collections::HashMap;

use fanfare_protocol::admin::{BanKind, BanRow};
use fanfare_protocol::{Code, GroupName, Pattern, UserName};

use super::{Pass, Seconds};
use crate::sync::RwLock;

/// What tells one ban from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BanKey {
    pub(crate) kind: BanKind,
    /// The user, or the token's id.
    pub(crate) subject: String,
    /// The pattern of groups; empty for other kinds.
    pub(crate) groups: String,
}

impl BanKey {
    /// That of a revocation.
    pub(crate) fn group(user: &UserName, groups: &Pattern) -> Self {
        let (subject, groups) = (user.as_str().to_owned(), groups.as_str().to_owned());
        Self { kind: BanKind::Group, subject, groups }
    }

    /// That of a ban from the server.
    pub(crate) fn user(user: &UserName) -> Self {
        Self { kind: BanKind::User, subject: user.as_str().to_owned(), groups: String::new() }
    }
}

impl From<&BanRow> for BanKey {
    fn from(ban: &BanRow) -> Self {
        let user = ban.user.as_ref().map(UserName::as_str);
        Self {
            kind: ban.kind,
            subject: user.or(ban.jti.as_deref()).unwrap_or_default().to_owned(),
            groups: ban.groups.as_ref().map_or("", |groups| groups.as_str()).to_owned(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Bans {
    rules: RwLock<Rules>,
}

/// By what is asked for.
#[derive(Default)]
struct Rules {
    groups: HashMap<String, Vec<BanRow>>,
    users: HashMap<String, BanRow>,
    sign_outs: HashMap<String, BanRow>,
    tokens: HashMap<String, BanRow>,
}

/// Whether it has not ended.
pub(crate) fn in_force(ban: &BanRow, now: Seconds) -> bool {
    ban.until.is_none_or(|until| until > now)
}

impl Bans {
    /// Puts a ban in force, in the place of one with the same key.
    pub(crate) fn put(&self, ban: BanRow) {
        let key = BanKey::from(&ban);
        let mut rules = self.rules.write();
        match ban.kind {
            BanKind::Group => {
                let of_user = rules.groups.entry(key.subject).or_default();
                of_user.retain(|known| known.groups != ban.groups);
                of_user.push(ban);
            }
            BanKind::User => drop(rules.users.insert(key.subject, ban)),
            BanKind::SignOut => drop(rules.sign_outs.insert(key.subject, ban)),
            BanKind::Token => drop(rules.tokens.insert(key.subject, ban)),
        }
    }

    /// Lifts a ban. Gives it back, if there was one.
    pub(crate) fn lift(&self, key: &BanKey) -> Option<BanRow> {
        let mut rules = self.rules.write();
        match key.kind {
            BanKind::Group => {
                let of_user = rules.groups.get_mut(&key.subject)?;
                let at = of_user.iter().position(|ban| BanKey::from(ban) == *key)?;
                let lifted = of_user.swap_remove(at);
                if of_user.is_empty() {
                    rules.groups.remove(&key.subject);
                }
                Some(lifted)
            }
            BanKind::User => rules.users.remove(&key.subject),
            BanKind::SignOut => rules.sign_outs.remove(&key.subject),
            BanKind::Token => rules.tokens.remove(&key.subject),
        }
    }

    /// The ban with this key, if it is in force.
    pub(crate) fn find(&self, key: &BanKey, now: Seconds) -> Option<BanRow> {
        let rules = self.rules.read();
        let found = match key.kind {
            BanKind::Group => {
                let of_user = rules.groups.get(&key.subject)?;
                of_user.iter().find(|ban| BanKey::from(*ban) == *key)
            }
            BanKind::User => rules.users.get(&key.subject),
            BanKind::SignOut => rules.sign_outs.get(&key.subject),
            BanKind::Token => rules.tokens.get(&key.subject),
        };
        found.filter(|ban| in_force(ban, now)).cloned()
    }

    /// Why this user may not be here with this pass.
    pub(crate) fn forbids_connection(&self, user: &UserName, pass: &Pass, now: Seconds) -> Option<Code> {
        let rules = self.rules.read();
        let holds = |ban: Option<&BanRow>| ban.is_some_and(|ban| in_force(ban, now));
        if holds(rules.users.get(user.as_str())) {
            return Some(Code::UserBanned);
        }
        // In the same second counts as before: a token says no more precisely when it was issued.
        let signed_out = rules.sign_outs.get(user.as_str()).filter(|ban| pass.issued <= ban.since);
        let token = pass.token.as_ref().and_then(|id| rules.tokens.get(id));
        (holds(signed_out) || holds(token)).then_some(Code::TokenRevoked)
    }

    /// Whether the group is forbidden to the user.
    pub(crate) fn forbids_group(&self, user: &UserName, group: &GroupName, now: Seconds) -> bool {
        let rules = self.rules.read();
        let of_user = rules.groups.get(user.as_str());
        of_user.is_some_and(|bans| bans.iter().any(|ban| matches(ban, group) && in_force(ban, now)))
    }

    /// The bans that keep the user from the group, for somebody who asks why.
    pub(crate) fn of_group(&self, user: &UserName, group: &GroupName, now: Seconds) -> Vec<BanRow> {
        let rules = self.rules.read();
        let by_group = rules.groups.get(user.as_str()).into_iter().flatten();
        let of_user = rules.users.get(user.as_str());
        let matching = by_group.filter(|ban| matches(ban, group)).chain(of_user);
        matching.filter(|ban| in_force(ban, now)).cloned().collect()
    }

    /// All in force, in the order of their keys.
    pub(crate) fn list(&self, now: Seconds) -> Vec<BanRow> {
        let rules = self.rules.read();
        let groups = rules.groups.values().flatten();
        let others = rules.users.values().chain(rules.sign_outs.values()).chain(rules.tokens.values());
        let mut bans: Vec<BanRow> = groups.chain(others).filter(|ban| in_force(ban, now)).cloned().collect();
        drop(rules);
        bans.sort_by_cached_key(|ban| BanKey::from(ban));
        bans
    }

    /// Forgets those that have ended. Gives their keys.
    pub(crate) fn prune(&self, now: Seconds) -> Vec<BanKey> {
        let rules = self.rules.read();
        let groups = rules.groups.values().flatten();
        let others = rules.users.values().chain(rules.sign_outs.values()).chain(rules.tokens.values());
        let ended: Vec<BanKey> =
            groups.chain(others).filter(|ban| !in_force(ban, now)).map(BanKey::from).collect();
        drop(rules);
        for key in &ended {
            self.lift(key);
        }
        ended
    }
}

fn matches(ban: &BanRow, group: &GroupName) -> bool {
    ban.groups.as_ref().is_some_and(|groups| groups.matches(group.as_str()))
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;
    use crate::access::grant::Grants;

    fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    fn ban(kind: BanKind, subject: &str, groups: Option<&str>, until: Option<u64>) -> BanRow {
        BanRow {
            kind,
            user: (kind != BanKind::Token).then(|| user(subject)),
            groups: groups.map(|groups| Pattern::new(groups).unwrap()),
            jti: (kind == BanKind::Token).then(|| subject.to_owned()),
            since: 100,
            until,
            reason: String::new(),
            author: "oncall".to_owned(),
        }
    }

    fn pass(issued: Seconds, token: Option<&str>) -> Pass {
        Pass { grants: Grants::everything(), ends: Seconds::MAX, issued, token: token.map(str::to_owned) }
    }

    #[test]
    fn each_kind_forbids_what_it_says_until_it_ends() {
        let bans = Bans::default();
        let group = |name: &str| GroupName::new(name).unwrap();
        bans.put(ban(BanKind::Group, "alice", Some("room-*"), Some(200)));
        assert!(bans.forbids_group(&user("alice"), &group("room-1"), 199));
        assert!(!bans.forbids_group(&user("alice"), &group("room-1"), 200));
        assert!(!bans.forbids_group(&user("alice"), &group("lobby"), 150));
        assert!(!bans.forbids_group(&user("Alice"), &group("room-1"), 150));
        assert_eq!(bans.forbids_connection(&user("alice"), &pass(0, None), 150), None);

        bans.put(ban(BanKind::User, "bob", None, None));
        assert_eq!(bans.forbids_connection(&user("bob"), &pass(999, None), 999), Some(Code::UserBanned));
        bans.put(ban(BanKind::SignOut, "carol", None, None));
        for (issued, forbidden) in [(0, true), (99, true), (100, true), (101, false)] {
            let found = bans.forbids_connection(&user("carol"), &pass(issued, None), 150);
            assert_eq!(found.is_some(), forbidden, "{issued}");
        }
        bans.put(ban(BanKind::Token, "t1", None, Some(300)));
        assert_eq!(
            bans.forbids_connection(&user("x"), &pass(999, Some("t1")), 299),
            Some(Code::TokenRevoked)
        );
        assert_eq!(bans.forbids_connection(&user("x"), &pass(999, Some("t1")), 300), None);
        assert_eq!(bans.forbids_connection(&user("x"), &pass(999, Some("t2")), 150), None);

        assert_eq!(bans.list(250).len(), 3);
        assert_eq!(bans.prune(250).len(), 1);
        assert_eq!(bans.list(0).len(), 3, "what has ended is forgotten");
        for ban in bans.list(250) {
            assert!(bans.lift(&BanKey::from(&ban)).is_some());
        }
        assert_eq!(bans.list(0), []);
    }

    #[test]
    fn a_ban_with_the_same_key_takes_the_place_of_the_first() {
        let bans = Bans::default();
        bans.put(ban(BanKind::Group, "alice", Some("a"), None));
        bans.put(ban(BanKind::Group, "alice", Some("a"), Some(200)));
        bans.put(ban(BanKind::Group, "alice", Some("b"), None));
        assert_eq!(bans.list(150).len(), 2);
        assert_eq!(bans.list(250).len(), 1);
        assert!(bans.lift(&BanKey::from(&ban(BanKind::Group, "alice", Some("c"), None))).is_none());
    }
}
