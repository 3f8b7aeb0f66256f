//! `fanfare webhook`: what back ends check requests by, and what a file of webhooks says.
//!
//! In: a command line. Out: a secret, shown once; or what a server would ask and tell. Invariant: a secret is nowhere
//! but on stdout.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use fanfare_server::WebhookSecret;
use serde_json::json;

use crate::failure::Failure;
use crate::settings::load_webhooks;

#[derive(Debug, Args)]
pub(crate) struct WebhookArguments {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// Make a secret that requests are signed with, and print it
    Secret,
    /// Read a file as `serve --webhooks` does, and print what is in it
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(arguments: WebhookArguments) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match arguments.command {
        WebhookCommand::Secret => {
            let secret = WebhookSecret::generate().map_err(|error| Failure::failed(error.to_string()))?;
            writeln!(out, "{secret}")?;
        }
        WebhookCommand::Check { file, json } => {
            let webhooks = load_webhooks(&file)?;
            if json {
                let rows: Vec<_> = webhooks.iter().map(row).collect();
                writeln!(out, "{}", serde_json::Value::from(rows))?;
                return Ok(());
            }
            for webhook in &webhooks {
                let asked = webhook.connect.then_some("connections".to_owned());
                let methods = webhook.invoke.iter().map(|pattern| format!("method {}", pattern.as_str()));
                let asked: Vec<String> = asked.into_iter().chain(methods).collect();
                let told: Vec<&str> = webhook.events.iter().map(|event| event.name()).collect();
                let or_nothing = |words: String| if words.is_empty() { "nothing".to_owned() } else { words };
                writeln!(out, "{}  {}", webhook.name, webhook.shown_url())?;
                writeln!(out, "  asked about  {}", or_nothing(asked.join(", ")))?;
                writeln!(out, "  told of      {}", or_nothing(told.join(", ")))?;
            }
        }
    }
    Ok(())
}

fn row(webhook: &fanfare_server::Webhook) -> serde_json::Value {
    json!({
        "name": webhook.name,
        "url": webhook.shown_url(),
        "connect": webhook.connect,
        "invoke": webhook.invoke.iter().map(fanfare_protocol::Pattern::as_str).collect::<Vec<_>>(),
        "events": webhook.events.iter().map(|event| event.name()).collect::<Vec<_>>(),
    })
}
