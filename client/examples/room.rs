//! A chat of a few lines: joins a room, says what is typed, prints what the others say.
//!
//! Against a development server, in the directory that it was started in:
//! `cargo run -p fanfare-client --example room -- localhost:4433 .fanfare/ca.pem alice lobby`
use std::error::Error;

use fanfare_client::{Client, ClientConfig, Credential, Event, Outgoing, Roots, UserName};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, ca, user, room] = arguments.as_slice() else {
        return Err("usage: chat HOST:PORT CA.pem USER ROOM".into());
    };
    let config =
        ClientConfig::new(server, Credential::DevUser(UserName::new(user)?)).roots(Roots::Pem(ca.into()));
    let client = Client::connect(config).await?;
    println!("{} in {room}", client.join(room.as_str()).await?);

    let reader = client.clone();
    let printing = tokio::spawn(async move {
        while let Some(event) = reader.next().await {
            match event {
                Event::Message(message) => {
                    println!("{}: {}", message.from, message.text().unwrap_or("(no text)"));
                }
                other => println!("({other:?})"),
            }
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        client.send(Outgoing::new("say", line).to_group(room.as_str()).others()).await?;
    }
    client.close().await?;
    Ok(printing.await?)
}
