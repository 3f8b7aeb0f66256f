//! What a request asks for, read once: the ban in it, the reason in it, and its text for the audit.
//!
//! In: an [`Action`]. Out: values, or a refusal. Nothing is looked up and nothing is done here. Invariant: a payload is
//! never in what the audit gets.

use fanfare_protocol::admin::{Action, BanKind, BanRow};
use fanfare_protocol::{Code, UserName};
use fanfare_token::Seconds;
use serde_json::Value;

use super::ModerationError;

/// The ban that a request asks for.
pub(super) fn ban(request: &Action, since: Seconds, author: &str) -> Result<BanRow, ModerationError> {
    let row = |kind, user: Option<&UserName>, until: Option<Seconds>, reason: &str| BanRow {
        kind,
        user: user.cloned(),
        groups: None,
        jti: None,
        since,
        until,
        reason: reason.to_owned(),
        author: author.to_owned(),
    };
    Ok(match request {
        Action::Revoke { user, groups, until, reason, .. } => {
            BanRow { groups: Some(groups.clone()), ..row(BanKind::Group, Some(user), *until, reason) }
        }
        Action::Ban { user, until, reason, .. } => row(BanKind::User, Some(user), *until, reason),
        Action::SignOut { user, reason } => row(BanKind::SignOut, Some(user), None, reason),
        Action::RevokeToken { jti, until, reason } => {
            if !(1..=256).contains(&jti.len()) {
                let message = "a token's id (jti) has 1 to 256 bytes";
                return Err(ModerationError::refused(Code::InvalidRequest, message));
            }
            BanRow { jti: Some(jti.clone()), ..row(BanKind::Token, None, *until, reason) }
        }
        _ => return Err(ModerationError::refused(Code::InvalidRequest, "this forbids nothing")),
    })
}

pub(super) fn reason(request: &Action) -> &str {
    match request {
        Action::Revoke { reason, .. }
        | Action::Restore { reason, .. }
        | Action::Ban { reason, .. }
        | Action::Unban { reason, .. }
        | Action::SignOut { reason, .. }
        | Action::LiftSignOut { reason, .. }
        | Action::RestoreToken { reason, .. }
        | Action::RevokeToken { reason, .. }
        | Action::Add { reason, .. }
        | Action::Remove { reason, .. }
        | Action::Close { reason, .. }
        | Action::Kick { reason, .. } => reason,
        Action::Send { .. } | Action::Backup {} => "",
    }
}

/// What a request sends, which is nobody's business in the audit.
fn payload(request: &Action) -> Option<&str> {
    match request {
        Action::Send { payload, .. } => Some(payload),
        Action::Revoke { .. }
        | Action::Restore { .. }
        | Action::Ban { .. }
        | Action::Unban { .. }
        | Action::SignOut { .. }
        | Action::LiftSignOut { .. }
        | Action::RestoreToken { .. }
        | Action::RevokeToken { .. }
        | Action::Add { .. }
        | Action::Remove { .. }
        | Action::Close { .. }
        | Action::Kick { .. }
        | Action::Backup {} => None,
    }
}

/// The request as the audit has it: as it came, but for a payload, of which the length is enough.
pub(crate) fn described(request: &Action) -> Value {
    let mut act = serde_json::to_value(request).unwrap_or_default();
    if let (Some(payload), Some(act)) = (payload(request), act.as_object_mut()) {
        act.remove("payload");
        // Four characters are three bytes, and `=` at the end is none (RFC 4648 section 4).
        let padding = payload.bytes().rev().take_while(|byte| *byte == b'=').count();
        act.insert("payload_bytes".to_owned(), (payload.len() / 4 * 3).saturating_sub(padding).into());
    }
    act
}
