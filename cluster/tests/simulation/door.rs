//! Who may be in a node's hub, and in which groups, as a server's gate has it.
//!
//! In: what was decided, as it comes into force on the node. Out: yes or no, for the hub. Invariant: nobody is let in
//! without the lease; what was decided for all nodes is carried out without it as well, because nothing is delivered
//! before it is back.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use fanfare_hub::{Gate, Origin};
use fanfare_protocol::{Code, Denial, GroupName, UserName};

use super::node::Joint;
use super::time::Micros;
use super::world::{group_number, user_number};

/// What is refused while a node does not know what the others know; whoever gets it tries again.
pub(crate) const AGAIN: Code = Code::ShuttingDown;

/// What a connection shows. It may join whatever it likes, as long as nobody forbids it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) issued: Micros,
}

/// A node's door.
pub(crate) struct Door {
    joint: Arc<Joint>,
    pub(crate) bans: Mutex<HashSet<(usize, usize)>>,
    pub(crate) users: Mutex<BTreeSet<usize>>,
    /// Of a user, what was issued up to then is refused.
    pub(crate) sign_outs: Mutex<BTreeMap<usize, Micros>>,
    /// In which groups users are whenever they are here.
    pub(crate) lasting: Mutex<BTreeSet<(usize, usize)>>,
}

impl Door {
    pub(crate) fn new(joint: Arc<Joint>) -> Self {
        Self {
            joint,
            bans: Mutex::default(),
            users: Mutex::default(),
            sign_outs: Mutex::default(),
            lasting: Mutex::default(),
        }
    }

    fn up_to_date(&self) -> Result<(), Denial> {
        if self.joint.serves() { Ok(()) } else { Err(AGAIN.into()) }
    }

    /// Whether a user is in a group whenever it is here.
    pub(crate) fn has_lasting(&self, user: usize, group: usize) -> bool {
        self.lasting.lock().unwrap().contains(&(user, group))
    }

    /// The groups that a user is put into.
    pub(crate) fn lasting_groups(&self, user: usize) -> Vec<usize> {
        let all = self.lasting.lock().unwrap();
        all.iter().filter(|(of, _)| *of == user).map(|(_, group)| *group).collect()
    }

    fn permit_group(&self, user: &UserName, group: &GroupName) -> Result<(), Denial> {
        let is_banned = self.bans.lock().unwrap().contains(&(user_number(user), group_number(group)));
        if is_banned { Err(Code::BannedFromGroup.into()) } else { Ok(()) }
    }
}

impl Gate<Token> for Door {
    fn enter(&self, user: &UserName, token: &Token) -> Result<(), Denial> {
        self.up_to_date()?;
        let user = user_number(user);
        if self.users.lock().unwrap().contains(&user) {
            return Err(Code::UserBanned.into());
        }
        match self.sign_outs.lock().unwrap().get(&user) {
            Some(since) if token.issued <= *since => Err(Code::SignedOut.into()),
            _ => Ok(()),
        }
    }

    fn join(&self, user: &UserName, _: &Token, group: &GroupName, origin: Origin) -> Result<(), Denial> {
        if origin != Origin::Lasting {
            self.up_to_date()?;
        }
        self.permit_group(user, group)?;
        // Asked here, so that one that ends meanwhile leaves nobody in.
        if origin == Origin::Lasting && !self.has_lasting(user_number(user), group_number(group)) {
            return Err(Code::GrantEnded.into());
        }
        Ok(())
    }

    fn watch(&self, user: &UserName, token: &Token, group: &GroupName) -> Result<(), Denial> {
        self.join(user, token, group, Origin::Client)
    }
}
