//! What frames have in common: targets, senders, credentials, scopes, limits.
//!
//! In: values. Out: bytes, and the other way round. Invariant: a variant's number never changes; one that is not known
//! is told as such, with what it is a kind of.

use super::reader::Reader;
use super::writer::Writer;
use super::{DecodeError, Unknown};
use crate::{
    ConnectionId, Credential, ExpiryScope, GroupName, Limits, NameError, Sender, Target, Token, UserName,
};

/// A value, or what is wrong with a name in it.
type Judged<T> = Result<T, NameError>;

impl Writer {
    pub(super) fn target(&mut self, target: &Target) {
        match target {
            Target::Connection(id) => {
                self.byte(0);
                self.raw(id.as_bytes());
            }
            Target::User(user) => {
                self.byte(1);
                self.text(user.as_str());
            }
            Target::Group(group) => {
                self.byte(2);
                self.text(group.as_str());
            }
            Target::All => self.byte(3),
        }
    }

    pub(super) fn sender(&mut self, sender: &Sender) {
        match sender {
            Sender::Connection { connection, user } => {
                self.byte(0);
                self.raw(connection.as_bytes());
                self.text(user.as_str());
            }
            Sender::Server => self.byte(1),
        }
    }

    pub(super) fn credential(&mut self, credential: &Credential) {
        match credential {
            Credential::Token(token) => {
                self.byte(0);
                self.text(token.expose());
            }
            Credential::DevUser(user) => {
                self.byte(1);
                self.text(user.as_str());
            }
            Credential::Certificate => self.byte(2),
        }
    }

    pub(super) fn scope(&mut self, scope: ExpiryScope) {
        match scope {
            ExpiryScope::Token => self.byte(0),
            ExpiryScope::Groups { count } => {
                self.byte(1);
                self.integer(count);
            }
        }
    }

    pub(super) fn limits(&mut self, limits: &Limits) {
        let Limits { frame_bytes, payload_bytes, groups, targets } = *limits;
        for limit in [frame_bytes, payload_bytes, groups, targets] {
            self.integer(limit);
        }
    }
}

impl Reader<'_> {
    pub(super) fn id(&mut self) -> Result<ConnectionId, DecodeError> {
        self.array().map(ConnectionId::from_bytes)
    }

    pub(super) fn target(&mut self) -> Result<Judged<Target>, DecodeError> {
        Ok(match self.u32()? {
            0 => Ok(Target::Connection(self.id()?)),
            1 => self.name(UserName::new)?.map(Target::User),
            2 => self.name(GroupName::new)?.map(Target::Group),
            3 => Ok(Target::All),
            other => return Err(self.unknown(Unknown::Kind("target", other))),
        })
    }

    pub(super) fn sender(&mut self) -> Result<Judged<Sender>, DecodeError> {
        Ok(match self.u32()? {
            0 => {
                let connection = self.id()?;
                self.name(UserName::new)?.map(|user| Sender::Connection { connection, user })
            }
            1 => Ok(Sender::Server),
            other => return Err(self.unknown(Unknown::Kind("sender", other))),
        })
    }

    pub(super) fn credential(&mut self) -> Result<Judged<Credential>, DecodeError> {
        Ok(match self.u32()? {
            0 => Ok(Credential::Token(Token::new(self.text()?))),
            1 => self.name(UserName::new)?.map(Credential::DevUser),
            2 => Ok(Credential::Certificate),
            other => return Err(self.unknown(Unknown::Kind("credential", other))),
        })
    }

    pub(super) fn scope(&mut self) -> Result<ExpiryScope, DecodeError> {
        Ok(match self.u32()? {
            0 => ExpiryScope::Token,
            1 => ExpiryScope::Groups { count: self.u32()? },
            other => return Err(self.unknown(Unknown::Kind("expiry scope", other))),
        })
    }

    pub(super) fn limits(&mut self) -> Result<Limits, DecodeError> {
        Ok(Limits {
            frame_bytes: self.u32()?,
            payload_bytes: self.u32()?,
            groups: self.u32()?,
            targets: self.u32()?,
        })
    }
}
