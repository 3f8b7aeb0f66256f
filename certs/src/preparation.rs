//! What a server needs of its state directory at its start, before anything is written there.
//!
//! In come a directory and what is wanted. Out come certificates, found or made in memory, and the files that are to be
//! written for them. Invariants: a start that is refused leaves no trace (test
//! `what_is_prepared_and_not_written_leaves_no_trace`); of what is written, all stays or nothing does.

use std::path::Path;

use time::OffsetDateTime;

use crate::Error;
use crate::authority::Authority;
use crate::file_names::CA_CERTIFICATE;
use crate::host_name::HostName;
use crate::operator::development_operator_in;
use crate::operator_check::verifier;
use crate::revocation_list;
use crate::roots::roots;
use crate::server_leaf::{Leaf, admin_leaf_in, server_leaf_in};
use crate::state_directory::{CarriedOut, StateDirectory};

/// What a server wants of its state directory.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// A certificate for clients, as [`server_leaf`](crate::server_leaf) makes it, with these further names.
    pub server: Option<Vec<String>>,
    /// One for the operators' endpoint, as [`admin_leaf`](crate::admin_leaf) makes it, with these further names.
    pub admin: Option<Vec<String>>,
    /// An operator's certificate for whoever runs a development server.
    pub developer: bool,
}

/// Certificates that are there, or would be. Dropped, it removes what it has written, unless that was kept.
pub struct Prepared {
    /// The certificate for clients, if one was wanted.
    pub server: Option<Leaf>,
    /// The operators' endpoint's, if one was wanted.
    pub admin: Option<Leaf>,
    state: StateDirectory,
    written: Option<CarriedOut>,
}

/// Looks at a state directory and makes in memory what is wanted and not there. Nothing is written, and nothing else is
/// made, not even the directory. While the result lives, no other process makes certificates there, if any ever did.
///
/// # Errors
/// [`Error::BadName`]; those of [`Authority::open`]; those of [`server_leaf`](crate::server_leaf). With an endpoint for
/// operators, [`Error::DamagedRevocations`] if the list of revoked certificates cannot be read.
pub fn prepare(directory: &Path, wanted: &Wanted) -> Result<Prepared, Error> {
    let now = OffsetDateTime::now_utc();
    let names = |names: &Option<Vec<String>>| names.as_deref().map(HostName::wanted).transpose();
    let (server, admin) = (names(&wanted.server)?, names(&wanted.admin)?);
    let state = StateDirectory::plan(directory)?;
    let server = server.map(|names| server_leaf_in(&state, &names, now)).transpose()?;
    let admin = admin.map(|names| admin_leaf_in(&state, &names, now)).transpose()?;
    if admin.is_some() {
        let authority = Authority::load_or_make(&state, now)?;
        revocation_list::check(&state, &authority)?;
        // What the endpoint will do when everything is written.
        verifier(roots(&state.pem(CA_CERTIFICATE)?, now)?)?;
    }
    if wanted.developer {
        development_operator_in(&state, now)?;
    }
    Ok(Prepared { server, admin, state, written: None })
}

impl Prepared {
    /// Writes what is not there yet; the directory is there by now.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Lock`]; [`Error::MadeMeanwhile`] if another process was faster. Nothing has changed
    /// then.
    pub fn write(&mut self) -> Result<(), Error> {
        self.written = Some(self.state.carry_out()?);
        Ok(())
    }

    /// What was written stays.
    pub fn keep(self) {
        if let Some(written) = self.written {
            written.keep();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;
    use crate::{Reason, admin_leaf, development_operator, server_leaf};

    fn everything() -> Wanted {
        Wanted { server: Some(Vec::new()), admin: Some(Vec::new()), developer: true }
    }

    /// Names, bytes and times of everything in a directory, and its own time.
    fn seen(directory: &Path) -> (SystemTime, BTreeMap<PathBuf, (Vec<u8>, SystemTime)>) {
        let files = directory.read_dir().unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let modified = path.metadata().unwrap().modified().unwrap();
            (path.clone(), (std::fs::read(path).unwrap(), modified))
        });
        (directory.metadata().unwrap().modified().unwrap(), files.collect())
    }

    #[test]
    fn what_is_prepared_and_not_written_leaves_no_trace() {
        let home = tempfile::tempdir().unwrap();
        let inside = home.path().join("inside");
        for directory in [home.path(), &inside] {
            let before = seen(home.path());
            let prepared = prepare(directory, &everything()).unwrap();
            assert_eq!(prepared.server.as_ref().unwrap().made, Some(Reason::Missing));
            drop(prepared);
            assert_eq!(seen(home.path()), before);
        }
        // A name that is not in the certificates would have them made again.
        server_leaf(home.path(), &[]).unwrap();
        admin_leaf(home.path(), &[]).unwrap();
        let before = seen(home.path());
        let names = Some(vec!["chat.example".to_owned()]);
        let wanted = Wanted { server: names.clone(), admin: names, developer: true };
        let made = prepare(home.path(), &wanted).unwrap().server.unwrap().made;
        assert_eq!(made, Some(Reason::LacksName("chat.example".to_owned())));
        assert_eq!(seen(home.path()), before);
    }

    #[test]
    fn what_is_written_is_what_was_prepared_and_is_taken_back_unless_it_is_kept() {
        let home = tempfile::tempdir().unwrap();
        for keep in [false, true] {
            let mut prepared = prepare(home.path(), &everything()).unwrap();
            prepared.write().unwrap();
            let hash = prepared.server.as_ref().unwrap().identity.description.sha256.clone();
            let there = crate::describe(&home.path().join(crate::SERVER_CERTIFICATE)).unwrap();
            assert_eq!(there[0].sha256, hash);
            if keep {
                prepared.keep();
                assert_eq!(server_leaf(home.path(), &[]).unwrap().identity.description.sha256, hash);
                assert_eq!(development_operator(home.path()).unwrap().name, "developer");
                assert_eq!(home.path().read_dir().unwrap().count(), 9, "with the lock, and nothing beside");
            } else {
                drop(prepared);
                assert_eq!(home.path().read_dir().unwrap().count(), 0);
            }
        }
        // The same where files are replaced.
        let before = seen(home.path()).1;
        let wanted = Wanted { server: Some(vec!["chat.example".to_owned()]), ..everything() };
        let mut prepared = prepare(home.path(), &wanted).unwrap();
        prepared.write().unwrap();
        assert_ne!(seen(home.path()).1, before);
        drop(prepared);
        assert_eq!(seen(home.path()).1, before);
        let mut prepared = prepare(home.path(), &wanted).unwrap();
        prepared.write().unwrap();
        prepared.keep();
        assert_eq!(seen(home.path()).1.len(), before.len());
        assert_eq!(server_leaf(home.path(), &["chat.example".to_owned()]).unwrap().made, None);
    }

    #[test]
    fn what_another_process_made_meanwhile_is_not_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let mut prepared = prepare(home.path(), &everything()).unwrap();
        server_leaf(home.path(), &[]).unwrap();
        let before = seen(home.path()).1;
        let error = prepared.write().unwrap_err();
        assert!(matches!(error, Error::MadeMeanwhile { .. }), "{error}");
        assert_eq!(seen(home.path()).1, before);
    }
}
