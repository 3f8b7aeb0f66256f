//! What tokens are checked with: read from the files that the settings name, at the start and again on SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;

use fanfare_server::{KeySetUrl, Minter, Minting, ReadKeys, TokenKey, TokenRules};

use super::value::Span;
use crate::failure::Failure;

/// What is given how, for whoever gave one as the other.
const KEYS_GO_WITH: &str = "--token-key FILE is for public keys, --token-secret FILE for a secret, --token-keys-url URL for a key set's URL";

/// How tokens are to be checked: the settings, and not yet what is in the files that they name.
#[derive(Debug, Clone)]
pub(crate) struct TokenSettings {
    pub(super) keys: Vec<PathBuf>,
    pub(super) secrets: Vec<PathBuf>,
    pub(super) mint_key: Option<PathBuf>,
    pub(super) urls: Vec<String>,
    pub(super) urls_ca: Option<PathBuf>,
    pub(super) audience: Vec<String>,
    pub(super) issuer: Vec<String>,
    pub(super) user_claim: Option<String>,
    pub(super) leeway: Option<Span>,
    pub(super) lifetime: Option<Span>,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct LoadedTokens {
    /// `None` where neither a file nor a URL is named.
    pub(crate) rules: Option<TokenRules>,
    /// What tokens are made with; `None` where no key for that is named.
    pub(crate) minting: Option<Minting>,
    /// What the URLs are.
    pub(crate) key_sets: Vec<KeySetUrl>,
    /// Keys that are passed over, with the file and the reason: lines for the log.
    pub(crate) skipped: Vec<String>,
}

impl TokenSettings {
    /// Reads the keys and the secrets. What the URLs give, the server fetches.
    pub(crate) fn load(&self) -> Result<LoadedTokens, Failure> {
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for path in &self.keys {
            let read = TokenKey::read(path);
            let ReadKeys { keys: more, skipped: lines } =
                read.map_err(|error| Failure::failed(format!("{error} ({KEYS_GO_WITH})")))?;
            keys.extend(more);
            skipped.extend(lines.into_iter().map(|line| format!("{}: {line}", path.display())));
        }
        for path in &self.secrets {
            let secret = TokenKey::read_secret(path);
            keys.push(secret.map_err(|error| Failure::failed(format!("{error} ({KEYS_GO_WITH})")))?);
        }
        let mut rules = TokenRules::new(keys);
        let key_sets = self.key_sets()?;
        if rules.keys.is_empty() && key_sets.is_empty() {
            if self.mint_key.is_some() {
                return Err(Failure::usage(
                    "--token-mint-key makes tokens that nothing here would take: give --token-key FILE, its public key",
                ));
            }
            return Ok(LoadedTokens::default());
        }
        rules.audience.clone_from(&self.audience);
        rules.issuer.clone_from(&self.issuer);
        if let Some(claim) = &self.user_claim {
            rules.user_claim.clone_from(claim);
        }
        if let Some(leeway) = self.leeway {
            rules.leeway = whole_seconds("token-leeway", leeway)?;
        }
        if let Some(lifetime) = self.lifetime {
            rules.longest = whole_seconds("token-lifetime", lifetime)?;
        }
        let minting = self.minter()?.map(|minter| Minting::new(minter, &rules));
        Ok(LoadedTokens { rules: Some(rules), minting, key_sets, skipped })
    }

    /// What tokens are made with.
    fn minter(&self) -> Result<Option<Minter>, Failure> {
        let minter = match (&self.mint_key, self.secrets.first()) {
            (Some(key), _) => Minter::read(key),
            (None, Some(secret)) => Minter::read_secret(secret),
            (None, None) => return Ok(None),
        };
        minter.map(Some).map_err(|error| {
            Failure::failed(format!("{error} (--token-mint-key FILE is for a private key in PEM)"))
        })
    }

    fn key_sets(&self) -> Result<Vec<KeySetUrl>, Failure> {
        let roots = match &self.urls_ca {
            Some(_) if self.urls.is_empty() => {
                return Err(Failure::usage(
                    "--token-keys-ca needs --token-keys-url URL, whose authority it is",
                ));
            }
            Some(path) => Some(Arc::new(fanfare_certs::load_roots(path)?)),
            None => None,
        };
        let read = |url: &String| {
            let set = KeySetUrl::new(url, roots.clone());
            set.map_err(|error| Failure::usage(format!("--token-keys-url {url:?}: {error}")))
        };
        self.urls.iter().map(read).collect()
    }
}

/// Tokens say their times in seconds.
fn whole_seconds(flag: &str, Span(time): Span) -> Result<u32, Failure> {
    let seconds = u32::try_from(time.as_secs()).ok().filter(|_| time.subsec_nanos() == 0);
    seconds.ok_or_else(|| {
        let time = Span(time);
        Failure::usage(format!("--{flag} {time}: write whole seconds, at most {}, like 30s", u32::MAX))
    })
}
