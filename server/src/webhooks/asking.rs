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
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::event;
use super::outgoing::{Outgoing, Reached};
use super::packed;
use super::post::{Letter, Reply};
use crate::application::description::check_numbers;
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
    /// What everybody is told of it who may watch its groups. As it is written: a number that is read may be another.
    presence: Option<Box<RawValue>>,
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

/// A question: its name, and whom it is about.
struct Question<'a> {
    name: &'static str,
    connection: String,
    user: &'a str,
    body: String,
    deadline: Duration,
    /// How many bytes of the answer are read.
    answer_bytes: usize,
}

/// What is said where as many questions are on their way as may be.
const BUSY: &str = "as many questions are on their way as may be";

/// Asks one question.
///
/// # Errors
/// Why there is no answer.
async fn ask(outgoing: &Outgoing, reached: &Reached, question: Question<'_>) -> Result<Reply, String> {
    outgoing.facts.asked();
    let Question { name, connection, user, body, deadline, answer_bytes } = question;
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "the system gives no random bytes".to_owned())?;
    let id = format!("ask_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random));
    let mut attributes = event::attributes(&id, name, SystemTime::now());
    attributes.extend([("connection", connection), ("user", user.to_owned())]);
    let letter = Letter {
        id: &id,
        attributes: &attributes,
        content_type: "application/json",
        body: Bytes::from(body),
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
    let (connection, user) = (connecting.connection().to_string(), connecting.user().as_str());
    let body = json!({
        "type": "connect",
        "epoch": outgoing.epoch,
        "connection": connection,
        "user": user,
        "address": connecting.address().ip().to_string(),
        "transport": connecting.transport().name(),
        "at_ms": event::now_ms(),
    });
    let question = Question {
        name: "connect",
        connection,
        user,
        body: body.to_string(),
        deadline: webhook.connect_deadline,
        answer_bytes: CONNECT_BYTES,
    };
    // A bound of ours is no failure of the back end's: it must let nobody in.
    let Ok(_place) = outgoing.connects.try_acquire() else {
        outgoing.facts.unanswered(webhook, BUSY);
        return Err(Refusal::for_now("many connect at this moment").after(COME_BACK));
    };
    let (words, after) = match ask(outgoing, &reached, question).await {
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
    let length = |value: &Value| value.to_string().len();
    let presence = admitted.presence.as_ref().map(|written| compact(written)).transpose()?;
    for (name, bytes) in
        [("data", admitted.data.as_ref().map(length)), ("presence", presence.map(|text| text.len()))]
    {
        let bytes = bytes.unwrap_or(0);
        if bytes > DATA_BYTES {
            return Err(format!("its answer has {name} of {bytes} bytes; {DATA_BYTES} are taken"));
        }
    }
    Ok(admitted)
}

/// Public data without what is between its parts, where all of it can be told.
fn compact(written: &RawValue) -> Result<String, String> {
    check_numbers(written.get().as_bytes())
        .map_err(|denial| format!("its answer cannot be used: {}", denial.detail))?;
    let value: Value = serde_json::from_str(written.get()).map_err(|error| error.to_string())?;
    Ok(value.to_string())
}

/// Does what the answer says. Where a part of it makes no sense nothing is done: the connection is refused then.
fn apply(admitted: Admitted, connecting: &Connecting) -> Result<(), String> {
    let Admitted { user, grants, groups, data, presence } = admitted;
    if let Some(grants) = grants {
        connecting.grant(&grants)?;
    }
    if let Some(presence) = presence {
        connecting.describe(Payload::json(compact(&presence)?)).map_err(|error| error.to_string())?;
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
    let format = call.arguments().format;
    let (connection, user) = (call.caller().connection().to_string(), call.caller().user().as_str());
    let invocation = Invocation {
        kind: "invoke",
        epoch: outgoing.epoch,
        connection: &connection,
        user,
        method: call.method().as_str(),
        arguments: Arguments::of(call.arguments())?,
        data: kept(call.caller()),
        at_ms: event::now_ms(),
    };
    // It is made of texts, numbers and JSON.
    let body = serde_json::to_string(&invocation).map_err(CallError::internal)?;
    let question = Question {
        name: "invoke",
        connection: connection.clone(),
        user,
        body,
        deadline: webhook.invoke_deadline,
        answer_bytes: call.caller().hub().longest_payload(),
    };
    let Ok(_place) = outgoing.calls.try_acquire() else {
        outgoing.facts.unanswered(webhook, BUSY);
        return Err(Denial::from(Code::BackEndUnavailable).into());
    };
    let asking = ask(outgoing, &reached, question);
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

/// What a back end is asked for a method.
#[derive(Serialize)]
struct Invocation<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    epoch: u64,
    connection: &'a str,
    user: &'a str,
    method: &'a str,
    #[serde(flatten)]
    arguments: Arguments<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    at_ms: u64,
}

/// What the back end has said to be kept for a connection.
fn kept(caller: &Caller) -> Option<Value> {
    caller.find::<Data>().map(|data| data.0.clone())
}

/// A payload as a back end reads it: JSON as it is, and MessagePack as a value where that can be one; text; or bytes.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Arguments<'a> {
    #[serde(rename = "arguments", serialize_with = "as_it_is")]
    Json(&'a str),
    #[serde(rename = "arguments")]
    Value(Value),
    Text(&'a str),
    Base64(String),
}

impl<'a> Arguments<'a> {
    /// # Errors
    /// When it is not what it is said to be.
    fn of(payload: &'a Payload) -> Result<Self, CallError> {
        let invalid = |error: &dyn std::fmt::Display| {
            CallError::from(Denial { code: Code::ArgumentsInvalid, detail: error.to_string() })
        };
        let base64 = || Self::Base64(STANDARD.encode(&payload.bytes));
        match payload.format {
            PayloadFormat::Json => {
                let json: &RawValue =
                    serde_json::from_slice(&payload.bytes).map_err(|error| invalid(&error))?;
                Ok(Self::Json(json.get()))
            }
            // What JSON cannot say, such as bytes, stays as it is.
            PayloadFormat::MessagePack => Ok(packed::value(&payload.bytes).map_or_else(base64, Self::Value)),
            PayloadFormat::Text => {
                let text = std::str::from_utf8(&payload.bytes).map_err(|error| invalid(&error))?;
                Ok(Self::Text(text))
            }
            PayloadFormat::Binary | PayloadFormat::Other(_) => Ok(base64()),
        }
    }
}

/// JSON that has been checked, with every digit that it has.
fn as_it_is<S: Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: &RawValue = serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
    raw.serialize(serializer)
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
