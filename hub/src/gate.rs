//! Who may: asked by the hub inside its critical sections, answered by whoever knows grants and bans.
//!
//! Invariant: what a gate forbids before the hub is told to remove or to close somebody is in force for every join and
//! every newcomer that is not yet seen by that removal (promise 7; model `join_against_revoke_against_disconnect`).

use fanfare_protocol::{Denial, GroupName, UserName};

use crate::member::Origin;

/// Says who may be here, who may join and who may watch. `P` is what a connection is permitted, which the hub keeps and
/// never reads.
///
/// All are asked while locks are held: an answer must not wait for anything, and must not call the hub.
pub trait Gate<P>: Send + Sync {
    /// Whether this user may be here with these permissions.
    ///
    /// # Errors
    /// Why not.
    fn enter(&self, user: &UserName, permissions: &P) -> Result<(), Denial>;

    /// Whether a connection of this user may become a member of a group, at whose wish it is.
    ///
    /// # Errors
    /// Why not.
    fn join(&self, user: &UserName, permissions: &P, group: &GroupName, origin: Origin)
    -> Result<(), Denial>;

    /// Whether a connection of this user may be told who is in a group.
    ///
    /// # Errors
    /// Why not.
    fn watch(&self, user: &UserName, permissions: &P, group: &GroupName) -> Result<(), Denial>;
}

/// Lets everybody do everything: for tests and benchmarks, and for programs that decide elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

impl<P> Gate<P> for Open {
    fn enter(&self, _: &UserName, _: &P) -> Result<(), Denial> {
        Ok(())
    }

    fn join(&self, _: &UserName, _: &P, _: &GroupName, _: Origin) -> Result<(), Denial> {
        Ok(())
    }

    fn watch(&self, _: &UserName, _: &P, _: &GroupName) -> Result<(), Denial> {
        Ok(())
    }
}
