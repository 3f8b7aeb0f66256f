//! Asks a back end, and waits for its answer: about a connection, and for what a method gives.
//!
//! In: who connects or calls. Out: what the back end says, or that it said nothing that can be used. Invariants: an
//! answer is taken as a whole or not at all, and a field that is not known is no answer, because nothing is guessed
//! where it decides who gets in; how long and how long an answer may be is bounded, and so is how many are waited for.
//! What the statuses mean is in docs/webhooks.md.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fanfare_protocol::call::first_bytes;
use fanfare_protocol::{Code, Denial, GroupName, Payload, PayloadFormat, UserName};
use fanfare_token::GrantClaim;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::event;
use super::outgoing::{Outgoing, Reached};
use super::post::{Letter, Reply};
use crate::application::{Answer, Call, CallError, Caller, Connecting, IntoAnswer as _, OwnCode, Refusal};
use crate::reason::REASON_BYTES;
use crate::webhook::OnFailure;

/// How much of an answer about a connection is read.
const CONNECT_BYTES: usize = 64 * 1024;

/// Into how many groups an answer may put a connection.
const MOST_GROUPS: usize = 1_000;

/// How long what a back end keeps for a connection may be, in bytes of JSON.
const DATA_BYTES: usize = 1_024;

/// When a connection may come back, where its back end gives no answer and no time.
const COME_BACK: Duration = Duration::from_secs(5);

/// What a back end keeps for a connection: it is with every question about it.
pub(super) struct Data(pub(super) Value);

/// What is answered about a connection that is let in. Every part may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Admitted {
    /// Whose it is, instead of whose its token says.
    user: Option<UserName>,
    /// What it may do, instead of what its token says.
    grants: Option<Vec<GrantClaim>>,
    /// The groups that it is in from its welcome on.
    groups: Vec<GroupName>,
    /// What is kept for it.
    data: Option<Value>,
    /// What everybody is told of it who may watch its groups.
    presence: Option<Value>,
}

/// What is answered where something is refused (RFC 9457): what else there is in it is for others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refused {
    detail: Option<String>,
    code: Option<u16>,
    data: Option<Value>,
}

impl Refused {
    /// As far as it can be read.
    fn of(reply: &Reply) -> Self {
        match reply.media_type().as_str() {
            "application/problem+json" | "application/json" => {
                serde_json::from_slice(&reply.body).unwrap_or_default()
            }
            _ => Self::default(),
        }
    }
}

/// Asks one question.
///
/// # Errors
/// Why there is no answer.
async fn ask(
    outgoing: &Outgoing,
    reached: &Reached,
    name: &'static str,
    question: &Value,
    (deadline, answer_bytes): (Duration, usize),
) -> Result<Reply, String> {
    let Ok(_place) = outgoing.questions.try_acquire() else {
        return Err("as many questions are on their way as may be".to_owned());
    };
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "the system gives no random bytes".to_owned())?;
    let id = format!("ask_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random));
    let mut attributes = event::attributes(&id, name, SystemTime::now());
    for field in ["connection", "user"] {
        if let Some(value) = question.get(field).and_then(Value::as_str) {
            attributes.push((field, value.to_owned()));
        }
    }
    let letter = Letter {
        id: &id,
        attributes: &attributes,
        content_type: "application/json",
        body: Bytes::from(question.to_string()),
        deadline,
        answer_bytes,
    };
    reached.poster.post(&reached.webhook, letter).await.map_err(|error| error.to_string())
}

/// Asks whether a connection may be here, and does what the answer says.
///
/// # Errors
/// Why it may not.
pub(super) async fn connect(outgoing: &Outgoing, connecting: &Connecting) -> Result<(), Refusal> {
    let reached = outgoing.reached();
    let webhook = &reached.webhook;
    let question = json!({
        "type": "connect",
        "epoch": outgoing.epoch,
        "connection": connecting.connection().to_string(),
        "user": connecting.user().as_str(),
        "address": connecting.address().ip().to_string(),
        "transport": connecting.transport().name(),
        "at_ms": event::now_ms(),
    });
    let bounds = (webhook.connect_deadline, CONNECT_BYTES);
    let (words, after) = match ask(outgoing, &reached, "connect", &question, bounds).await {
        Err(words) => (words, None),
        Ok(reply) => match reply.status.as_u16() {
            200 | 204 => match admitted(&reply).and_then(|admitted| apply(admitted, connecting)) {
                Ok(()) => {
                    outgoing.facts.answered(webhook);
                    return Ok(());
                }
                Err(words) => (words, None),
            },
            401 | 403 => {
                outgoing.facts.answered(webhook);
                return Err(Refusal::new(reason(&reply, Code::ConnectRefused)));
            }
            429 => {
                outgoing.facts.answered(webhook);
                let refusal = Refusal::for_now(reason(&reply, Code::ConnectRefusedForNow));
                return Err(refusal.after(reply.retry_after().unwrap_or(COME_BACK)));
            }
            _ => (reply.words(), reply.retry_after()),
        },
    };
    outgoing.facts.unanswered(webhook, &words);
    match webhook.on_failure {
        OnFailure::Open => Ok(()),
        OnFailure::Close => {
            let reason = "the application does not answer at the moment";
            Err(Refusal::for_now(reason).after(after.unwrap_or(COME_BACK)))
        }
    }
}

fn reason(reply: &Reply, code: Code) -> String {
    let detail = Refused::of(reply).detail.filter(|detail| !detail.is_empty());
    first_bytes(detail.unwrap_or_else(|| code.sentence().to_owned()), REASON_BYTES)
}

fn admitted(reply: &Reply) -> Result<Admitted, String> {
    if reply.body.is_empty() {
        return Ok(Admitted::default());
    }
    let unusable =
        |error: &dyn std::fmt::Display| format!("its answer about a connection cannot be used: {error}");
    // serde takes a list for an object, too.
    if !reply.body.trim_ascii_start().starts_with(b"{") {
        return Err(unusable(&"it is no object"));
    }
    let admitted: Admitted = serde_json::from_slice(&reply.body).map_err(|error| unusable(&error))?;
    if admitted.groups.len() > MOST_GROUPS {
        return Err(format!("its answer names more than {MOST_GROUPS} groups"));
    }
    for (name, value) in [("data", &admitted.data), ("presence", &admitted.presence)] {
        let bytes = value.as_ref().map_or(0, |value| value.to_string().len());
        if bytes > DATA_BYTES {
            return Err(format!("its answer has {name} of {bytes} bytes; {DATA_BYTES} are taken"));
        }
    }
    Ok(admitted)
}

/// Does what the answer says. Where a part of it makes no sense nothing is done: the connection is refused then.
fn apply(admitted: Admitted, connecting: &Connecting) -> Result<(), String> {
    let Admitted { user, grants, groups, data, presence } = admitted;
    if let Some(grants) = grants {
        connecting.grant(&grants)?;
    }
    if let Some(presence) = presence {
        connecting.describe(Payload::json(presence.to_string())).map_err(|error| error.to_string())?;
    }
    if let Some(user) = user {
        connecting.rename(user);
    }
    for group in groups {
        connecting.join(group);
    }
    if let Some(data) = data {
        connecting.insert(Data(data));
    }
    Ok(())
}

/// Has a method answered.
///
/// # Errors
/// What its caller is told.
pub(super) async fn invoke(outgoing: &Outgoing, call: Call) -> Result<Answer, CallError> {
    let reached = outgoing.reached();
    let webhook = &reached.webhook;
    let mut question = json!({
        "type": "invoke",
        "epoch": outgoing.epoch,
        "connection": call.caller().connection().to_string(),
        "user": call.caller().user().as_str(),
        "method": call.method().as_str(),
        "at_ms": event::now_ms(),
    });
    let format = call.arguments().format;
    let (name, value) = written(call.arguments())?;
    insert(&mut question, name, value);
    insert(&mut question, "data", kept(call.caller()));
    let bounds = (webhook.invoke_deadline, call.caller().hub().longest_payload());
    let asking = ask(outgoing, &reached, "invoke", &question, bounds);
    let cancellation = call.cancellation();
    let reply = tokio::select! {
        biased;
        // What nobody waits for is not waited for.
        () = cancellation.cancelled() => return Err(Denial::from(Code::CallCancelled).into()),
        reply = asking => reply,
    };
    let outcome = match reply {
        Err(words) => Err(words),
        Ok(reply) => completion(&reply, format),
    };
    match outcome {
        Ok(outcome) => {
            outgoing.facts.answered(webhook);
            outcome
        }
        Err(words) => {
            outgoing.facts.unanswered(webhook, &words);
            Err(Denial::from(Code::BackEndUnavailable).into())
        }
    }
}

fn insert(question: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = question
        && !value.is_null()
    {
        fields.insert(name.to_owned(), value);
    }
}

/// What the back end has said to be kept for a connection.
pub(super) fn kept(caller: &Caller) -> Value {
    caller.find::<Data>().map_or(Value::Null, |data| data.0.clone())
}

/// A payload as a back end reads it: JSON and MessagePack as a value, where that can be one; text; or bytes in base64.
fn written(payload: &Payload) -> Result<(&'static str, Value), CallError> {
    let invalid = |error: &dyn std::fmt::Display| {
        CallError::from(Denial { code: Code::ArgumentsInvalid, detail: error.to_string() })
    };
    let base64 = || ("base64", Value::String(STANDARD.encode(&payload.bytes)));
    match payload.format {
        PayloadFormat::Json => {
            let text = std::str::from_utf8(&payload.bytes).map_err(|error| invalid(&error))?;
            let value: Value = serde_json::from_str(text).map_err(|error| invalid(&error))?;
            Ok(("arguments", value))
        }
        // What JSON cannot say, such as bytes, stays as it is.
        PayloadFormat::MessagePack => Ok(rmp_serde::from_slice::<Value>(&payload.bytes)
            .map_or_else(|_| base64(), |value| ("arguments", value))),
        PayloadFormat::Text => {
            let text = std::str::from_utf8(&payload.bytes).map_err(|error| invalid(&error))?;
            Ok(("text", Value::String(text.to_owned())))
        }
        PayloadFormat::Binary | PayloadFormat::Other(_) => Ok(base64()),
    }
}

/// What the answer to a call says; `Err` where it is none.
fn completion(reply: &Reply, format: PayloadFormat) -> Result<Result<Answer, CallError>, String> {
    match reply.status.as_u16() {
        200 | 204 if reply.body.is_empty() => Ok(Ok(Answer::Nothing)),
        200 => value(reply, format).map(Ok),
        404 => Ok(Err(Denial::from(Code::MethodUnknown).into())),
        400 | 402 | 403 | 405..=407 | 409..=428 | 430..=499 => Ok(Err(failure(reply))),
        _ => Err(reply.words()),
    }
}

fn value(reply: &Reply, format: PayloadFormat) -> Result<Answer, String> {
    match reply.media_type().as_str() {
        "application/json" => {
            let no_json = |error| format!("its answer is no JSON: {error}");
            if format == PayloadFormat::MessagePack {
                let value: Value = serde_json::from_slice(&reply.body).map_err(no_json)?;
                return Ok::<_, CallError>(value).into_answer(format).map_err(|error| error.to_string());
            }
            let _: &RawValue = serde_json::from_slice(&reply.body).map_err(no_json)?;
            Ok(Answer::Value(Payload::json(reply.body.clone())))
        }
        "text/plain" if std::str::from_utf8(&reply.body).is_err() => {
            Err("its answer is not text in UTF-8".to_owned())
        }
        "text/plain" => Ok(Answer::Value(Payload::new(PayloadFormat::Text, reply.body.clone()))),
        "application/octet-stream" => {
            Ok(Answer::Value(Payload::new(PayloadFormat::Binary, reply.body.clone())))
        }
        other => Err(format!(
            "its answer is {other:?}, and neither application/json, text/plain nor application/octet-stream"
        )),
    }
}

fn failure(reply: &Reply) -> CallError {
    let Refused { detail, code, data } = Refused::of(reply);
    let detail = detail.unwrap_or_else(|| Code::CallFailed.sentence().to_owned());
    let error = match code.and_then(OwnCode::new) {
        Some(code) => CallError::own(code, detail),
        None => CallError::new(detail),
    };
    match data {
        Some(data) => error.with_data(Payload::json(data.to_string())),
        None => error,
    }
}

#[cfg(test)]
mod tests;
