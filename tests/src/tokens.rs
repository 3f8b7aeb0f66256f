//! What signs tokens, and what a hub checks them by: one secret, which lasts as long as the test.
//!
//! In: who a token is for, and what it allows in groups. Out: tokens, and the rules that take them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_server::{Extras, GrantClaim, Minter, Right, TokenKey, TokenRules};

/// A secret that tokens are signed with.
pub struct Secret {
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Default for Secret {
    fn default() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
        Self { file, _directory: directory }
    }
}

impl Secret {
    /// Rules by which a hub takes what is signed with it.
    #[must_use]
    pub fn rules(&self) -> TokenRules {
        rules(&self.file)
    }

    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What signs with it.
    #[must_use]
    pub fn minter(&self) -> Minter {
        Minter::read_secret(&self.file).unwrap()
    }

    /// A token for an hour that allows this in all groups.
    #[must_use]
    pub fn token(&self, name: &str, may: &[Right]) -> String {
        let grant =
            GrantClaim { group: Some("*".to_owned()), user: None, all: None, may: may.to_vec(), exp: None };
        let grants = if may.is_empty() { vec![] } else { vec![grant] };
        self.minter().mint(name, now(), 3_600, &grants, Extras::default()).unwrap()
    }
}

/// Rules by which a hub takes what is signed with the secret in a file.
#[must_use]
pub fn rules(file: &Path) -> TokenRules {
    TokenRules::new(vec![TokenKey::read_secret(file).unwrap()])
}

/// In seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
