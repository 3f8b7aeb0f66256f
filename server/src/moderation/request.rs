//! What a request asks for, read once: the ban in it, the reason in it, and its text for the audit.
//!
//! In: an [`Action`]. Out: values, or a refusal. Nothing is looked up and nothing is done here. Invariant: a payload is
//! never in what the audit gets, nor what a key of the HTTP API is checked by.

use fanfare_protocol::admin::{Action, ApiKeyRow, BanKind, BanRow};
use fanfare_protocol::{Code, UserName};
use fanfare_token::Seconds;
use serde_json::Value;

use super::ModerationError;
use crate::access::StoredKey;

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
            token_id(jti)?;
            BanRow { jti: Some(jti.clone()), ..row(BanKind::Token, None, *until, reason) }
        }
        _ => return Err(ModerationError::refused(Code::InvalidRequest, "this forbids nothing")),
    })
}

/// Whether it can be a token's id.
pub(super) fn token_id(jti: &str) -> Result<(), ModerationError> {
    if (1..=256).contains(&jti.len()) {
        return Ok(());
    }
    Err(ModerationError::refused(Code::InvalidRequest, "a token's id (jti) has 1 to 256 bytes"))
}

/// The longest name of a key of the HTTP API, in bytes.
const MOST_KEY_NAME: usize = 64;
/// How many scopes one may have: each operation asks all of them.
const MOST_SCOPES: usize = 16;

/// The key of the HTTP API that a request asks for.
pub(super) fn api_key(request: &Action, now: Seconds, author: &str) -> Result<StoredKey, ModerationError> {
    let refused = |message: String| Err(ModerationError::refused(Code::InvalidRequest, message));
    let Action::CreateApiKey { name, id, hash, allow, per_second, until, reason: _ } = request else {
        return refused("this makes no key".to_owned());
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=MOST_KEY_NAME).contains(&name.len()) || !name.bytes().all(plain) {
        return refused(format!("a key's name has 1 to {MOST_KEY_NAME} letters, digits, '.', '_' and '-'"));
    }
    if !StoredKey::is_id(id) || StoredKey::hash(hash).is_none() {
        return refused(
            "a key's id is ffk_ and 16 hexadecimal digits, and its hash has 64 of them".to_owned(),
        );
    }
    if !(1..=MOST_SCOPES).contains(&allow.len()) {
        return refused(format!("a key is allowed 1 to {MOST_SCOPES} things"));
    }
    if until.is_some_and(|until| until <= now) {
        return refused("the end (until) has passed already".to_owned());
    }
    let row = ApiKeyRow {
        name: name.clone(),
        id: id.clone(),
        allow: allow.clone(),
        per_second: *per_second,
        since: now,
        until: *until,
        used: None,
        author: author.to_owned(),
    };
    Ok(StoredKey { row, hash: hash.clone() })
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
        | Action::Kick { reason, .. }
        | Action::AddLasting { reason, .. }
        | Action::RemoveLasting { reason, .. }
        | Action::CreateApiKey { reason, .. }
        | Action::RevokeApiKey { reason, .. }
        | Action::ForgetNode { reason, .. } => reason,
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
        | Action::AddLasting { .. }
        | Action::RemoveLasting { .. }
        | Action::CreateApiKey { .. }
        | Action::RevokeApiKey { .. }
        | Action::ForgetNode { .. }
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
    // What a key is checked by is for the store alone.
    if let (Action::CreateApiKey { .. }, Some(act)) = (request, act.as_object_mut()) {
        act.remove("hash");
    }
    act
}
