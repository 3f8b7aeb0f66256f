//! Grants: what a token allows, on what, and until when.
//!
//! In: the claim `grants`. Out: [`Grants`], which say yes or no to one act at one moment. Invariants: without a grant
//! that covers it nothing is allowed; a claim that cannot be read as a whole allows nothing, not a part of it.

use fanfare_protocol::{GroupName, Pattern, UserName};
use serde::{Deserialize, Serialize};

use crate::{Seconds, numeric_date};

/// The most grants that a token may have: it is checked at every send.
pub(crate) const MOST: usize = 256;

/// One entry of the claim `grants`: exactly one of `group`, `user` and `all`, and what may be done with it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantClaim {
    /// The groups that match this pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The users that match this pattern, and each of their connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Everyone. `false` is not allowed: it would read like a prohibition, which grants are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// What may be done. `join` and `presence` are for groups only.
    pub may: Vec<Right>,
    /// When the grant ends, in seconds since 1970, a fraction cut off; with the token where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "numeric_date::optional")]
    pub exp: Option<Seconds>,
}

impl GrantClaim {
    /// Whether a list of them can be used.
    ///
    /// # Errors
    /// Which one cannot, and what one must be like.
    pub fn check(claims: &[Self]) -> Result<(), String> {
        match Grants::parse(claims.to_vec(), 0) {
            Ok(_) => Ok(()),
            Err(GrantError::TooMany) => Err(format!("there are more than {MOST} grants")),
            Err(GrantError::Entry(number)) => Err(format!(
                "grant {number} must name one of group, user and all = true; only a group can be joined or watched \
                 (presence), and a pattern has 1 to 256 bytes"
            )),
        }
    }
}

/// What a grant allows to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// To be a member.
    Join,
    /// To send to it.
    Send,
    /// To be told who is in it, as a member or not.
    Presence,
}

/// What one connection is allowed.
#[derive(Clone)]
pub struct Grants {
    /// Development: everything, for ever.
    unlimited: bool,
    /// The application has said them, instead of what the client showed.
    by_application: bool,
    list: Vec<Grant>,
}

#[derive(Clone)]
struct Grant {
    scope: Scope,
    join: bool,
    send: bool,
    presence: bool,
    ends: Seconds,
}

#[derive(Clone)]
enum Scope {
    Groups(Pattern),
    Users(Pattern),
    All,
}

/// The claim cannot be read. It says where, and not what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantError {
    /// There are more than 256.
    TooMany,
    /// This entry, counted from 1.
    Entry(usize),
}

impl Grants {
    /// Everything is allowed.
    pub fn everything() -> Self {
        Self { unlimited: true, by_application: false, list: Vec::new() }
    }

    /// Reads a claim. Ends are put off by `leeway`, for clocks that differ.
    pub fn parse(claims: Vec<GrantClaim>, leeway: Seconds) -> Result<Self, GrantError> {
        if claims.len() > MOST {
            return Err(GrantError::TooMany);
        }
        let grants = claims.into_iter().zip(1..).map(|(claim, position)| {
            let pattern = |text: String| Pattern::new(&text).map_err(|_| GrantError::Entry(position));
            let scope = match (claim.group, claim.user, claim.all) {
                (Some(group), None, None) => Scope::Groups(pattern(group)?),
                (None, Some(user), None) => Scope::Users(pattern(user)?),
                (None, None, Some(true)) => Scope::All,
                _ => return Err(GrantError::Entry(position)),
            };
            let join = claim.may.contains(&Right::Join);
            let presence = claim.may.contains(&Right::Presence);
            if (join || presence) && !matches!(scope, Scope::Groups(_)) {
                return Err(GrantError::Entry(position));
            }
            let ends = claim.exp.map_or(Seconds::MAX, |ends| ends.saturating_add(leeway));
            Ok(Grant { scope, join, send: claim.may.contains(&Right::Send), presence, ends })
        });
        Ok(Self { unlimited: false, by_application: false, list: grants.collect::<Result<_, _>>()? })
    }

    /// The same, as the application's word: they stay when the client brings another token.
    #[must_use]
    pub fn by_application(self) -> Self {
        Self { by_application: true, ..self }
    }

    /// Whether they are the application's word.
    #[must_use]
    pub fn are_by_application(&self) -> bool {
        self.by_application
    }

    /// Whether it may be a member of a group.
    #[must_use]
    pub fn may_join(&self, group: &GroupName, now: Seconds) -> bool {
        self.join_until(group) > now
    }

    /// The moment from which on the group may not be joined; 0 where no grant is about it.
    pub fn join_until(&self, group: &GroupName) -> Seconds {
        self.until(|grant| {
            grant.join && matches!(&grant.scope, Scope::Groups(name) if name.matches(group.as_str()))
        })
    }

    /// Whether it may be told who is in a group.
    #[must_use]
    pub fn may_watch(&self, group: &GroupName, now: Seconds) -> bool {
        self.watch_until(group) > now
    }

    /// The moment from which on the group may not be watched; 0 where no grant is about it.
    #[must_use]
    pub fn watch_until(&self, group: &GroupName) -> Seconds {
        self.until(|grant| {
            grant.presence && matches!(&grant.scope, Scope::Groups(name) if name.matches(group.as_str()))
        })
    }

    /// Whether it may send to a group.
    #[must_use]
    pub fn may_send_to_group(&self, group: &GroupName, now: Seconds) -> bool {
        self.until(|grant| {
            grant.send && matches!(&grant.scope, Scope::Groups(name) if name.matches(group.as_str()))
        }) > now
    }

    /// Whether it may send to a user, or to any of the user's connections.
    pub fn may_send_to_user(&self, user: &UserName, now: Seconds) -> bool {
        self.until(|grant| {
            grant.send && matches!(&grant.scope, Scope::Users(name) if name.matches(user.as_str()))
        }) > now
    }

    /// Whether it may send to any user there is, whatever the name.
    pub fn may_send_to_every_user(&self, now: Seconds) -> bool {
        self.until(|grant| grant.send && matches!(&grant.scope, Scope::Users(name) if name.is_everything()))
            > now
    }

    /// Whether it may send to everyone.
    #[must_use]
    pub fn may_send_to_all(&self, now: Seconds) -> bool {
        self.until(|grant| grant.send && matches!(grant.scope, Scope::All)) > now
    }

    /// When the grants end that do not last as long as the token.
    pub fn ends(&self) -> impl Iterator<Item = Seconds> + '_ {
        self.list.iter().map(|grant| grant.ends).filter(|ends| *ends != Seconds::MAX)
    }

    fn until(&self, covers: impl Fn(&Grant) -> bool) -> Seconds {
        if self.unlimited {
            return Seconds::MAX;
        }
        self.list.iter().filter(|grant| covers(grant)).map(|grant| grant.ends).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(json: &str) -> Result<Grants, GrantError> {
        Grants::parse(serde_json::from_str(json).unwrap(), 0)
    }

    fn group(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    #[test]
    fn nothing_granted_nothing_allowed() {
        let grants = grants("[]").unwrap();
        assert!(!grants.may_join(&group("g"), 0) && !grants.may_watch(&group("g"), 0));
        assert!(!grants.may_send_to_group(&group("g"), 0));
        assert!(!grants.may_send_to_user(&user("u"), 0));
        assert!(!grants.may_send_to_all(0));
    }

    #[test]
    fn each_grant_allows_what_it_says_and_nothing_beside() {
        let grants = grants(
            r#"[{"group": "room-*", "may": ["join"]}, {"group": "news", "may": ["send"]},
                {"user": "bob", "may": ["send"]}, {"group": "*", "may": []}]"#,
        )
        .unwrap();
        assert!(grants.may_join(&group("room-1"), 0) && !grants.may_join(&group("Room-1"), 0));
        assert!(!grants.may_send_to_group(&group("room-1"), 0));
        assert!(grants.may_send_to_group(&group("news"), 0) && !grants.may_join(&group("news"), 0));
        assert!(grants.may_send_to_user(&user("bob"), 0) && !grants.may_send_to_user(&user("bo"), 0));
        // A user of a group's name is not the group.
        assert!(!grants.may_send_to_user(&user("news"), 0) && !grants.may_send_to_group(&group("bob"), 0));
        assert!(!grants.may_send_to_all(0));
    }

    #[test]
    fn to_know_who_is_in_a_group_is_a_right_of_its_own_that_ends_with_its_grant() {
        let grants = grants(
            r#"[{"group": "room-*", "may": ["presence"], "exp": 10}, {"group": "*", "may": ["join", "send"]}]"#,
        )
        .unwrap();
        assert!(grants.may_watch(&group("room-1"), 9) && !grants.may_watch(&group("room-1"), 10));
        assert!(!grants.may_watch(&group("hall"), 0), "who may join and send need not know who is there");
        assert_eq!((grants.watch_until(&group("room-1")), grants.watch_until(&group("hall"))), (10, 0));
        assert_eq!(grants.ends().collect::<Vec<_>>(), [10]);
    }

    #[test]
    fn the_grant_that_ends_last_counts_and_an_end_is_an_end() {
        let grants = grants(
            r#"[{"group": "a*", "may": ["join"], "exp": 10}, {"group": "ab", "may": ["join"], "exp": 20},
                {"all": true, "may": ["send"], "exp": 5}]"#,
        )
        .unwrap();
        assert_eq!(grants.join_until(&group("ab")), 20);
        assert!(grants.may_join(&group("a"), 9) && !grants.may_join(&group("a"), 10));
        assert!(grants.may_join(&group("ab"), 19) && !grants.may_join(&group("ab"), 20));
        assert!(grants.may_send_to_all(4) && !grants.may_send_to_all(5));
        assert_eq!(grants.ends().collect::<Vec<_>>(), [10, 20, 5]);
    }

    #[test]
    fn each_right_to_send_ends_with_its_grant() {
        let grants = grants(
            r#"[{"group": "g", "may": ["send"], "exp": 10}, {"user": "u*", "may": ["send"], "exp": 20},
                {"user": "**", "may": ["send"], "exp": 15}, {"user": "*", "may": [], "exp": 99}]"#,
        )
        .unwrap();
        assert!(grants.may_send_to_group(&group("g"), 9) && !grants.may_send_to_group(&group("g"), 10));
        assert!(grants.may_send_to_user(&user("u"), 19) && !grants.may_send_to_user(&user("u"), 20));
        assert!(grants.may_send_to_user(&user("b"), 14) && !grants.may_send_to_user(&user("b"), 15));
        // What is for every name is for those that nobody has yet; a longer pattern is not.
        assert!(grants.may_send_to_every_user(14) && !grants.may_send_to_every_user(15));
    }

    #[test]
    fn what_the_application_grants_is_known_as_its_word_and_allows_what_it_says() {
        let from_a_token = grants(r#"[{"group": "g", "may": ["join"], "exp": 10}]"#).unwrap();
        assert!(!from_a_token.are_by_application() && !Grants::everything().are_by_application());
        let word = from_a_token.by_application();
        assert!(word.are_by_application());
        assert!(word.may_join(&group("g"), 9) && !word.may_join(&group("g"), 10));
        assert!(!word.may_join(&group("h"), 9) && !word.may_send_to_group(&group("g"), 9));
    }

    #[test]
    fn in_development_everything_is_allowed_for_ever() {
        let grants = Grants::everything();
        assert!(
            grants.may_join(&group("g"), Seconds::MAX - 1) && grants.may_watch(&group("g"), Seconds::MAX - 1)
        );
        assert!(grants.may_send_to_group(&group("g"), 1) && grants.may_send_to_user(&user("u"), 1));
        assert!(grants.may_send_to_every_user(1) && grants.may_send_to_all(1));
        assert_eq!(grants.ends().next(), None);
    }

    #[test]
    fn a_list_is_checked_before_it_is_signed_and_what_is_wrong_is_said() {
        let check = |json: &str| GrantClaim::check(&serde_json::from_str::<Vec<GrantClaim>>(json).unwrap());
        let one = r#"{"group": "g", "may": ["join"]}"#;
        assert_eq!(check(&format!("[{}]", vec![one; 256].join(","))), Ok(()));
        let many = check(&format!("[{}]", vec![one; 257].join(",")));
        assert_eq!(many, Err("there are more than 256 grants".to_owned()));
        let second = check(&format!(r#"[{one},{{"may": ["send"]}}]"#)).unwrap_err();
        assert!(second.starts_with("grant 2 must name one of group, user and all"), "{second}");
    }

    #[test]
    fn an_end_may_have_a_fraction_and_be_far_away_and_is_nothing_but_a_time() {
        let end = |exp: &str| {
            let json = format!(r#"[{{"group": "g", "may": ["join"], "exp": {exp}}}]"#);
            let claims: Vec<GrantClaim> = serde_json::from_str(&json).ok()?;
            Some(Grants::parse(claims, 0).unwrap().join_until(&group("g")))
        };
        assert_eq!(end("1764000000.5"), Some(1_764_000_000));
        assert_eq!(end("1e9"), Some(1_000_000_000));
        for far in ["1e18", "1000000000000000000", "18446744073709551615", "1e300"] {
            assert_eq!(end(far), Some(numeric_date::LATEST), "{far}");
        }
        for none in ["-1", "-0.5", "\"1764000000\"", "true", "[]"] {
            assert_eq!(end(none), None, "{none}");
        }
    }

    #[test]
    fn a_claim_that_makes_no_sense_is_refused_with_its_place() {
        for (json, error) in [
            (r#"[{"may": ["join"]}]"#, GrantError::Entry(1)),
            (r#"[{"group": "g", "user": "u", "may": ["send"]}]"#, GrantError::Entry(1)),
            (r#"[{"group": "g", "may": []}, {"user": "u", "may": ["join"]}]"#, GrantError::Entry(2)),
            (r#"[{"all": true, "may": ["join"]}]"#, GrantError::Entry(1)),
            (r#"[{"all": true, "may": ["presence"]}]"#, GrantError::Entry(1)),
            (r#"[{"user": "u", "may": ["send", "presence"]}]"#, GrantError::Entry(1)),
            (r#"[{"all": false, "may": ["send"]}]"#, GrantError::Entry(1)),
            (r#"[{"group": "", "may": ["send"]}]"#, GrantError::Entry(1)),
        ] {
            assert_eq!(grants(json).err(), Some(error), "{json}");
        }
        let many = format!("[{}]", vec![r#"{"group": "g", "may": []}"#; 257].join(","));
        assert_eq!(grants(&many).err(), Some(GrantError::TooMany));
        // Words that this version does not know are not passed over: they might have been meant to restrict.
        for json in [r#"[{"group": "g", "may": ["fly"]}]"#, r#"[{"group": "g", "may": [], "not": 1}]"#] {
            assert!(serde_json::from_str::<Vec<GrantClaim>>(json).is_err());
        }
    }
}
