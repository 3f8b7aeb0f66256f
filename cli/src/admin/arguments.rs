//! The command line of `fanfare admin`, as it is typed.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::defaults::DEFAULT_ADMIN;
use clap::{Args, Subcommand, ValueEnum};
use fanfare_protocol::admin::{May, Page};
use fanfare_protocol::{ConnectionId, EventName, Token};

#[derive(Debug, Args)]
pub(crate) struct AdminArguments {
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
    /// Print JSON: one object, or one a line where there is no end to them
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) names: super::names::NameArguments,
    #[command(flatten)]
    pub(crate) access: AccessArguments,
}

/// Which server, and with which certificate.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessArguments {
    /// Where operators connect: a name or an address, and a port
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "FANFARE_ADMIN",
        default_value = DEFAULT_ADMIN,
        global = true
    )]
    pub(crate) admin: String,
    /// The operator's certificate, as PEM; without it, the one in the state directory
    #[arg(long, value_name = "FILE", env = "FANFARE_OPERATOR_CERT", global = true)]
    pub(crate) operator_cert: Option<PathBuf>,
    /// Its private key, as PEM; without it, NAME-key.pem beside the certificate NAME.pem
    #[arg(long, value_name = "FILE", env = "FANFARE_OPERATOR_KEY", global = true)]
    pub(crate) operator_key: Option<PathBuf>,
    /// The authority that issued the server's certificate for operators; without it, ca.pem in the state directory
    #[arg(long, value_name = "FILE", env = "FANFARE_CA", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// Where the server keeps its state
    #[arg(long, value_name = "DIR", env = "FANFARE_STATE_DIR", default_value = ".fanfare", global = true)]
    pub(crate) state_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Facts and totals
    Status,
    /// Who is connected
    Connections(ListArguments),
    /// Who is here, by user
    Users(ListArguments),
    /// Which groups there are
    Groups(ListArguments),
    /// Who is in a group
    Members {
        /// The group
        group: String,
        #[command(flatten)]
        list: ListArguments,
    },
    /// Everything about one connection
    Connection {
        /// Its id
        connection: ConnectionId,
    },
    /// What is forbidden to whom
    Bans(ListArguments),
    /// Whether a user may join a group, and why
    Explain {
        /// The user
        user: String,
        /// The group
        group: String,
        /// Say what would become of somebody with this token; @FILE reads it from a file
        #[arg(long, value_name = "TOKEN|@FILE", value_parser = crate::token_argument::token)]
        token: Option<Token>,
    },
    /// What operators did
    Audit(AuditArguments),
    /// Forbid a user a group, and remove it from there, now
    Revoke {
        /// The user
        user: String,
        /// The group; `*` in it stands for any run of characters
        groups: String,
        #[command(flatten)]
        end: EndArguments,
        /// Why; the user is told
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Lift a revocation
    Restore {
        /// The user
        user: String,
        /// The group, as it was revoked
        groups: String,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Lasting memberships: who is in which group whenever it is here
    Lasting(ListArguments),
    /// Make a user a member of a group whenever it is here, and say what it may do there
    AddLasting {
        /// The user
        user: String,
        /// The group
        group: String,
        /// What it may do there, whatever its token says
        #[arg(long, value_enum, default_value_t = MayArgument::Both)]
        may: MayArgument,
        #[command(flatten)]
        end: EndArguments,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// End a lasting membership
    RemoveLasting {
        /// The user
        user: String,
        /// The group
        group: String,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Close a user's connections, and let it in no more
    Ban {
        /// The user
        user: String,
        #[command(flatten)]
        end: EndArguments,
        /// Why; the user is told
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        /// Only say what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Lift a ban
    Unban {
        /// The user
        user: String,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Refuse every token of a user that was issued up to now
    SignOut {
        /// The user
        user: String,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Take a user's tokens again that were issued before it was signed out
    LiftSignOut {
        /// The user
        user: String,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Refuse one token
    RevokeToken {
        /// The token's id, its claim `jti`
        jti: String,
        #[command(flatten)]
        end: EndArguments,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Take a token again that was revoked
    RestoreToken {
        /// The token's id, its claim `jti`
        jti: String,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Make a user's connections members of a group, without a grant
    Add(MembershipArguments),
    /// End memberships; to join again is not forbidden
    Remove(MembershipArguments),
    /// Close connections, and tell them when to come back by themselves; nothing is forbidden
    Close {
        #[command(flatten)]
        who: CloseArguments,
        /// They come back by themselves after this time, like 30s or 5m, each at a moment between that and half as much
        /// again; without it they do not come back by themselves
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        lasting: Option<Duration>,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// The same as close without --for
    Kick {
        #[command(flatten)]
        who: WhoArguments,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Have no receipt name a node any more that was given up and might be delivering without the cluster: it is dead
    ForgetNode {
        /// Its id, as `fanfare admin status` has it in brackets
        node: String,
        #[command(flatten)]
        note: NoteArguments,
    },
    /// Copy the bans and the audit to bans.redb.backup in the server's state directory
    Backup,
    /// Send a message as the server
    Send {
        #[command(flatten)]
        to: ToArguments,
        /// The event that the message carries
        #[arg(long, value_name = "EVENT", default_value = "ReceiveMessage")]
        event: EventName,
        /// What to send
        text: String,
    },
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only rows with this text in a name, an id or an address; case does not count
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    /// The field to sort by, as `--json` names it
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    pub(crate) sort: String,
    /// The largest first
    #[arg(long)]
    pub(crate) descending: bool,
    /// Pass over so many rows
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) offset: u32,
    /// Only rows behind this: what the page before said to go on with
    #[arg(long, value_name = "CURSOR", conflicts_with = "offset")]
    pub(crate) after: Option<String>,
    /// At most so many rows, up to 1000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

impl From<ListArguments> for Page {
    fn from(list: ListArguments) -> Self {
        let ListArguments { filter, sort, descending, offset, after, limit } = list;
        Self { filter, sort, descending, offset, limit, after }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    /// At most so many of the newest records; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u64,
    /// Go on with what comes, until Ctrl-C
    #[arg(long)]
    pub(crate) follow: bool,
    /// Check that nothing was changed, taken out or put in another order
    #[arg(long, conflicts_with_all = ["follow", "limit"])]
    pub(crate) verify: bool,
    /// With --verify: a hash that was noted before, which must be in the chain
    #[arg(long, value_name = "HASH", requires = "verify", value_parser = hash)]
    pub(crate) head: Option<String>,
}

/// A hash as `audit --verify` prints it. What is none would be told as a chain that is broken.
fn hash(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a hash has 64 hexadecimal digits, as `audit --verify` prints them".to_owned())
}

/// What a lasting membership lets its user do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MayArgument {
    /// Be a member, and send
    Both,
    /// Be a member, and not send
    Receive,
    /// Send, and not be a member
    Send,
}

impl From<MayArgument> for May {
    fn from(may: MayArgument) -> Self {
        match may {
            MayArgument::Both => Self::Both,
            MayArgument::Receive => Self::Receive,
            MayArgument::Send => Self::Send,
        }
    }
}

/// When it ends by itself. Never, if it is not said.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct EndArguments {
    /// It ends by itself after this time, like 90s, 2h or 30d
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    lasting: Option<Duration>,
    /// It ends by itself at this moment, like 2030-01-31T18:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = humantime::parse_rfc3339_weak)]
    until: Option<SystemTime>,
}

impl EndArguments {
    /// In seconds since 1970.
    pub(crate) fn until(&self) -> Option<u64> {
        let after = self.lasting.and_then(|lasting| SystemTime::now().checked_add(lasting));
        let until = after.or(self.until)?;
        Some(until.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

#[derive(Debug, Args)]
pub(crate) struct NoteArguments {
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct MembershipArguments {
    /// The user; with --connection, one connection's id
    pub(crate) who: String,
    /// The group
    pub(crate) group: String,
    /// Only this connection of a user
    #[arg(long)]
    pub(crate) connection: bool,
    #[command(flatten)]
    pub(crate) note: NoteArguments,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WhoArguments {
    /// This connection
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) connection: Option<ConnectionId>,
    /// Every connection of this user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Every member of this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct CloseArguments {
    /// This connection
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) connection: Option<ConnectionId>,
    /// Every connection of this user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Every member of this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// Every connection of the server
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ToArguments {
    /// To every connection of this user
    #[arg(long, value_name = "USER")]
    pub(crate) to_user: Option<String>,
    /// To every member of this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) to_group: Option<String>,
    /// To this connection
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) to_connection: Option<ConnectionId>,
    /// To everyone
    #[arg(long)]
    pub(crate) to_all: bool,
}
