//! What operators ask the server, and what it answers: plain values, as JSON on the operators' endpoint.
//!
//! Each request has a QUIC stream of its own: one JSON value from the client, which then finishes its half; one JSON
//! value a line from the server, which finishes its half behind the last. `watch` and `audit` with `follow` go on until
//! the client has enough and stops the stream. The same values, field for field, are what `fanfare admin --json`
//! prints.
//!
//! Times are seconds since 1970 (UTC) unless the name says otherwise. Unknown fields of a request are refused; unknown
//! fields of an answer should be passed over, because later versions may have more.

mod answer;
mod request;
mod row;
mod scope;
mod times;

use serde::{Deserialize, Serialize};

pub use self::answer::{
    AdminError, AdminReply, AuditHead, AuditVerdict, ConnectionVerdict, Counters, Explanation, Listing,
    NodeAudit, NodeStanding, Receipt, Refusal, Standing, Status, TokenVerdict, Totals, Update, Verdict,
    Watching,
};
pub use self::request::{Action, AdminRequest, OneAnswer, Page, Question, Subscription, Who};
pub use self::row::{
    ApiKeyRow, BanKind, BanRow, ConnectionDetail, ConnectionRow, GroupRow, LastingRow, May, MembershipOrigin,
    MembershipRow, NodeRow, QuicFacts, SILENT_MS, UserRow, WebhookError, WebhookRow,
};
pub use self::scope::{Scope, ScopeError, Subject, Verb};
pub use self::times::Times;

/// The ALPN protocol id of the operators' endpoint.
pub const ADMIN_ALPN: &[u8] = b"fanfare-admin/1";

/// The longest request, in bytes of JSON: a message of 64 KiB in base64, and room for the rest.
pub const ADMIN_REQUEST_BYTES: usize = 128 * 1024;

/// The most rows of one page.
pub const ADMIN_PAGE_ROWS: u32 = 1_000;

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Look and act.
    Operator,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    fn read(json: &str) -> Result<AdminRequest, serde_json::Error> {
        AdminRequest::from_json(json.as_bytes())
    }

    /// The examples of docs/protocol/operators.md are what is said on the wire: every request is shown, and can be
    /// read.
    #[test]
    fn the_page_shows_every_request_as_it_is() {
        let page = include_str!("../../docs/protocol/operators.md");
        let mut shown = BTreeSet::new();
        let mut in_block = false;
        for line in page.lines() {
            match line {
                "```json" => in_block = true,
                "```" => in_block = false,
                line if in_block && line.starts_with("{\"ask\"") => {
                    let request = read(line).unwrap_or_else(|error| panic!("{line}: {error}"));
                    let value = serde_json::to_value(&request).unwrap();
                    shown.insert(value["ask"].as_str().unwrap().to_owned());
                }
                line if in_block => {
                    let _: Value =
                        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
                }
                _ => {}
            }
        }
        // What is listed when there is an unknown one is all there are.
        let error = read(r#"{"ask":"?"}"#).unwrap_err().to_string();
        let all: BTreeSet<String> = error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
        assert!(all.len() > 20, "{error}");
        assert_eq!(shown, all);
    }

    /// And so are the answers: an example that lacks a member, or has one too many, is not what is answered.
    #[test]
    fn the_page_shows_answers_with_all_that_they_have() {
        fn again<T: Serialize + DeserializeOwned>(line: &str) -> Option<Value> {
            let AdminReply::Ok(answer) = serde_json::from_str::<AdminReply<T>>(line).ok()? else {
                return None;
            };
            serde_json::to_value(AdminReply::Ok(answer)).ok()
        }
        let page = include_str!("../../docs/protocol/operators.md");
        let mut shown = 0;
        for line in page.lines().filter(|line| line.starts_with("{\"ok\"")) {
            // A record is answered as it was stored, and is no type of ours.
            if line.contains("\"sequence\":1,") {
                continue;
            }
            let as_shown: Value = serde_json::from_str(line).unwrap();
            let kinds = [
                again::<Listing<ConnectionRow>>(line),
                again::<Listing<GroupRow>>(line),
                again::<Listing<BanRow>>(line),
                again::<Listing<UserRow>>(line),
                again::<Update>(line),
                again::<Receipt>(line),
            ];
            assert!(kinds.iter().flatten().any(|again| *again == as_shown), "no answer is like this: {line}");
            shown += 1;
        }
        assert_eq!(shown, 6);
    }

    #[test]
    fn promise_13_who_made_a_membership_is_read_from_earlier_and_later_servers_and_by_earlier_tools() {
        use MembershipOrigin::{Application, Client, Lasting, Operator, Other};
        /// As a tool of before `origin` has it.
        #[derive(Deserialize)]
        struct Earlier {
            by_operator: bool,
        }
        let group = crate::GroupName::new("room").unwrap();
        for (origin, word, needs_no_grant) in [
            (Client, "client", false),
            (Operator, "operator", true),
            (Application, "application", true),
            (Lasting, "lasting", true),
        ] {
            let row = MembershipRow::new(group.clone(), origin);
            let json = serde_json::to_value(&row).unwrap();
            assert_eq!(json["origin"], word);
            assert_eq!(serde_json::from_value::<Earlier>(json.clone()).unwrap().by_operator, needs_no_grant);
            assert_eq!(serde_json::from_value::<MembershipRow>(json).unwrap(), row);
            assert_eq!(row.made_by(), origin);
        }
        let row = |json: &str| serde_json::from_str::<MembershipRow>(json).unwrap().made_by();
        assert_eq!(row(r#"{"group":"room","by_operator":true}"#), Operator);
        assert_eq!(row(r#"{"group":"room","by_operator":false}"#), Client);
        assert_eq!(row(r#"{"group":"room","by_operator":true,"origin":"later"}"#), Other);
        let verdict = |fields: &str| {
            let json =
                format!(r#"{{"connection":"{}","granted":true,"until":null,{fields}}}"#, "0".repeat(26));
            serde_json::from_str::<ConnectionVerdict>(&json).unwrap().made_by()
        };
        assert_eq!(verdict(r#""member":false,"by_operator":false"#), None);
        assert_eq!(verdict(r#""member":true,"by_operator":false"#), Some(Client));
        assert_eq!(verdict(r#""member":true,"by_operator":true"#), Some(Operator));
        assert_eq!(verdict(r#""member":true,"by_operator":true,"origin":"application""#), Some(Application));
        assert_eq!(verdict(r#""member":false,"by_operator":false,"origin":null"#), None);
    }

    #[test]
    fn what_is_not_given_has_its_default_and_what_is_unknown_is_refused() {
        let request = read(r#"{"ask":"revoke","user":"a","groups":"g*"}"#).unwrap();
        let AdminRequest::Action(Action::Revoke { until: None, reason, dry_run: false, .. }) = request else {
            panic!("{request:?}")
        };
        assert_eq!(reason, "");
        let request = read(r#"{"ask":"connections"}"#).unwrap();
        assert_eq!(request, AdminRequest::Question(Question::Connections(Page::default())));
        for bad in [
            r#"{"ask":"connections","fliter":"x"}"#,
            r#"{"ask":"revoke","user":"a","groups":"g","dryrun":true}"#,
            r#"{"ask":"status","more":1}"#,
            r#"{"ask":"kick","who":{"user":"a","group":"b"}}"#,
            r#"{"ask":"kick","who":"everyone"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        // Whoever wrote the request is told in words, without the names of our types.
        for bad in [
            "1",
            "[]",
            "{}",
            r#"{"ask":1}"#,
            r#"{"ask":"kick","who":1}"#,
            r#"{"ask":"kick","who":{"user":1}}"#,
        ] {
            let error = read(bad).unwrap_err().to_string();
            for name in ["AdminRequest", "Who", "Page", "internally tagged", "enum", "struct"] {
                assert!(!error.contains(name), "{bad}: {error}");
            }
        }
    }
}
