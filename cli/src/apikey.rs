//! `fanfare apikey`: keys of the HTTP API, for back ends.
//!
//! In: a command line. Out: a key, shown once; or which keys there are. Invariant: what opens with a key is made here,
//! and is nowhere but on stdout: the server is told a hash.

use std::io::{IsTerminal, Write};
use std::num::NonZeroU32;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use fanfare_client::OperatorClient;
use fanfare_protocol::admin::{Action, ApiKeyRow, Listing, Question, Receipt, Scope};
use serde_json::json;

use crate::admin::{AccessArguments, EndArguments, ListArguments, NoteArguments, show};
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct ApiKeyArguments {
    #[command(subcommand)]
    command: ApiKeyCommand,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    access: AccessArguments,
}

#[derive(Debug, Subcommand)]
enum ApiKeyCommand {
    /// Make a key, and print it: it is shown this once
    #[command(after_help = SCOPES)]
    Create {
        /// What it is called; no two have the same name
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it may do; may be given more than once
        #[arg(long, value_name = "SCOPE", required = true)]
        allow: Vec<Scope>,
        /// Operations a second that it may have carried out; without this, as many as it likes
        #[arg(long, value_name = "N")]
        per_second: Option<NonZeroU32>,
        #[command(flatten)]
        end: EndArguments,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Which keys there are, what they may do, and when they were last used
    List(ListArguments),
    /// Refuse a key from now on
    Revoke {
        /// What it is called
        name: String,
        #[command(flatten)]
        note: NoteArguments,
    },
}

const SCOPES: &str = "\
Scopes: what may be done, and to whom. `*` in a pattern stands for any run of characters.
  send      :group:PATTERN  :user:PATTERN  :connection  :all
  members   :group:PATTERN                                     add to groups, remove from them
  read      :group:PATTERN  :user:PATTERN  :connection  :all   who is here
  close     :group:PATTERN  :user:PATTERN  :connection  :all   close connections
  moderate  :user:PATTERN   :all                               ban, revoke, sign out; with all, the audit
  mint      :user:PATTERN                                      make tokens
Without what follows it, a word stands for all of it; and * for everything.

  fanfare apikey create --name billing --allow 'send:group:room-*' --allow read --for 90d";

pub(crate) async fn run(arguments: ApiKeyArguments) -> Result<(), Failure> {
    let ApiKeyArguments { command, json, access } = arguments;
    let (client, _) = access.connect().await?;
    let done = carry_out(&client, command, json).await;
    client.close().await;
    done
}

async fn carry_out(client: &OperatorClient, command: ApiKeyCommand, json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match command {
        ApiKeyCommand::Create { name, allow, per_second, end, note } => {
            let key = Key::new()?;
            let until = end.until();
            let _: Receipt = client
                .ask(&Action::CreateApiKey {
                    name: name.clone(),
                    id: key.id().to_owned(),
                    hash: key.hash(),
                    allow,
                    per_second,
                    until,
                    reason: note.reason,
                })
                .await?;
            if json {
                writeln!(out, "{}", json!({ "name": name, "key": key.0, "until": until }))?;
                return Ok(());
            }
            writeln!(out, "{}", key.0)?;
            // For a person, and not for a file that the key goes to.
            if out.is_terminal() {
                writeln!(out, "(the key {name:?}; it is not shown again)")?;
            }
        }
        ApiKeyCommand::List(list) => {
            let listing: Listing<ApiKeyRow> = client.ask(&Question::ApiKeys(list.into())).await?;
            if json {
                let text =
                    serde_json::to_string(&listing).map_err(|error| Failure::failed(error.to_string()))?;
                writeln!(out, "{text}")?;
            } else {
                write!(out, "{}", show::api_keys(&listing))?;
            }
        }
        ApiKeyCommand::Revoke { name, note } => {
            let receipt: Receipt =
                client.ask(&Action::RevokeApiKey { name: name.clone(), reason: note.reason }).await?;
            if json {
                let text =
                    serde_json::to_string(&receipt).map_err(|error| Failure::failed(error.to_string()))?;
                writeln!(out, "{text}")?;
            } else {
                writeln!(out, "the key {name:?} opens nothing any more; record {}", receipt.audit)?;
            }
        }
    }
    Ok(())
}

/// `ffk_`, 16 hexadecimal digits that tell it from others, `_`, and 32 random bytes in base64 (RFC 4648 section 5).
struct Key(String);

impl Key {
    fn new() -> Result<Self, Failure> {
        let (mut id, mut secret) = ([0; 8], [0; 32]);
        rand::fill(&mut id)
            .and_then(|()| rand::fill(&mut secret))
            .map_err(|_| Failure::failed("the system gives no randomness, so no key was made"))?;
        Ok(Self(format!("ffk_{}_{}", hex(&id), URL_SAFE_NO_PAD.encode(secret))))
    }

    fn id(&self) -> &str {
        self.0.get(..20).unwrap_or_default()
    }

    fn hash(&self) -> String {
        hex(digest(&SHA256, self.0.as_bytes()).as_ref())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
