//! The command line as it is typed: raw, and checked only as far as one argument by itself can be.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fanfare_protocol::{ConnectionId, EventName, GroupName, Pattern, PayloadFormat, Token, UserName};

use crate::admin::{AccessArguments, AdminArguments};
use crate::apikey::ApiKeyArguments;
use crate::defaults::DEFAULT_SERVER;
use crate::settings::ServeArguments;
use crate::token_argument::token;
use crate::webhook::WebhookArguments;

/// Users and groups over QUIC: a realtime hub and its tools.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Try it, in three terminals:
  fanfare serve --dev
  fanfare listen --user alice --join lobby
  fanfare send --user bob --to-group lobby 'hello'";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server
    Serve(ServeArguments),
    /// Print the settings that `serve` would run with, and where each comes from
    Config(ServeArguments),
    /// Connect, join groups, and print what arrives
    Listen(ListenArguments),
    /// Send one message
    Send(SendArguments),
    /// Talk in a group, line by line
    Chat(ChatArguments),
    /// Make a token, for trying things out
    Token(TokenArguments),
    /// See it work: a server with a crowd that chats, and the dashboard on top, all in this process
    Demo {
        /// How many users chat
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=2_000))]
        users: u16,
    },
    /// Watch a running server in this terminal, and act from there
    Top(TopArguments),
    /// Look at a running server as an operator, and act: revoke, ban, kick, send
    Admin(AdminArguments),
    /// Make, list and revoke the keys that back ends use the HTTP API with
    Apikey(ApiKeyArguments),
    /// Make secrets that webhooks are signed with, and check a file of webhooks
    Webhook(WebhookArguments),
    /// Make and show certificates: for development, for operators, and for users
    Certs(CertsArguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// The directory to write them to; it is made if it is not there
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Where to connect, and as whom. Flattened last: clap puts what follows under the same heading.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArguments {
    /// The server: a name or an address, and a port; may be given more than once, or with commas, where several
    /// are one hub: then another is tried where one cannot be used
    #[arg(
        long = "server",
        value_name = "HOST:PORT",
        env = "FANFARE_SERVER",
        default_value = DEFAULT_SERVER,
        value_delimiter = ','
    )]
    pub(crate) servers: Vec<String>,
    /// Who to be; only a server started with --dev takes it without proof
    #[arg(long, value_name = "NAME", env = "FANFARE_USER")]
    pub(crate) user: Option<UserName>,
    /// The token that says who to be and what is allowed; @FILE reads it from a file, anew for each connection
    #[arg(long, value_name = "TOKEN|@FILE", env = "FANFARE_TOKEN", hide_env_values = true, value_parser = token)]
    pub(crate) token: Option<Token>,
    /// A certificate that says who to be, as PEM, where the server takes those
    #[arg(long, value_name = "FILE", env = "FANFARE_CLIENT_CERT", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", env = "FANFARE_CLIENT_KEY", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Trust the authority in this PEM file, and no other
    #[arg(long, value_name = "FILE", env = "FANFARE_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Where to look for a development server's authority, if --ca is not given
    #[arg(long, value_name = "DIR", env = "FANFARE_STATE_DIR", default_value = ".fanfare")]
    pub(crate) state_dir: PathBuf,
    /// Where a WebSocket helps if UDP does not get through, or "off"; without this, at the server's host and port
    #[arg(long, value_name = "URL|off", env = "FANFARE_WEBSOCKET")]
    pub(crate) websocket: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListenArguments {
    /// Join this group; may be given more than once
    #[arg(long = "join", value_name = "GROUP")]
    pub(crate) groups: Vec<GroupName>,
    /// Tell who is in this group, and who comes and goes; may be given more than once
    #[arg(long = "watch", value_name = "GROUP")]
    pub(crate) watches: Vec<GroupName>,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) count: Option<NonZeroU64>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// End when the connection is lost, instead of connecting again
    #[arg(long)]
    pub(crate) no_reconnect: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

fn positive(text: &str) -> Result<NonZeroU64, &'static str> {
    text.parse().map_err(|_| "write a whole number from 1 on")
}

// clap would name all the targets in the usage, which is too long for a line.
#[derive(Debug, Args)]
#[command(override_usage = "fanfare send [OPTIONS] <--user <NAME>|--token <TOKEN>> <TARGETS> <TEXT>")]
pub(crate) struct SendArguments {
    /// Leave this connection out; may be given more than once
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) except: Vec<ConnectionId>,
    /// The event that the message carries
    #[arg(long, value_name = "EVENT", default_value = "ReceiveMessage")]
    pub(crate) event: EventName,
    /// What the message is written in; recipients are told. All but `binary` are checked before anything is sent
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Ask the server to how many connections the message was queued, and print it
    #[arg(long)]
    pub(crate) ack: bool,
    /// Print the answer as JSON
    #[arg(long, requires = "ack")]
    pub(crate) json: bool,
    /// What to send; `-` reads it from standard input, to its end; behind `--` it may begin with a hyphen
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
    #[command(flatten)]
    pub(crate) targets: TargetArguments,
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// What a payload can be written in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// UTF-8
    Text,
    Json,
    /// Any bytes
    Binary,
    /// MessagePack
    Msgpack,
}

impl From<Format> for PayloadFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
            Format::Binary => Self::Binary,
            Format::Msgpack => Self::MessagePack,
        }
    }
}

/// At least one of these; a connection that several reach gets one copy.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
#[command(next_help_heading = "Targets")]
pub(crate) struct TargetArguments {
    /// Send to every connection of this user; may be given more than once
    #[arg(long, value_name = "USER")]
    pub(crate) to_user: Vec<UserName>,
    /// Send to every member of this group; may be given more than once
    #[arg(long, value_name = "GROUP")]
    pub(crate) to_group: Vec<GroupName>,
    /// Send to this connection; may be given more than once
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) to_connection: Vec<ConnectionId>,
    /// Send to everyone
    #[arg(long)]
    pub(crate) to_all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArguments {
    /// The group to talk in
    #[arg(long = "join", value_name = "GROUP")]
    pub(crate) group: GroupName,
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    /// Print one snapshot as text, and end
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) access: AccessArguments,
}

/// Patterns are exact, or have `*` for any run of characters.
#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    #[command(flatten)]
    pub(crate) signer: SignerArguments,
    /// Whom the token is for
    #[arg(long, value_name = "NAME")]
    pub(crate) user: UserName,
    /// Let it join the groups that match; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub(crate) join: Vec<Pattern>,
    /// Let it send to the groups that match; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub(crate) send: Vec<Pattern>,
    /// Let it know who is in the groups that match; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub(crate) presence: Vec<Pattern>,
    /// Let it send to the users that match; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    pub(crate) send_user: Vec<Pattern>,
    /// Let it send to everyone
    #[arg(long)]
    pub(crate) send_all: bool,
    /// How long the token lasts
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    pub(crate) lifetime: std::time::Duration,
    /// An id to revoke the token by (jti)
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Whom the token is meant for (aud)
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Option<String>,
    /// Who makes it (iss)
    #[arg(long, value_name = "NAME")]
    pub(crate) issuer: Option<String>,
}

/// One of the two: a file is never guessed to be a secret.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SignerArguments {
    /// What to sign with: a private key in PEM
    #[arg(long, alias = "token-key", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// What to sign with: a secret of at least 32 bytes, the file byte for byte, but for one line end
    #[arg(long, alias = "token-secret", value_name = "FILE")]
    pub(crate) secret: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CertsArguments {
    #[command(subcommand)]
    pub(crate) command: CertsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Make a development authority, and a server certificate of it for 13 days
    Create {
        #[command(flatten)]
        place: StateArguments,
        /// A further name or address of the server, beside localhost, 127.0.0.1 and ::1; may be given more than once
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<String>,
        /// Replace what is there; clients that trust the old authority will not trust the new one
        #[arg(long)]
        force: bool,
    },
    /// Issue a certificate for an operator, by the authority in the state directory
    Operator {
        #[command(flatten)]
        place: StateArguments,
        /// Whose it is: the author of what is done with it
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it may be used for
        #[arg(long, value_name = "ROLE")]
        role: RoleArgument,
        /// How long it is valid
        #[arg(long = "for", value_name = "TIME", default_value = "90d", value_parser = humantime::parse_duration)]
        lifetime: std::time::Duration,
    },
    /// Issue a certificate that says which user a client is, by the authority in the state directory
    User {
        #[command(flatten)]
        place: StateArguments,
        /// The user
        #[arg(long, value_name = "NAME")]
        name: String,
        /// How long it is valid
        #[arg(long = "for", value_name = "TIME", default_value = "90d", value_parser = humantime::parse_duration)]
        lifetime: std::time::Duration,
    },
    /// Revoke an operator's certificate; running servers know it within a second
    Revoke {
        #[command(flatten)]
        place: StateArguments,
        /// Whose
        #[arg(value_name = "NAME", required_unless_present = "file")]
        name: Option<String>,
        /// The certificate itself, if it is not in the state directory
        #[arg(long, value_name = "FILE", conflicts_with = "name")]
        file: Option<PathBuf>,
    },
    /// Show the certificates in the state directory, or in a PEM file
    Show {
        #[command(flatten)]
        place: StateArguments,
        /// A PEM file
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Print a JSON list
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleArgument {
    /// May look
    Viewer,
    /// May look and act
    Operator,
}

#[derive(Debug, Args)]
pub(crate) struct StateArguments {
    /// Where the server keeps its state
    #[arg(long, value_name = "DIR", env = "FANFARE_STATE_DIR", default_value = ".fanfare")]
    pub(crate) state_dir: PathBuf,
}

/// How long a token lasts. It ends in a whole second, so one of less would have ended before it is used.
fn lifetime(text: &str) -> Result<std::time::Duration, String> {
    let lifetime = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if lifetime.as_secs() == 0 {
        return Err("a token lasts a second at least; write a time like 90s, 1h or 30d".to_owned());
    }
    Ok(lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
