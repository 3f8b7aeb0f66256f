//! Users who are known by a certificate: which authority issues those, and what each user is granted.
//!
//! In: a PEM file of authorities and a TOML file of grants, of which OPERATIONS.md has an example. Out: what the server
//! asks for. A user gets the grants of every entry whose pattern matches its name.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use fanfare_protocol::{Pattern, UserName};
use fanfare_server::{CertifiedUser, ClientCertificates, GrantClaim};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use serde::Deserialize;

use crate::failure::Failure;

#[derive(Debug)]
pub(crate) struct CertifiedUsers {
    authorities: PathBuf,
    grants: Option<PathBuf>,
    entries: RwLock<Arc<[Entry]>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "pattern")]
    name: Pattern,
    grants: Vec<GrantClaim>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} with {} grants", self.name, self.grants.len())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantsFile {
    #[serde(default)]
    user: Vec<Entry>,
}

fn pattern<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl CertifiedUsers {
    /// Reads the grants. The authorities are read when TLS is set up.
    pub(crate) fn load(authorities: &Path, grants: Option<&Path>) -> Result<Self, Failure> {
        let users = Self {
            authorities: authorities.to_owned(),
            grants: grants.map(Path::to_owned),
            entries: RwLock::new(Arc::new([])),
        };
        // Told now, with the flag, and not as something about TLS.
        fanfare_certs::user_verifier(authorities)
            .map_err(|error| Failure::failed(format!("{error}; see --client-ca")))?;
        users.reload()?;
        Ok(users)
    }

    /// Reads the grants again, for connections from now on.
    pub(crate) fn reload(&self) -> Result<(), Failure> {
        let Some(path) = &self.grants else { return Ok(()) };
        let failed = |problem: &dyn std::fmt::Display| {
            Failure::failed(format!("{}: {problem}; see --client-grants", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let file: GrantsFile = toml::from_str(&text).map_err(|error| failed(&error))?;
        for entry in &file.user {
            GrantClaim::check(&entry.grants)
                .map_err(|problem| failed(&format!("user {:?}: {problem}", entry.name)))?;
        }
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = file.user.into();
        Ok(())
    }
}

impl ClientCertificates for CertifiedUsers {
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        fanfare_certs::user_verifier(&self.authorities)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn identify(&self, chain: &[CertificateDer<'static>]) -> Result<CertifiedUser, String> {
        let named = fanfare_certs::certified_name(chain).map_err(|error| error.to_string())?;
        let user = UserName::new(&named.name).map_err(|error| format!("the certificate's name: {error}"))?;
        let entries = Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner));
        let matching = entries.iter().filter(|entry| entry.name.matches(user.as_str()));
        let seconds = |time: time::OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap_or(0);
        Ok(CertifiedUser {
            grants: matching.flat_map(|entry| entry.grants.iter().cloned()).collect(),
            user,
            issued: seconds(named.not_before),
            ends: seconds(named.not_after),
            serial: named.serial,
        })
    }
}
