//! `fanfare send`: one message, and whether it was taken.

use std::io::{Read, Write};

use bytes::Bytes;
use fanfare_client::{Client, Counted, Event, Outgoing, Payload, PayloadFormat, RequestError};
use fanfare_protocol::Limits;

use crate::arguments::SendArguments;
use crate::failure::Failure;
use crate::{output, preview};

pub(crate) async fn run(arguments: SendArguments) -> Result<(), Failure> {
    let SendArguments { connection, targets, except, event, format, ack, json, text } = arguments;
    let (what, payload) = if text == "-" { ("standard input", read_stdin()?) } else { ("TEXT", text.into()) };
    // Our own connection is there for as long as the sending takes, and nobody reads what it gets.
    let mut outgoing = Outgoing::new(event, checked(format.into(), payload, what)?).others();
    for group in targets.to_group {
        outgoing = outgoing.to_group(group);
    }
    for user in targets.to_user {
        outgoing = outgoing.to_user(user);
    }
    for id in targets.to_connection {
        outgoing = outgoing.to_connection(id);
    }
    if targets.to_all {
        outgoing = outgoing.to_all();
    }
    for id in except {
        outgoing = outgoing.except(id);
    }

    let client = connection.connect(connection.config()?.reconnect(None)).await?;
    let taken = hand_over(&client, outgoing, ack, json).await;
    // Also where it was not taken: a connection that is not closed stays the server's for as long as its idle timeout.
    // Closing waits until the server has carried out what was sent, so a refusal is here afterwards.
    let closed = client.close().await.map_err(|error| Failure::failed(error.to_string()));
    taken.and(closed)?;
    while let Some(event) = client.next().await {
        if let Event::Refused { code, detail, .. } = event {
            return Err(RequestError::Refused { code, detail }.into());
        }
    }
    Ok(())
}

/// The payload, if it is what it is said to be. The server does not look, and recipients should not have to find out.
fn checked(format: PayloadFormat, bytes: Bytes, what: &str) -> Result<Payload, Failure> {
    let said = match format {
        PayloadFormat::Text => "text in UTF-8",
        PayloadFormat::Json => "JSON",
        PayloadFormat::MessagePack => "MessagePack",
        PayloadFormat::Binary | PayloadFormat::Other(_) => "bytes",
    };
    match preview::problem(format, &bytes) {
        None => Ok(Payload::new(format, bytes)),
        Some(problem) => Err(Failure::usage(format!(
            "{what} is not {said}: {problem}; --format says what it is, and --format binary sends any bytes"
        ))),
    }
}

async fn hand_over(client: &Client, outgoing: Outgoing, ack: bool, json: bool) -> Result<(), Failure> {
    if ack {
        let counted = client.send_counted(outgoing).await?;
        writeln!(std::io::stdout(), "{}", if json { as_json(&counted) } else { as_text(&counted) })?;
    } else {
        client.send(outgoing).await?;
    }
    Ok(())
}

fn as_text(Counted { count, silent, .. }: &Counted) -> String {
    let connections = if *count == 1 { "connection" } else { "connections" };
    if silent.is_empty() {
        return format!("queued to {count} {connections}");
    }
    format!("queued to {count} {connections}, and more perhaps: no answer from {}", output::nodes(silent))
}

/// As the HTTP API says it.
fn as_json(Counted { count, silent, .. }: &Counted) -> String {
    if silent.is_empty() {
        return serde_json::json!({ "queued": count }).to_string();
    }
    serde_json::json!({ "queued": count, "silent": silent }).to_string()
}

fn read_stdin() -> Result<Bytes, Failure> {
    let most = Limits::PAYLOAD_CEILING;
    let mut payload = Vec::new();
    // One byte more than any server takes, so that more is seen to be more, and not read to its end.
    std::io::stdin()
        .lock()
        .take(u64::from(most) + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))?;
    if payload.len() > most as usize {
        return Err(Failure::failed(format!(
            "standard input has more than {most} bytes, which no server takes as one message"
        )));
    }
    Ok(payload.into())
}
