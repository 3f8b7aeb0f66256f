//! Decides who gets in and what a connection may do: the one place that asks tokens, grants and bans.
//!
//! In: a token or a connection's permissions, what is wanted, and the moment. Out: yes, or a [`Denial`]. The door
//! (`handshake.rs`, `router.rs`) and the answer to `explain` ask the same functions, so that they cannot contradict
//! each other (test `explain_and_the_door_agree`). Invariants: what nothing allows is denied; nothing here waits, so
//! that it can be asked inside a critical section.

use std::sync::Arc;

use fanfare_hub::Origin;
use fanfare_protocol::admin::May;
use fanfare_protocol::{Code, ConnectionId, Denial, GroupName, UserName};
use fanfare_token::{Permissions, Seconds};

use super::{Bans, Names, Tokens};
use crate::lease::Lease;

/// What decides.
pub(crate) struct Gate {
    tokens: Arc<Tokens>,
    bans: Arc<Bans>,
    names: Names,
    lease: Arc<Lease>,
}

/// Whom a send reaches or a count is about, as far as permission goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Recipient<'a> {
    Group(&'a GroupName),
    User(&'a UserName),
    /// A connection, with its user where it is there.
    Connection(&'a ConnectionId, Option<&'a UserName>),
    All,
}

impl Gate {
    pub(crate) fn new(tokens: Arc<Tokens>, bans: Arc<Bans>) -> Self {
        Self { tokens, bans, names: Names::default(), lease: Arc::default() }
    }

    /// The same, for a node that may not have the lease.
    pub(crate) fn leased(mut self, lease: Arc<Lease>) -> Self {
        self.lease = lease;
        self
    }

    /// Whether what was decided is known here: without that nobody is let in, and nothing is sent (promise 19).
    fn up_to_date(&self) -> Result<(), Denial> {
        if self.lease.holds() { Ok(()) } else { Err(Code::CutOff.into()) }
    }

    /// The same, with other names.
    pub(crate) fn taking(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    pub(crate) fn bans(&self) -> &Bans {
        &self.bans
    }

    /// Whether a user is in a group whenever it is here.
    pub(crate) fn has_lasting(&self, user: &UserName, group: &GroupName, now: Seconds) -> bool {
        self.bans.lasting().may(user, group, now).is_some_and(May::receives)
    }

    /// The groups that a user is put into when it connects.
    pub(crate) fn lasting_groups(&self, user: &UserName, now: Seconds) -> Vec<GroupName> {
        self.bans.lasting().groups(user, now)
    }

    /// Who a token says, and what it allows.
    pub(crate) fn verify(&self, token: &str, now: Seconds) -> Result<(UserName, Permissions), Denial> {
        self.tokens.verify(token, now)
    }

    /// The same; `None` where keys have to be fetched first.
    pub(crate) fn verify_now(
        &self,
        token: &str,
        now: Seconds,
    ) -> Option<Result<(UserName, Permissions), Denial>> {
        self.tokens.verify_now(token, now)
    }

    /// The same, at this moment, but waits a little for keys that have to be fetched first.
    pub(crate) async fn verify_or_fetch(&self, token: &str) -> Result<(UserName, Permissions), Denial> {
        self.tokens.verify_or_fetch(token).await
    }

    /// Whether a user may be here with these permissions.
    pub(crate) fn enter(
        &self,
        user: &UserName,
        permissions: &Permissions,
        now: Seconds,
    ) -> Result<(), Denial> {
        if permissions.ends <= now {
            return Err(Code::TokenExpired.into());
        }
        self.up_to_date()?;
        self.names.permit("user", user.as_str())?;
        self.bans.permit_connection(user, permissions, now)
    }

    /// Why a user may be nowhere, whatever it shows; in the order of [`Gate::enter`].
    pub(crate) fn keeps_out(&self, user: &UserName, now: Seconds) -> Option<Denial> {
        let name = self.names.permit("user", user.as_str()).err();
        name.or_else(|| self.bans.forbids_user(user, now).then(|| Code::UserBanned.into()))
    }

    /// Whether a connection may become a member of a group.
    pub(crate) fn join(
        &self,
        user: &UserName,
        permissions: &Permissions,
        group: &GroupName,
        now: Seconds,
    ) -> Result<(), Denial> {
        self.approach(user, permissions, group, now)?;
        match self.bans.lasting().may(user, group, now) {
            Some(may) if may.receives() => return Ok(()),
            Some(_) => return Err(only_sends(group)),
            None => {}
        }
        if permissions.grants.may_join(group, now) {
            return Ok(());
        }
        let detail = format!("{} grants no right to join {group:?}", permissions.source());
        Err(Denial { code: Code::NotGranted, detail })
    }

    /// Whether a connection may be told who is in a group. No membership is asked for, and none is enough.
    pub(crate) fn watch(
        &self,
        user: &UserName,
        permissions: &Permissions,
        group: &GroupName,
        now: Seconds,
    ) -> Result<(), Denial> {
        self.approach(user, permissions, group, now)?;
        if permissions.grants.may_watch(group, now) {
            return Ok(());
        }
        let detail = format!("{} grants no right to know who is in {group:?}", permissions.source());
        Err(Denial { code: Code::NotGranted, detail })
    }

    /// Whether a connection may send.
    pub(crate) fn send(
        &self,
        user: &UserName,
        permissions: &Permissions,
        to: Recipient<'_>,
        now: Seconds,
    ) -> Result<(), Denial> {
        self.current(permissions, now)?;
        self.up_to_date()?;
        let grants = &permissions.grants;
        let granted = match to {
            Recipient::Group(group) if self.bans.forbids_group(user, group, now) => {
                let detail = format!("the user is banned from the group {group:?}");
                return Err(Denial { code: Code::BannedFromGroup, detail });
            }
            Recipient::Group(group) => match self.bans.lasting().may(user, group, now) {
                Some(may) if may.sends() => true,
                Some(_) => {
                    let detail = format!("the user may receive in the group {group:?}, and not send");
                    return Err(Denial { code: Code::Muted, detail });
                }
                None => grants.may_send_to_group(group, now),
            },
            Recipient::User(user) => grants.may_send_to_user(user, now),
            Recipient::Connection(_, Some(user)) => grants.may_send_to_user(user, now),
            // The answer must be the one for a connection of somebody else's: who is connected is not for everyone to
            // know (test `nothing_is_told_about_connections_that_one_may_not_send_to`).
            Recipient::Connection(_, None) => grants.may_send_to_every_user(now),
            Recipient::All => grants.may_send_to_all(now),
        };
        if granted {
            return Ok(());
        }
        let source = permissions.source();
        let detail = match to {
            Recipient::Group(group) => format!("{source} grants no right to send to the group {group:?}"),
            Recipient::User(user) => format!("{source} grants no right to send to the user {user:?}"),
            Recipient::Connection(id, _) => {
                format!("there is no connection {id} that {source} grants the right to send to")
            }
            Recipient::All => format!("{source} grants no right to send to everyone"),
        };
        Err(Denial { code: Code::NotGranted, detail })
    }

    /// Whether a connection may count: what it may send to, and groups that it may join.
    pub(crate) fn count(
        &self,
        user: &UserName,
        permissions: &Permissions,
        what: Recipient<'_>,
        now: Seconds,
    ) -> Result<(), Denial> {
        match what {
            Recipient::Group(group) if self.join(user, permissions, group, now).is_ok() => Ok(()),
            what => self.send(user, permissions, what, now),
        }
    }

    /// Whether a connection may have to do with a group at all, where something allows it.
    fn approach(
        &self,
        user: &UserName,
        permissions: &Permissions,
        group: &GroupName,
        now: Seconds,
    ) -> Result<(), Denial> {
        self.current(permissions, now)?;
        self.up_to_date()?;
        self.names.permit("group", group.as_str())?;
        if self.bans.forbids_group(user, group, now) {
            return Err(Code::BannedFromGroup.into());
        }
        Ok(())
    }

    /// The end of permissions is an end of all that they allow, also before the task that ends connections has got to
    /// it.
    fn current(&self, permissions: &Permissions, now: Seconds) -> Result<(), Denial> {
        if permissions.ends <= now { Err(Code::TokenExpired.into()) } else { Ok(()) }
    }
}

/// What one is told that may send to a group, and not be in it.
fn only_sends(group: &GroupName) -> Denial {
    let detail = format!("the user may send to the group {group:?}, and not be in it");
    Denial { code: Code::NotGranted, detail }
}

impl fanfare_hub::Gate<Permissions> for Gate {
    fn enter(&self, user: &UserName, permissions: &Permissions) -> Result<(), Denial> {
        self.enter(user, permissions, super::now())
    }

    fn join(
        &self,
        user: &UserName,
        permissions: &Permissions,
        group: &GroupName,
        origin: Origin,
    ) -> Result<(), Denial> {
        // What is decided for all nodes is carried out also where it is heard before the lease is back: nothing is
        // delivered before that.
        if origin != Origin::Lasting {
            self.up_to_date()?;
        }
        match origin {
            Origin::Client => self.join(user, permissions, group, super::now()),
            // An operator's word needs no grant, nor does the application's; neither lifts a ban, or makes a group
            // whose name is not taken here.
            Origin::Operator | Origin::Application => {
                self.names.permit("group", group.as_str())?;
                let now = super::now();
                if self.bans.forbids_group(user, group, now) {
                    return Err(Code::BannedFromGroup.into());
                }
                if self.bans.lasting().may(user, group, now) == Some(May::Send) {
                    return Err(only_sends(group));
                }
                Ok(())
            }
            // Asked here, so that one that ends meanwhile leaves nobody in.
            Origin::Lasting => {
                let now = super::now();
                self.names.permit("group", group.as_str())?;
                if self.bans.forbids_group(user, group, now) {
                    return Err(Code::BannedFromGroup.into());
                }
                let may = self.bans.lasting().may(user, group, now);
                if may.is_some_and(May::receives) { Ok(()) } else { Err(Code::GrantEnded.into()) }
            }
        }
    }

    fn watch(&self, user: &UserName, permissions: &Permissions, group: &GroupName) -> Result<(), Denial> {
        self.watch(user, permissions, group, super::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_token::{Grants, TokenKey, TokenRules};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use crate::access::{KeySets, Validity};

    #[test]
    fn what_is_refused_is_named_so_that_it_is_told_apart() {
        let gate = Gate::new(Arc::new(Tokens::new(None, KeySets::none())), Arc::default());
        let mut permissions = Permissions::development(1);
        permissions.grants = Grants::parse(Vec::new(), 0).unwrap();
        let user = UserName::new("a\u{2800}b").unwrap();
        let group = GroupName::new("a\u{2800}b").unwrap();
        let refused = |answer: Result<(), Denial>| answer.unwrap_err().detail;
        for detail in [
            refused(gate.join(&user, &permissions, &group, 1)),
            refused(gate.watch(&user, &permissions, &group, 1)),
            refused(gate.send(&user, &permissions, Recipient::Group(&group), 1)),
            refused(gate.send(&user, &permissions, Recipient::User(&user), 1)),
        ] {
            assert!(detail.ends_with("\"a\\u{2800}b\""), "{detail}");
        }
    }

    #[test]
    fn who_needs_no_grant_lifts_no_ban_and_makes_no_name_whoever_it_is() {
        use fanfare_protocol::admin::{BanKind, BanRow};
        let bans = Arc::new(Bans::default());
        let gate = Gate::new(Arc::new(Tokens::new(None, KeySets::none())), Arc::clone(&bans));
        let mut permissions = Permissions::development(1);
        permissions.grants = Grants::parse(Vec::new(), 0).unwrap();
        let alice = UserName::new("alice").unwrap();
        let join = |name: &str, origin| {
            let group = GroupName::new(name).unwrap();
            fanfare_hub::Gate::join(&gate, &alice, &permissions, &group, origin).map_err(|denial| denial.code)
        };
        assert_eq!(join("room", Origin::Client), Err(Code::NotGranted));
        bans.put(BanRow {
            kind: BanKind::Group,
            user: Some(alice.clone()),
            groups: Some("staff".parse().unwrap()),
            jti: None,
            since: 1,
            until: None,
            reason: String::new(),
            author: "oncall".to_owned(),
        });
        for origin in [Origin::Operator, Origin::Application] {
            let outcomes = ["room", "staff", "a\u{202e}b"].map(|name| join(name, origin));
            assert_eq!(outcomes, [Ok(()), Err(Code::BannedFromGroup), Err(Code::InvalidName)], "{origin:?}");
        }
    }

    /// The issuer's clock and ours may be apart by the leeway, either way. Whatever was issued before a sign-out is
    /// out, and what is issued late enough after it is in. A token that does not say when it was issued is out for as
    /// long as the sign-out lasts.
    #[test]
    fn a_sign_out_holds_whichever_clock_is_ahead() {
        use fanfare_protocol::admin::{BanKind, BanRow};
        const LEEWAY: u64 = 30;
        const HOUR: u64 = 3_600;
        const NOW: Seconds = 1_800_000_000;
        const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
        let signed =
            |claims: &Value| encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET)).unwrap();
        let mut rules = TokenRules::new(vec![TokenKey::from_secret(SECRET).unwrap()]);
        rules.longest = 3_600;
        let bans = Arc::new(Bans::new(Validity { leeway: LEEWAY, longest: Some(HOUR) }));
        let gate = Gate::new(Arc::new(Tokens::new(Some(rules), KeySets::none())), Arc::clone(&bans));
        let alice = UserName::new("alice").unwrap();
        bans.put(BanRow {
            kind: BanKind::SignOut,
            user: Some(alice),
            groups: None,
            jti: None,
            since: NOW,
            until: None,
            reason: String::new(),
            author: "oncall".to_owned(),
        });
        let outcome = |claims: &Value, now: Seconds| {
            let (user, permissions) = gate.verify(&signed(claims), now)?;
            gate.enter(&user, &permissions, now)
        };
        for ahead in [-30_i64, -29, -1, 0, 1, 29, 30] {
            let by_issuer = |time: u64| time.checked_add_signed(ahead).unwrap();
            for says_when in [true, false] {
                let token = |issued: u64| {
                    let iat = by_issuer(issued);
                    let claims = json!({ "sub": "alice", "exp": iat + HOUR, "iat": iat });
                    if says_when { claims } else { json!({ "sub": "alice", "exp": iat + HOUR }) }
                };
                for (issued, presented) in [(NOW, NOW + 1), (NOW - 5, NOW + 40), (NOW - 1_000, NOW + 2_000)] {
                    let denied = outcome(&token(issued), presented).unwrap_err();
                    assert_eq!(denied.code, Code::SignedOut, "{ahead}, {says_when}, {issued}: {denied:?}");
                }
                // A new sign-in will do, a minute after at the latest, if it says when that was.
                let issued = NOW + 2 * LEEWAY + 1;
                let late = outcome(&token(issued), issued + LEEWAY).map_err(|denied| denied.code);
                assert_eq!(late, if says_when { Ok(()) } else { Err(Code::SignedOut) }, "{ahead}");
            }
        }
        // What lasts longer than tokens do was let in again as it grew older, while the sign-out was in force: this
        // failed.
        let end = NOW + 2 * LEEWAY + HOUR;
        for now in [NOW, NOW + HOUR - 1, NOW + HOUR, end - 1] {
            let long = |claims: Value| outcome(&claims, now).map_err(|denied| denied.code);
            assert_eq!(
                long(json!({ "sub": "alice", "exp": NOW + 5 * HOUR / 4 })),
                Err(Code::SignedOut),
                "{now}"
            );
            assert_eq!(
                long(json!({ "sub": "alice", "exp": NOW + 20 * HOUR })),
                Err(Code::SignedOut),
                "{now}"
            );
            let says_when = long(json!({ "sub": "alice", "exp": NOW + 20 * HOUR, "iat": NOW })).unwrap_err();
            assert!(matches!(says_when, Code::SignedOut | Code::TokenExpired), "{now}: {says_when:?}");
        }
        // When it has ended it keeps nobody out for ever who does not say when, and lets in nobody who says that it was
        // before.
        assert_eq!(outcome(&json!({ "sub": "alice", "exp": end + HOUR }), end), Ok(()));
        let old = outcome(&json!({ "sub": "alice", "exp": end + 20 * HOUR, "iat": NOW }), end).unwrap_err();
        assert_eq!(old.code, Code::TokenExpired);
        assert!(old.detail.contains("longer ago than tokens last here"), "{old:?}");
        let last = json!({ "sub": "alice", "iat": NOW + LEEWAY, "exp": NOW + LEEWAY + HOUR });
        assert_eq!(outcome(&last, end - 1).unwrap_err().code, Code::SignedOut);
        assert_eq!(outcome(&last, end).unwrap_err().code, Code::TokenExpired);
        assert_eq!(bans.list(end), []);
        assert!(!bans.list(end - 1).is_empty());
    }
}
