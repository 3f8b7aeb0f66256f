//! `fanfare admin`: an operator's questions and orders to a running server.
//!
//! In: a command line. Out: tables and sentences, or JSON as the endpoint sends it; exit code 1 where the server
//! refuses, and where `audit --verify` finds the chain broken.

mod access;
mod arguments;
mod names;
pub(crate) mod show;
mod table;

use std::io::Write;

use base64::Engine as _;
use fanfare_client::OperatorClient;
use fanfare_protocol::admin::{
    Action, AuditVerdict, BanRow, ConnectionDetail, ConnectionRow, Explanation, GroupRow, LastingRow,
    Listing, May, OneAnswer, Question, Receipt, Status, Subscription, UserRow, Who,
};
use fanfare_protocol::{ConnectionId, PayloadFormat, quoted};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::arguments::{
    AccessArguments, AdminArguments, EndArguments, ListArguments, NoteArguments,
};
use self::arguments::{
    AdminCommand, AuditArguments, CloseArguments, MembershipArguments, ToArguments, WhoArguments,
};
use self::names::NameArguments;
use self::show::Done;
use crate::failure::Failure;
use crate::output;
use crate::printing::print;
use crate::stopping::Stopping;

/// How long a connection is looked at for its rates.
const RATES_OVER: std::time::Duration = std::time::Duration::from_secs(1);

pub(crate) async fn run(arguments: AdminArguments) -> Result<(), Failure> {
    let AdminArguments { command, json, names, access } = arguments;
    // What cannot be asked is told before anything is tried.
    let asked = Asked::by(command, names)?;
    let (client, status) = access.connect().await?;
    let session = Session { client, json };
    let done = session.carry_out(asked, &status).await;
    session.client.close().await;
    done
}

/// What to ask, and how to show the answer.
enum Asked {
    Status,
    Audit(AuditArguments),
    Connections(Question),
    Users(Question),
    Groups(Question),
    Bans(Question),
    Lasting(Question),
    Connection(Question),
    Explain(Question),
    Action(Action, Done),
}

impl Asked {
    /// What a command asks, about those whose names are meant.
    fn by(command: AdminCommand, names: NameArguments) -> Result<Self, Failure> {
        Ok(match command {
            AdminCommand::Status => Self::Status,
            AdminCommand::Audit(audit) => Self::Audit(audit),
            AdminCommand::Connections(list) => Self::Connections(Question::Connections(list.into())),
            AdminCommand::Members { group, list } => {
                let group = names.group(&group)?;
                Self::Connections(Question::Members { group, page: list.into() })
            }
            AdminCommand::Users(list) => Self::Users(Question::Users(list.into())),
            AdminCommand::Groups(list) => Self::Groups(Question::Groups(list.into())),
            AdminCommand::Bans(list) => Self::Bans(Question::Bans(list.into())),
            AdminCommand::Connection { connection } => Self::Connection(Question::Connection { connection }),
            AdminCommand::Explain { user, group, token } => {
                let (user, group) = (names.user(&user)?, names.group(&group)?);
                let token = token.map(|token| crate::token_argument::given(token.expose())).transpose()?;
                Self::Explain(Question::Explain { user, group, token })
            }
            AdminCommand::Revoke { user, groups, end, reason, dry_run } => {
                let (user, groups, until) = (names.user(&user)?, names.groups(&groups)?, end.until());
                Self::Action(Action::Revoke { user, groups, until, reason, dry_run }, Done::To("removed"))
            }
            AdminCommand::Restore { user, groups, note } => {
                let (user, groups) = (names.user(&user)?, names.groups(&groups)?);
                Self::Action(Action::Restore { user, groups, reason: note.reason }, Done::Lifted)
            }
            AdminCommand::Lasting(list) => Self::Lasting(Question::Lasting(list.into())),
            AdminCommand::AddLasting { user, group, may, end, note } => {
                let (user, group, until) = (names.user(&user)?, names.group(&group)?, end.until());
                let (may, reason) = (may.into(), note.reason);
                let done = Done::To(if matches!(may, May::Send) { "removed" } else { "added" });
                Self::Action(Action::AddLasting { user, group, may, until, reason }, done)
            }
            AdminCommand::RemoveLasting { user, group, note } => {
                let (user, group) = (names.user(&user)?, names.group(&group)?);
                Self::Action(Action::RemoveLasting { user, group, reason: note.reason }, Done::To("removed"))
            }
            AdminCommand::Ban { user, end, reason, dry_run } => {
                let (user, until) = (names.user(&user)?, end.until());
                Self::Action(Action::Ban { user, until, reason, dry_run }, Done::To("closed"))
            }
            AdminCommand::Unban { user, note } => {
                let user = names.user(&user)?;
                Self::Action(Action::Unban { user, reason: note.reason }, Done::Lifted)
            }
            AdminCommand::SignOut { user, note } => {
                let user = names.user(&user)?;
                Self::Action(Action::SignOut { user, reason: note.reason }, Done::To("closed"))
            }
            AdminCommand::LiftSignOut { user, note } => {
                let user = names.user(&user)?;
                Self::Action(Action::LiftSignOut { user, reason: note.reason }, Done::Lifted)
            }
            AdminCommand::RestoreToken { jti, note } => {
                let jti = names.token(jti)?;
                Self::Action(Action::RestoreToken { jti, reason: note.reason }, Done::Lifted)
            }
            AdminCommand::RevokeToken { jti, end, note } => {
                let (jti, until) = (names.token(jti)?, end.until());
                Self::Action(Action::RevokeToken { jti, until, reason: note.reason }, Done::To("closed"))
            }
            AdminCommand::Add(MembershipArguments { who, group, connection, note }) => {
                let (who, group) = (named(names, &who, connection)?, names.group(&group)?);
                Self::Action(Action::Add { who, group, reason: note.reason }, Done::To("added"))
            }
            AdminCommand::Remove(MembershipArguments { who, group, connection, note }) => {
                let (who, group) = (named(names, &who, connection)?, names.group(&group)?);
                Self::Action(Action::Remove { who, group, reason: note.reason }, Done::To("removed"))
            }
            AdminCommand::Close { who, lasting, note } => {
                // Less than a millisecond is a time, too, and 0 is none. The server says what is too long.
                let retry_after_ms = lasting
                    .map_or(0, |lasting| u32::try_from(lasting.as_millis()).unwrap_or(u32::MAX).max(1));
                let CloseArguments { connection, user, group, all: _ } = who;
                let who = meant(names, WhoArguments { connection, user, group })?;
                let act = Action::Close { who, retry_after_ms, reason: note.reason };
                Self::Action(act, Done::To("closed"))
            }
            AdminCommand::Kick { who, note } => {
                let who = meant(names, who)?;
                Self::Action(Action::Kick { who, reason: note.reason }, Done::To("closed"))
            }
            AdminCommand::ForgetNode { node, note } => {
                Self::Action(Action::ForgetNode { node, reason: note.reason }, Done::Forgotten)
            }
            AdminCommand::Backup => Self::Action(Action::Backup {}, Done::Copied),
            AdminCommand::Send { to, event, text } => {
                let ToArguments { to_user, to_group, to_connection, to_all: _ } = to;
                let to = WhoArguments { connection: to_connection, user: to_user, group: to_group };
                let to = meant(names, to)?;
                let payload = base64::engine::general_purpose::STANDARD.encode(text);
                let format = PayloadFormat::Text;
                Self::Action(Action::Send { to, event, payload, format }, Done::To("reached"))
            }
        })
    }
}

/// A user, or a connection's id.
fn named(names: NameArguments, who: &str, connection: bool) -> Result<Who, Failure> {
    if !connection {
        return names.user(who).map(Who::User);
    }
    let id = who.parse::<ConnectionId>();
    id.map(Who::Connection)
        .map_err(|error| Failure::usage(format!("{} is no connection's id: {error}", quoted(who))))
}

/// One of them is given; where it is none of the three, it is everyone (`--all`, `--to-all`).
fn meant(names: NameArguments, who: WhoArguments) -> Result<Who, Failure> {
    Ok(match who {
        WhoArguments { connection: Some(connection), .. } => Who::Connection(connection),
        WhoArguments { user: Some(user), .. } => Who::User(names.user(&user)?),
        WhoArguments { group: Some(group), .. } => Who::Group(names.group(&group)?),
        WhoArguments { connection: None, user: None, group: None } => Who::All,
    })
}

struct Session {
    client: OperatorClient,
    json: bool,
}

impl Session {
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
            Asked::Lasting(request) => self.ask::<Listing<LastingRow>>(&request, show::lasting).await,
            Asked::Connection(request) => self.connection(&request).await,
            Asked::Explain(request) => self.ask::<Explanation>(&request, show::explanation).await,
            Asked::Action(request, done) => {
                self.ask::<Receipt>(&request, |receipt| show::receipt(&done, receipt)).await
            }
        }
    }

    /// Asked twice where a person reads it, for the rates between.
    async fn connection(&self, request: &Question) -> Result<(), Failure> {
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
        request: &impl OneAnswer,
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
            let verdict: AuditVerdict = self.client.ask(&Question::VerifyAudit { head }).await?;
            self.print(&verdict, show::verdict)?;
            return match verdict.broken {
                Some(problem) => Err(Failure::failed(format!("the audit was tampered with: {problem}"))),
                None if verdict.silent.is_empty() => Ok(()),
                None => {
                    let nodes = output::nodes(&verdict.silent);
                    Err(Failure::failed(format!("nothing is known of the audit of {nodes}: no answer")))
                }
            };
        }
        let after = if limit == 0 { 0 } else { status.audit.sequence.saturating_sub(limit) };
        let mut stopping = Stopping::new()?;
        let request = Subscription::Audit { after, limit: 0, follow };
        let mut records = self.client.follow::<Value>(&request).await?;
        loop {
            let record = tokio::select! {
                record = records.next() => record?,
                () = stopping.signal() => return Ok(()),
            };
            let Some(record) = record else { return Ok(()) };
            let line = if self.json { record.to_string() } else { show::record(&record) };
            tokio::select! {
                printed = print(line) => printed?,
                () = stopping.signal() => return Ok(()),
            }
        }
    }
}
