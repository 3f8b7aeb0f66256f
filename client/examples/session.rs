//! A client that does what it is told on its standard input, and writes what happens to it as JSON, a line each.
//!
//! Programs in any language can use Fanfare through it. `tests/last-release` builds it from the last release, and runs
//! it against the server of today (promise 13), so its commands and its lines only grow.
//!
//! ```text
//! cargo run -p fanfare-client --example session -- 127.0.0.1:4433 .fanfare/ca.pem alice
//! join lobby
//! count lobby
//! send lobby Event some text
//! send-json lobby Event {"a": 1}
//! send-to-user bob Event some text
//! datagram lobby Event some text
//! leave lobby
//! close
//! ```

use std::error::Error;

use fanfare_client::{
    Client, ClientConfig, Credential, Event, GroupName, Outgoing, Payload, RequestError, Roots, Target,
    UserName,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, ca, user] = arguments.as_slice() else {
        return Err("usage: session HOST:PORT CA.pem USER".into());
    };
    let config =
        ClientConfig::new(server, Credential::DevUser(UserName::new(user)?)).roots(Roots::Pem(ca.into()));
    let client = Client::connect(config).await?;
    println!("{}", json!({ "kind": "welcome", "connection": client.connection_id().to_string() }));
    let reader = client.clone();
    let events = tokio::spawn(async move {
        while let Some(event) = reader.next().await {
            println!("{}", told(&event));
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if command == "close" {
            break;
        }
        let answer = match carry_out(&client, command, rest).await {
            Ok(count) => json!({ "kind": "done", "command": command, "count": count }),
            Err(error) => {
                let code = error.code().map(fanfare_client::Code::number);
                json!({ "kind": "refused", "command": command, "code": code, "detail": error.to_string() })
            }
        };
        println!("{answer}");
    }
    client.close().await?;
    Ok(events.await?)
}

async fn carry_out(client: &Client, command: &str, rest: &str) -> Result<u64, RequestError> {
    let mut words = rest.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (to, event, text) = (word(), word(), word().to_owned());
    match command {
        "join" => client.join(to).await,
        "leave" => client.leave(to).await,
        "count" => client.count(Target::Group(GroupName::new(to)?)).await,
        "send" => client.send_acked(Outgoing::new(event, text).to_group(to)).await,
        "send-json" => client.send_acked(Outgoing::new(event, Payload::json(text)).to_group(to)).await,
        "send-to-user" => client.send_acked(Outgoing::new(event, text).to_user(to)).await,
        "datagram" => client.send_unreliable(Outgoing::new(event, text).to_group(to)).map(|_| 0),
        other => {
            eprintln!("there is no command {other:?}; see the head of client/examples/session.rs");
            std::process::exit(2);
        }
    }
}

fn told(event: &Event) -> Value {
    match event {
        Event::Message(message) => json!({
            "kind": "message",
            "from": message.from.to_string(),
            "event": message.event.as_str(),
            "format": message.format.to_string(),
            "text": String::from_utf8_lossy(&message.payload),
        }),
        Event::Joined { group, members } => {
            json!({ "kind": "joined", "group": group.as_str(), "members": members })
        }
        Event::Removed { group, code, reason } => {
            json!({ "kind": "removed", "group": group.as_str(), "code": code, "reason": reason })
        }
        Event::Goodbye { code, reason, .. } => json!({ "kind": "goodbye", "code": code, "reason": reason }),
        Event::Disconnected { reason, .. } => json!({ "kind": "disconnected", "reason": reason.to_string() }),
        Event::Reconnected { connection, rejoined, .. } => {
            let rejoined: Vec<&str> = rejoined.iter().map(GroupName::as_str).collect();
            json!({ "kind": "reconnected", "connection": connection.to_string(), "rejoined": rejoined })
        }
        Event::Closed { reason, .. } => json!({ "kind": "closed", "reason": reason.to_string() }),
        other => json!({ "kind": "other", "debug": format!("{other:?}") }),
    }
}
