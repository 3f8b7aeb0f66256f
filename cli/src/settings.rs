//! The server's settings: flags over environment over file over defaults, then checked.
//!
//! In: what was typed ([`ServeArguments`]) and a TOML file with the same names. Out: a [`Plan`] to serve by, or one
//! line that names the file, the line and the setting that is wrong. A setting is declared in `schema`, the four places
//! where it may be said are merged in `layers`, and what it is to the server is in `configuration`. Invariant: nothing
//! is served by settings that were not checked as a whole.

mod cluster;
mod configuration;
mod file;
mod layers;
mod schema;
mod tokens;
mod value;
mod webhooks;

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use fanfare_server::Config;

use self::layers::{Origin, Row};
use self::schema::Settings;
pub(crate) use self::tokens::{LoadedTokens, TokenSettings};
use self::value::ListenSetting;
pub(crate) use self::webhooks::load as load_webhooks;
use crate::certified::CertifiedUsers;
use crate::failure::Failure;

/// More threads than this no machine has a use for.
const MOST_WORKERS: usize = 1_024;

/// What `serve` and `config` take.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Read settings from this TOML file; flags and FANFARE_* variables go before it
    #[arg(long, value_name = "FILE", env = "FANFARE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// What to log, as `level` or `module=level,...`
    #[arg(long, value_name = "FILTER", env = "FANFARE_LOG", default_value = "info")]
    pub(crate) log: String,
    /// Log, or print the settings, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

impl ServeArguments {
    /// Every setting with its value, and the origin of each by name.
    fn merge(&self) -> Result<(Settings, Vec<Row>), Failure> {
        layers::merge(&self.settings, self.config.as_deref())
    }
}

/// Where the server's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// The state directory's development authority, for these further names.
    Development(Vec<String>),
    /// The user's own files.
    Files { cert: PathBuf, key: PathBuf },
}

/// What to serve by.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// Where the server keeps what outlives it, and where its certificates are.
    pub(crate) state_dir: PathBuf,
    pub(crate) certificate: Certificate,
    /// That of the listener for WebSockets, where it has one of its own.
    pub(crate) web_certificate: Option<Certificate>,
    pub(crate) tokens: TokenSettings,
    /// Keys in the files that are passed over: lines for the log.
    pub(crate) skipped_keys: Vec<String>,
    /// The file of webhooks.
    pub(crate) webhooks: Option<PathBuf>,
    /// Who is known by a certificate.
    pub(crate) certified: Option<Arc<CertifiedUsers>>,
    /// Where operators connect, and the further names of that certificate.
    pub(crate) admin: Option<(SocketAddr, Vec<String>)>,
    /// Threads that serve connections; without it, one for each processor.
    pub(crate) workers: Option<NonZeroUsize>,
}

impl Plan {
    /// Merges the layers and checks the outcome.
    pub(crate) fn new(arguments: &ServeArguments) -> Result<Self, Failure> {
        let (settings, _) = arguments.merge()?;
        let certificate = settings.certificate()?;
        let web_certificate = settings.web_certificate()?;
        let tokens = settings.tokens();
        let admin = settings.admin();
        let workers = settings.workers()?;
        let certified = match (&settings.client_ca, &settings.client_grants) {
            (Some(ca), grants) => Some(CertifiedUsers::load(ca, grants.as_deref())?),
            (None, Some(_)) => {
                return Err(Failure::usage(
                    "--client-grants needs --client-ca FILE, the authority that issues clients' certificates",
                ));
            }
            (None, None) => None,
        };
        let state_dir = settings.state_dir();
        let webhooks = settings.webhooks.clone();
        let cluster = settings.cluster()?;
        let mut config = settings.into_config();
        config.cluster = cluster.map(Box::new);
        if let Some(file) = &webhooks {
            config.webhooks = load_webhooks(file)?;
        }
        let checked = config.check().and_then(|()| match &admin {
            Some((listen, _)) => config.check_admin(*listen),
            None => Ok(()),
        });
        checked?;
        let loaded = tokens.load()?;
        config.tokens = loaded.rules;
        config.minting = loaded.minting;
        config.key_sets = loaded.key_sets;
        let certified = certified.map(Arc::new);
        config.certificates = certified.clone().map(|certified| certified as _);
        let skipped_keys = loaded.skipped;
        Ok(Self {
            config,
            state_dir,
            certificate,
            web_certificate,
            tokens,
            skipped_keys,
            webhooks,
            certified,
            admin,
            workers,
        })
    }
}

impl Settings {
    fn tokens(&self) -> TokenSettings {
        TokenSettings {
            keys: self.token_key.clone(),
            secrets: self.token_secret.clone(),
            mint_key: self.token_mint_key.clone(),
            urls: self.token_keys_url.clone(),
            urls_ca: self.token_keys_ca.clone(),
            audience: self.token_audience.clone(),
            issuer: self.token_issuer.clone(),
            user_claim: self.user_claim.clone(),
            leeway: self.token_leeway,
            lifetime: self.token_lifetime,
        }
    }

    fn workers(&self) -> Result<Option<NonZeroUsize>, Failure> {
        let Some(workers) = self.workers else { return Ok(None) };
        let known = NonZeroUsize::new(workers as usize).filter(|known| known.get() <= MOST_WORKERS);
        match known {
            Some(known) => Ok(Some(known)),
            None => Err(Failure::usage(format!("workers is {workers}; it must be from 1 to {MOST_WORKERS}"))),
        }
    }

    fn admin(&self) -> Option<(SocketAddr, Vec<String>)> {
        match self.admin_listen {
            Some(ListenSetting::At(address)) => Some((address, self.name.clone())),
            Some(ListenSetting::Off) | None => None,
        }
    }

    fn web_certificate(&self) -> Result<Option<Certificate>, Failure> {
        let listens = matches!(self.web_listen, Some(ListenSetting::At(_)));
        match (&self.web_cert, &self.web_key) {
            (Some(_), Some(_)) if !listens => {
                Err(Failure::usage("--web-cert needs --web-listen ADDR, where it is shown"))
            }
            (Some(cert), Some(key)) => Ok(Some(Certificate::Files { cert: cert.clone(), key: key.clone() })),
            (Some(_), None) => {
                Err(Failure::usage("--web-cert needs --web-key FILE, the certificate's private key"))
            }
            (None, Some(_)) => {
                Err(Failure::usage("--web-key needs --web-cert FILE, the certificate it belongs to"))
            }
            (None, None) => Ok(None),
        }
    }

    fn certificate(&self) -> Result<Certificate, Failure> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Ok(Certificate::Files { cert: cert.clone(), key: key.clone() }),
            (Some(_), None) => Err(Failure::usage("--cert needs --key FILE, the certificate's private key")),
            (None, Some(_)) => Err(Failure::usage("--key needs --cert FILE, the certificate it belongs to")),
            (None, None) if self.dev == Some(true) => Ok(Certificate::Development(self.name.clone())),
            (None, None) => Err(Failure::usage(
                "serve needs --cert FILE and --key FILE, or --dev to try things out on this machine",
            )),
        }
    }
}

/// `fanfare config`: a file that `serve --config` takes, with the origin of each line behind it.
pub(crate) fn print(arguments: &ServeArguments) -> Result<(), Failure> {
    let (settings, rows) = arguments.merge()?;
    let config = settings.into_config();
    config.check()?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let object: serde_json::Map<String, serde_json::Value> = rows
            .into_iter()
            .map(|(name, value, origin)| (name, serde_json::json!({ "value": value, "from": origin })))
            .collect();
        writeln!(out, "{}", serde_json::Value::Object(object))?;
        return Ok(());
    }
    let lines: Vec<(String, Origin)> =
        rows.into_iter().map(|(name, value, origin)| (format!("{name} = {value}"), origin)).collect();
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
    for (line, origin) in lines {
        let origin = match origin {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Flag => "flag",
            Origin::Environment => "environment",
        };
        writeln!(out, "{line:width$}  # {origin}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
