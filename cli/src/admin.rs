//! `fanfare admin`: an operator's questions and orders to a running server.
//!
//! In: a command line. Out: tables and sentences, or JSON as the endpoint sends it; exit code 1 where the server refuses, and
//! where `audit --verify` finds the chain broken.

mod access;
mod arguments;
mod names;
mod show;
mod table;

use std::io::Write;

use base64::Engine as _;
use fanfare_client::OperatorClient;
use fanfare_protocol::admin::{
    AdminRequest, AuditVerdict, BanRow, ConnectionDetail, ConnectionRow, Explanation, GroupRow, Listing,
    Receipt, Status, UserRow, Who,
};
use fanfare_protocol::{ConnectionId, UserName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::arguments::{AccessArguments, AdminArguments};
use self::arguments::{
    AdminCommand, AuditArguments, CloseArguments, MembershipArguments, ToArguments, WhoArguments,
};
use self::names::NameArguments;
use self::show::Done;
use crate::failure::Failure;
use crate::stopping::Stopping;

/// How long a connection is looked at for its rates.
const RATES_OVER: std::time::Duration = std::time::Duration::from_secs(1);

pub(crate) async fn run(arguments: AdminArguments) -> Result<(), Failure> {
    let AdminArguments { command, json, names, access } = arguments;
    // What cannot be asked is told before anything is tried.
    let asked = Asked::try_from(command)?.meant(names)?;
    let (client, status) = access.connect().await?;
    let desk = Desk { client, json };
    let done = desk.carry_out(asked, &status).await;
    desk.client.close().await;
    done
}

/// What to ask, and how to show the answer.
enum Asked {
    Status,
    Audit(AuditArguments),
    Connections(AdminRequest),
    Users(AdminRequest),
    Groups(AdminRequest),
    Bans(AdminRequest),
    Connection(AdminRequest),
    Explain(AdminRequest),
    Act(AdminRequest, Done),
}

impl Asked {
    /// The same about those whose names are meant.
    fn meant(self, names: NameArguments) -> Result<Self, Failure> {
        Ok(match self {
            Self::Status => Self::Status,
            Self::Audit(audit) => Self::Audit(audit),
            Self::Connections(request) => Self::Connections(names.meant(request)?),
            Self::Users(request) => Self::Users(names.meant(request)?),
            Self::Groups(request) => Self::Groups(names.meant(request)?),
            Self::Bans(request) => Self::Bans(names.meant(request)?),
            Self::Connection(request) => Self::Connection(names.meant(request)?),
            Self::Explain(request) => Self::Explain(names.meant(request)?),
            Self::Act(request, done) => Self::Act(names.meant(request)?, done),
        })
    }
}

impl TryFrom<AdminCommand> for Asked {
    type Error = Failure;

    fn try_from(command: AdminCommand) -> Result<Self, Failure> {
        Ok(match command {
            AdminCommand::Status => Self::Status,
            AdminCommand::Audit(audit) => Self::Audit(audit),
            AdminCommand::Connections(list) => Self::Connections(AdminRequest::Connections(list.into())),
            AdminCommand::Members { group, list } => {
                Self::Connections(AdminRequest::Members { group, page: list.into() })
            }
            AdminCommand::Users(list) => Self::Users(AdminRequest::Users(list.into())),
            AdminCommand::Groups(list) => Self::Groups(AdminRequest::Groups(list.into())),
            AdminCommand::Bans(list) => Self::Bans(AdminRequest::Bans(list.into())),
            AdminCommand::Connection { connection } => {
                Self::Connection(AdminRequest::Connection { connection })
            }
            AdminCommand::Explain { user, group, token } => {
                let token = token.map(|token| crate::token::given(token.expose())).transpose()?;
                Self::Explain(AdminRequest::Explain { user, group, token })
            }
            AdminCommand::Revoke { user, groups, end, reason, dry_run } => {
                let until = end.until();
                Self::Act(AdminRequest::Revoke { user, groups, until, reason, dry_run }, Done::To("removed"))
            }
            AdminCommand::Restore { user, groups, note } => {
                Self::Act(AdminRequest::Restore { user, groups, reason: note.reason }, Done::Lifted)
            }
            AdminCommand::Ban { user, end, reason, dry_run } => {
                let until = end.until();
                Self::Act(AdminRequest::Ban { user, until, reason, dry_run }, Done::To("closed"))
            }
            AdminCommand::Unban { user, note } => {
                Self::Act(AdminRequest::Unban { user, reason: note.reason }, Done::Lifted)
            }
            AdminCommand::SignOut { user, note } => {
                Self::Act(AdminRequest::SignOut { user, reason: note.reason }, Done::To("closed"))
            }
            AdminCommand::LiftSignOut { user, note } => {
                Self::Act(AdminRequest::LiftSignOut { user, reason: note.reason }, Done::Lifted)
            }
            AdminCommand::RestoreToken { jti, note } => {
                Self::Act(AdminRequest::RestoreToken { jti, reason: note.reason }, Done::Lifted)
            }
            AdminCommand::RevokeToken { jti, end, note } => {
                let until = end.until();
                Self::Act(AdminRequest::RevokeToken { jti, until, reason: note.reason }, Done::To("closed"))
            }
            AdminCommand::Add(MembershipArguments { who, group, connection, note }) => {
                let who = named(&who, connection)?;
                Self::Act(AdminRequest::Add { who, group, reason: note.reason }, Done::To("added"))
            }
            AdminCommand::Remove(MembershipArguments { who, group, connection, note }) => {
                let who = named(&who, connection)?;
                Self::Act(AdminRequest::Remove { who, group, reason: note.reason }, Done::To("removed"))
            }
            AdminCommand::Close { who, lasting, note } => {
                // Less than a millisecond is a time, too, and 0 is none. The server says what is too long.
                let retry_after_ms = lasting
                    .map_or(0, |lasting| u32::try_from(lasting.as_millis()).unwrap_or(u32::MAX).max(1));
                let act = AdminRequest::Close { who: who.into(), retry_after_ms, reason: note.reason };
                Self::Act(act, Done::To("closed"))
            }
            AdminCommand::Kick { who, note } => {
                Self::Act(AdminRequest::Kick { who: who.into(), reason: note.reason }, Done::To("closed"))
            }
            AdminCommand::Backup => Self::Act(AdminRequest::Backup {}, Done::Copied),
            AdminCommand::Send { to, event, text } => {
                let payload = base64::engine::general_purpose::STANDARD.encode(text);
                Self::Act(AdminRequest::Send { to: to.into(), event, payload }, Done::To("reached"))
            }
        })
    }
}

/// A user, or a connection's id.
fn named(who: &str, connection: bool) -> Result<Who, Failure> {
    let wrong =
        |what: &str, error: &dyn std::fmt::Display| Failure::usage(format!("{who:?} is no {what}: {error}"));
    if connection {
        return who
            .parse::<ConnectionId>()
            .map(Who::Connection)
            .map_err(|error| wrong("connection's id", &error));
    }
    who.parse::<UserName>().map(Who::User).map_err(|error| wrong("user's name", &error))
}

impl From<WhoArguments> for Who {
    fn from(who: WhoArguments) -> Self {
        let WhoArguments { connection, user, group } = who;
        let group = || group.map_or(Self::All, Self::Group);
        connection.map_or_else(|| user.map_or_else(group, Self::User), Self::Connection)
    }
}

impl From<CloseArguments> for Who {
    fn from(who: CloseArguments) -> Self {
        // One of them is given; where it is none of the three, it is `--all`.
        let CloseArguments { connection, user, group, all: _ } = who;
        WhoArguments { connection, user, group }.into()
    }
}

impl From<ToArguments> for Who {
    fn from(to: ToArguments) -> Self {
        let ToArguments { to_user, to_group, to_connection, to_all: _ } = to;
        // One of them is given; where it is none of the three, it is `--to-all`.
        WhoArguments { connection: to_connection, user: to_user, group: to_group }.into()
    }
}

struct Desk {
    client: OperatorClient,
    json: bool,
}

impl Desk {
    async fn carry_out(&self, asked: Asked, status: &Status) -> Result<(), Failure> {
        match asked {
            Asked::Status => self.print(status, show::status),
            Asked::Audit(audit) => self.audit(audit, status).await,
            Asked::Connections(request) => {
                self.ask::<Listing<ConnectionRow>>(&request, show::connections).await
            }
            Asked::Users(request) => self.ask::<Listing<UserRow>>(&request, show::users).await,
            Asked::Groups(request) => self.ask::<Listing<GroupRow>>(&request, show::groups).await,
            Asked::Bans(request) => self.ask::<Listing<BanRow>>(&request, show::bans).await,
            Asked::Connection(request) => self.connection(&request).await,
            Asked::Explain(request) => self.ask::<Explanation>(&request, show::explanation).await,
            Asked::Act(request, done) => {
                self.ask::<Receipt>(&request, |receipt| show::receipt(&done, receipt)).await
            }
        }
    }

    /// Asked twice where a person reads it, for the rates between.
    async fn connection(&self, request: &AdminRequest) -> Result<(), Failure> {
        let detail: ConnectionDetail = self.client.ask(request).await?;
        if self.json {
            return self.print(&detail, |_| String::new());
        }
        let begun = tokio::time::Instant::now();
        tokio::time::sleep(RATES_OVER).await;
        let now: ConnectionDetail = self.client.ask(request).await?;
        self.print(&now, |now| show::detail(now, &detail, begun.elapsed()))
    }

    async fn ask<T: DeserializeOwned + Serialize>(
        &self,
        request: &AdminRequest,
        show: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        let answer = self.client.ask(request).await?;
        self.print(&answer, show)
    }

    fn print<T: Serialize>(&self, answer: &T, show: impl Fn(&T) -> String) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        if self.json {
            let text = serde_json::to_string(answer).map_err(|error| Failure::failed(error.to_string()))?;
            writeln!(out, "{text}")?;
        } else {
            write!(out, "{}", show(answer))?;
        }
        Ok(())
    }

    async fn audit(&self, audit: AuditArguments, status: &Status) -> Result<(), Failure> {
        let AuditArguments { limit, follow, verify, head } = audit;
        if verify {
            let verdict: AuditVerdict = self.client.ask(&AdminRequest::VerifyAudit { head }).await?;
            self.print(&verdict, show::verdict)?;
            return match verdict.broken {
                None => Ok(()),
                Some(problem) => Err(Failure::failed(format!("the audit was tampered with: {problem}"))),
            };
        }
        let after = if limit == 0 { 0 } else { status.audit.sequence.saturating_sub(limit) };
        let mut stopping = Stopping::new()?;
        let request = AdminRequest::Audit { after, limit: 0, follow };
        let mut records = self.client.follow::<Value>(&request).await?;
        loop {
            let record = tokio::select! {
                record = records.next() => record?,
                () = stopping.signal() => return Ok(()),
            };
            let Some(record) = record else { return Ok(()) };
            self.print(&record, |record| format!("{}\n", show::record(record)))?;
            std::io::stdout().flush()?;
        }
    }
}
