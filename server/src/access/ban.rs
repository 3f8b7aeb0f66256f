//! The bans in force: what is forbidden to whom, whatever a token grants.
//!
//! In: bans that are on disk already. Out: yes or no, at one moment, without waiting. Invariants: what is put in is in
//! force for whoever asks from then on; a ban past its end forbids nothing; a sign-out and the ban of a token do not
//! end before the last token that they are about, however far apart the clocks of issuer, operator and server are
//! within the leeway.
//!
//! A sign-out is over when every token that it is about has ended: none lasts longer than `longest` from when it says
//! that it was issued (`verify.rs` of fanfare-token). A token that does not say so is refused until the sign-out is
//! over, whatever its end. One function ([`Bans::in_force`]) says whether a ban is over, to those who decide, list,
//! explain, lift and forget.

use std::collections::HashMap;

use fanfare_protocol::admin::{BanKind, BanRow};
use fanfare_protocol::{Code, Denial, GroupName, Pattern, UserName};
use fanfare_token::{Permissions, Proof, Seconds};
use parking_lot::RwLock;

use super::lasting::Lasting;
use super::moment;

/// What the author's name begins with where it is an API key. No operator can have such a name.
pub(crate) const KEY_AUTHOR: &str = "key:";

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
        Self::of(BanKind::User, user.as_str())
    }

    /// That of a sign-out.
    pub(crate) fn sign_out(user: &UserName) -> Self {
        Self::of(BanKind::SignOut, user.as_str())
    }

    /// That of a revoked token.
    pub(crate) fn token(jti: &str) -> Self {
        Self::of(BanKind::Token, jti)
    }

    fn of(kind: BanKind, subject: &str) -> Self {
        Self { kind, subject: subject.to_owned(), groups: String::new() }
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
    validity: Validity,
    /// What was decided in favour of users, who decides and asks about the one has to do with the other.
    lasting: Lasting,
}

/// How long a token can be valid: what ends a sign-out, and when a ban of a token may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Validity {
    /// How far clocks may be apart.
    pub(crate) leeway: Seconds,
    /// How long a token lasts at most. `None`: that is not known, so that a sign-out has no end.
    pub(crate) longest: Option<Seconds>,
}

impl Validity {
    /// When a ban ends. The issuer's clock may be ahead when it makes a token, and behind when it says when that ends.
    fn end(self, ban: &BanRow) -> Option<Seconds> {
        let apart = self.leeway.saturating_mul(2);
        match ban.kind {
            BanKind::Group | BanKind::User => ban.until,
            BanKind::Token => ban.until.map(|until| until.saturating_add(apart)),
            BanKind::SignOut => {
                self.longest.map(|longest| ban.since.saturating_add(longest).saturating_add(apart))
            }
        }
    }

    /// Whether it has not ended.
    fn in_force(self, ban: &BanRow, now: Seconds) -> bool {
        self.end(ban).is_none_or(|end| end > now)
    }
}

/// By what is asked for.
#[derive(Default)]
struct Rules {
    groups: HashMap<String, Vec<BanRow>>,
    users: HashMap<String, BanRow>,
    sign_outs: HashMap<String, BanRow>,
    tokens: HashMap<String, BanRow>,
}

impl Bans {
    pub(crate) fn new(validity: Validity) -> Self {
        Self { rules: RwLock::new(Rules::default()), validity, lasting: Lasting::default() }
    }

    /// Lasting memberships.
    pub(crate) fn lasting(&self) -> &Lasting {
        &self.lasting
    }

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
        found.filter(|ban| self.in_force(ban, now)).cloned()
    }

    /// Whether a ban forbids anything at this moment, once it is put in force.
    pub(crate) fn in_force(&self, ban: &BanRow, now: Seconds) -> bool {
        self.validity.in_force(ban, now)
    }

    /// Whether a user is banned from the server, whatever it shows.
    pub(crate) fn forbids_user(&self, user: &UserName, now: Seconds) -> bool {
        self.rules.read().users.get(user.as_str()).is_some_and(|ban| self.in_force(ban, now))
    }

    /// Whether this user may be here with these permissions.
    pub(crate) fn permit_connection(
        &self,
        user: &UserName,
        permissions: &Permissions,
        now: Seconds,
    ) -> Result<(), Denial> {
        let rules = self.rules.read();
        let holds = |ban: &&BanRow| self.in_force(ban, now);
        if rules.users.get(user.as_str()).filter(holds).is_some() {
            return Err(Code::UserBanned.into());
        }
        if permissions.token.as_ref().and_then(|id| rules.tokens.get(id)).filter(holds).is_some() {
            return Err(Code::TokenRevoked.into());
        }
        match rules.sign_outs.get(user.as_str()).filter(holds).filter(|ban| signs_out(ban, permissions)) {
            Some(ban) => Err(self.signed_out(ban, permissions)),
            None => Ok(()),
        }
    }

    /// What one who was signed out is told: from when on a new sign-in will do.
    fn signed_out(&self, ban: &BanRow, permissions: &Permissions) -> Denial {
        // Earlier ones may have been issued before the sign-out, by a clock that is ahead.
        let from = moment(ban.since.saturating_add(self.validity.leeway).saturating_add(1));
        let detail = match (permissions.proof, permissions.issued) {
            (Proof::Certificate, _) => {
                format!(
                    "The user was signed out. A certificate whose validity begins at {from} or later will do."
                )
            }
            (_, Some(_)) => format!("The user was signed out. What was issued from {from} on will do."),
            (_, None) => {
                let end = self.validity.end(ban).map(moment);
                let end = end.map_or(String::new(), |end| format!("; and any from {end} on"));
                format!(
                    "The user was signed out, and this token does not say when it was issued (claim \"iat\"). One that says so, and \
                     was issued from {from} on, will do{end}."
                )
            }
        };
        Denial { code: Code::SignedOut, detail }
    }

    /// Whether the group is forbidden to the user.
    pub(crate) fn forbids_group(&self, user: &UserName, group: &GroupName, now: Seconds) -> bool {
        let rules = self.rules.read();
        let of_user = rules.groups.get(user.as_str());
        of_user.is_some_and(|bans| bans.iter().any(|ban| matches(ban, group) && self.in_force(ban, now)))
    }

    /// The bans that have to do with the user and the group, for somebody who asks why: also a sign-out, which is about
    /// some of the user's tokens, and those of `tokens`.
    pub(crate) fn concerning(
        &self,
        user: &UserName,
        group: &GroupName,
        tokens: &[String],
        now: Seconds,
    ) -> Vec<BanRow> {
        let rules = self.rules.read();
        let by_group = rules.groups.get(user.as_str()).into_iter().flatten();
        let of_user = rules.users.get(user.as_str());
        let sign_out = rules.sign_outs.get(user.as_str());
        let of_tokens = tokens.iter().filter_map(|id| rules.tokens.get(id));
        let all = by_group.filter(|ban| matches(ban, group)).chain(of_user).chain(sign_out).chain(of_tokens);
        all.filter(|ban| self.in_force(ban, now)).map(|ban| self.shown(ban)).collect()
    }

    /// A ban as it is told of: a sign-out's end follows from the configuration of this moment, and is never kept.
    fn shown(&self, ban: &BanRow) -> BanRow {
        let mut shown = ban.clone();
        if ban.kind == BanKind::SignOut {
            shown.until = self.validity.end(ban);
        }
        shown
    }

    /// All as they were put in force, for a store that lost them.
    pub(crate) fn all(&self) -> Vec<BanRow> {
        let rules = self.rules.read();
        let groups = rules.groups.values().flatten();
        let others = rules.users.values().chain(rules.sign_outs.values()).chain(rules.tokens.values());
        groups.chain(others).cloned().collect()
    }

    /// How many of them API keys have made.
    pub(crate) fn of_keys(&self) -> usize {
        let rules = self.rules.read();
        let groups = rules.groups.values().flatten();
        let others = rules.users.values().chain(rules.sign_outs.values()).chain(rules.tokens.values());
        groups.chain(others).filter(|ban| ban.author.starts_with(KEY_AUTHOR)).count()
    }

    /// All in force, in the order of their keys.
    pub(crate) fn list(&self, now: Seconds) -> Vec<BanRow> {
        let mut bans = self.all();
        bans.retain(|ban| self.in_force(ban, now));
        for ban in &mut bans {
            *ban = self.shown(ban);
        }
        bans.sort_by_cached_key(|ban| BanKey::from(ban));
        bans
    }

    /// Forgets those that have ended. Gives their keys.
    pub(crate) fn prune(&self, now: Seconds) -> Vec<BanKey> {
        let mut ended = Vec::new();
        let mut stays = |ban: &BanRow| {
            let stays = self.validity.in_force(ban, now);
            if !stays {
                ended.push(BanKey::from(ban));
            }
            stays
        };
        // Under one lock: one that is put meanwhile in the place of one that has ended stays.
        let Rules { groups, users, sign_outs, tokens } = &mut *self.rules.write();
        groups.retain(|_, bans| {
            bans.retain(&mut stays);
            !bans.is_empty()
        });
        for bans in [users, sign_outs, tokens] {
            bans.retain(|_, ban| stays(ban));
        }
        ended
    }
}

/// Whether a sign-out is about these permissions. In the same second counts as before: a token says no more precisely
/// when it was issued. One that does not say it at all may be from before.
pub(crate) fn signs_out(ban: &BanRow, permissions: &Permissions) -> bool {
    permissions.issued.is_none_or(|issued| issued <= ban.since)
}

fn matches(ban: &BanRow, group: &GroupName) -> bool {
    ban.groups.as_ref().is_some_and(|groups| groups.matches(group.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_token::Grants;

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

    fn permissions(earliest: Seconds, token: Option<&str>) -> Permissions {
        Permissions {
            grants: Grants::everything(),
            ends: Seconds::MAX,
            issued: Some(earliest),
            token: token.map(str::to_owned),
            proof: Proof::Token,
        }
    }

    fn forbids(bans: &Bans, name: &str, permissions: &Permissions, now: Seconds) -> Option<Code> {
        bans.permit_connection(&user(name), permissions, now).err().map(|denial| denial.code)
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
        assert_eq!(forbids(&bans, "alice", &permissions(0, None), 150), None);

        bans.put(ban(BanKind::User, "bob", None, None));
        assert_eq!(forbids(&bans, "bob", &permissions(999, None), 999), Some(Code::UserBanned));
        bans.put(ban(BanKind::SignOut, "carol", None, None));
        for (issued, forbidden) in [(0, true), (99, true), (100, true), (101, false)] {
            let found = forbids(&bans, "carol", &permissions(issued, None), 150);
            assert_eq!(found, forbidden.then_some(Code::SignedOut), "{issued}");
        }
        bans.put(ban(BanKind::Token, "t1", None, Some(300)));
        assert_eq!(forbids(&bans, "x", &permissions(999, Some("t1")), 299), Some(Code::TokenRevoked));
        assert_eq!(forbids(&bans, "x", &permissions(999, Some("t1")), 300), None);
        assert_eq!(forbids(&bans, "x", &permissions(999, Some("t2")), 150), None);

        assert_eq!(bans.list(250).len(), 3);
        assert_eq!(bans.prune(250).len(), 1);
        assert_eq!(bans.list(0).len(), 3, "what has ended is forgotten");
        for ban in bans.list(250) {
            assert!(bans.lift(&BanKey::from(&ban)).is_some());
        }
        assert_eq!(bans.list(0), []);
    }

    #[test]
    fn a_sign_out_ends_when_no_token_that_it_is_about_can_be_valid() {
        // Tokens last an hour, and clocks are up to half a minute apart: a token that says it was issued 30 s after the
        // sign-out ends, by the issuer's clock, an hour later, and is taken for 30 s more.
        let bans = Bans::new(Validity { leeway: 30, longest: Some(3_600) });
        bans.put(ban(BanKind::SignOut, "carol", None, None));
        let last = 100 + 30 + 3_600 + 30;
        assert_eq!(bans.list(last - 1).iter().map(|ban| ban.until).collect::<Vec<_>>(), [Some(last)]);
        assert_eq!(forbids(&bans, "carol", &permissions(100, None), last - 1), Some(Code::SignedOut));
        assert_eq!(bans.list(last), []);
        // Who decides says so, too, and whoever explains: it refused for ever what was listed no more.
        assert_eq!(forbids(&bans, "carol", &permissions(100, None), last), None);
        let group = GroupName::new("g").unwrap();
        assert_eq!(bans.concerning(&user("carol"), &group, &[], last), []);
        assert_eq!(bans.concerning(&user("carol"), &group, &[], last - 1)[0].until, Some(last));
        assert_eq!(bans.all()[0].until, None, "what is kept is not what is shown");
        assert_eq!(bans.prune(last), [BanKey::sign_out(&user("carol"))]);
        assert_eq!(bans.all(), []);
        // Without a bound on tokens there is none on a sign-out.
        let bans = Bans::new(Validity { leeway: 30, longest: None });
        bans.put(ban(BanKind::SignOut, "carol", None, None));
        assert_eq!(forbids(&bans, "carol", &permissions(100, None), Seconds::MAX - 1), Some(Code::SignedOut));
    }

    #[test]
    fn whoever_was_signed_out_is_told_from_when_on_a_new_sign_in_will_do() {
        let bans = Bans::new(Validity { leeway: 30, longest: Some(3_600) });
        bans.put(BanRow { since: 1_795_511_800, ..ban(BanKind::SignOut, "carol", None, None) });
        let mut permissions = permissions(1_795_511_800, None);
        let told = bans.permit_connection(&user("carol"), &permissions, 1_795_511_801).unwrap_err();
        assert_eq!(
            told.detail,
            "The user was signed out. What was issued from 2026-11-24T09:17:11Z on will do."
        );
        permissions.proof = Proof::Certificate;
        let told = bans.permit_connection(&user("carol"), &permissions, 1_795_511_801).unwrap_err();
        assert!(told.detail.contains("validity begins at 2026-11-24T09:17:11Z or later"), "{told:?}");
        permissions.proof = Proof::Token;
        permissions.issued = None;
        let told = bans.permit_connection(&user("carol"), &permissions, 1_795_511_801).unwrap_err();
        assert!(told.detail.ends_with("; and any from 2026-11-24T10:17:40Z on."), "{told:?}");
        assert!(told.detail.contains("does not say when it was issued"), "{told:?}");
        assert!(told.detail.contains("2026-11-24T09:17:11Z"), "{told:?}");
    }

    #[test]
    fn a_revoked_token_is_out_until_its_end_has_passed_on_every_clock() {
        let bans = Bans::new(Validity { leeway: 30, longest: Some(3_600) });
        bans.put(ban(BanKind::Token, "t1", None, Some(300)));
        // The token says that it ends at 300, and is taken until 330.
        for (now, forbidden) in [(299, true), (300, true), (329, true), (359, true), (360, false)] {
            let found = forbids(&bans, "x", &permissions(0, Some("t1")), now);
            assert_eq!(found, forbidden.then_some(Code::TokenRevoked), "{now}");
        }
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
