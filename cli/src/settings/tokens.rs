//! What tokens are checked with: read from the files that the settings name, at the start and again on SIGHUP.

use std::path::PathBuf;

use fanfare_server::{TokenKey, TokenRules};

use super::value::Span;
use crate::failure::Failure;

/// How tokens are to be checked: the settings, and not yet what is in the files that they name.
#[derive(Debug, Clone)]
pub(crate) struct TokenSettings {
    pub(super) keys: Vec<PathBuf>,
    pub(super) audience: Vec<String>,
    pub(super) issuer: Vec<String>,
    pub(super) user_claim: Option<String>,
    pub(super) leeway: Option<Span>,
}

impl TokenSettings {
    /// Reads the keys. `None` where no file is named.
    pub(crate) fn load(&self) -> Result<Option<TokenRules>, Failure> {
        let mut keys = Vec::new();
        for path in &self.keys {
            let read = TokenKey::read(path);
            keys.extend(read.map_err(|error| Failure::failed(format!("{error}; see --token-key")))?);
        }
        if self.keys.is_empty() {
            return Ok(None);
        }
        let mut rules = TokenRules::new(keys);
        rules.audience.clone_from(&self.audience);
        rules.issuer.clone_from(&self.issuer);
        if let Some(claim) = &self.user_claim {
            rules.user_claim.clone_from(claim);
        }
        if let Some(Span(leeway)) = self.leeway {
            rules.leeway = u32::try_from(leeway.as_secs()).unwrap_or(u32::MAX);
        }
        Ok(Some(rules))
    }
}
