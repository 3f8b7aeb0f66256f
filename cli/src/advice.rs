//! What to do about a library's error, in the words of the command line.
//!
//! In: errors of the server and of certificates, which know settings and files. Out: the same errors with the flag or
//! the command that mends them. Invariant: nothing is guessed from an error's text; where nothing is known to help, the
//! error stays as it is.

use std::fmt;

use fanfare_server::nats::OpenError;
use fanfare_server::{ConfigError, Listener, StartError, StateError};

use crate::failure::Failure;

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => error.into(),
            StartError::State(StateError::Io { .. } | StateError::InUse { .. }) => {
                failed(&error, "give another with --state-dir")
            }
            StartError::TokenKeys(_) => failed(
                &error,
                "see --token-keys-url, and --token-keys-ca FILE where an authority of its own issued its certificate",
            ),
            StartError::Webhooks(_) => failed(&error, "see --webhooks"),
            StartError::Cluster(ref problem) => cluster(&error, problem),
            StartError::ClusterSilent { .. } => failed(&error, "look at NATS' own log, and see --cluster"),
            StartError::Listen { who, .. } => failed(&error, &format!("see {}", flag(who))),
            error => Self::failed(error.to_string()),
        }
    }
}

/// What is wrong in the settings is a wrong command; what NATS says is not.
fn cluster(error: &StartError, problem: &OpenError) -> Failure {
    match problem {
        OpenError::NoServer | OpenError::Address { .. } => {
            Failure::usage(format!("{problem}; see --cluster"))
        }
        OpenError::AddressHasUser => {
            Failure::usage(format!("{problem}; see --cluster-nkey and --cluster-creds"))
        }
        OpenError::Prefix { .. } => Failure::usage(format!("{problem}; see --cluster-prefix")),
        OpenError::Replicas { .. } => Failure::usage(format!("{problem}; see --cluster-replicas")),
        OpenError::Refused { .. } | OpenError::File { .. } | OpenError::Content { .. } => {
            failed(error, "see --cluster-nkey, --cluster-creds and --cluster-ca")
        }
        OpenError::Certificate { .. } => failed(error, "see --cluster-ca"),
        OpenError::NoJetStream { .. } => failed(
            error,
            "where it is off, switch it on in NATS' own configuration: jetstream { store_dir: \"...\" }",
        ),
        _ => failed(error, "see --cluster"),
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let loopback = |who| {
            let (flag, port) = (flag(who), port(who));
            Self::usage(format!("{error}; use {flag} 127.0.0.1:{port}, or leave --dev out"))
        };
        match &error {
            ConfigError::DevBeyondLoopback(_) => loopback(Listener::Clients),
            ConfigError::DevAdminBeyondLoopback(_) => loopback(Listener::Operators),
            ConfigError::DevHttpBeyondLoopback(_) => loopback(Listener::Http),
            ConfigError::DevWebBeyondLoopback(_) => loopback(Listener::Web),
            ConfigError::ProxiesOfNothing => Self::usage(format!(
                "{error}; --trusted-proxy needs --web-listen ADDR, or --http-listen ADDR"
            )),
            ConfigError::Webhook(_) => Self::usage(format!("{error}; see --webhooks")),
            ConfigError::SignalRPath(_) => Self::usage(format!("{error}; see --signalr-path")),
            error => Self::usage(error.to_string()),
        }
    }
}

impl From<fanfare_certs::Error> for Failure {
    fn from(error: fanfare_certs::Error) -> Self {
        use fanfare_certs::Error;

        let advice = match &error {
            Error::KeyInsteadOfCertificate { .. } | Error::CertificateInsteadOfKey { .. } => {
                "see --cert and --key".to_owned()
            }
            Error::Missing { .. } => "`fanfare certs create` makes them".to_owned(),
            Error::UnusableAuthority { .. } | Error::Exists { .. } => {
                "`fanfare certs create --force` replaces the authority".to_owned()
            }
            Error::OperatorExists { name, .. } => {
                format!("see --name and --state-dir; `fanfare certs revoke {name}` revokes a certificate")
            }
            Error::UserExists { .. } => {
                "see --name and --state-dir; `fanfare admin revoke-token SERIAL` refuses a certificate, whose serial \
                 number `fanfare certs show` has"
                    .to_owned()
            }
            Error::NoOperator { .. } => "see --file".to_owned(),
            Error::NotOurs { .. } => "see --state-dir".to_owned(),
            Error::Foreign { .. } => "see --cert and --key".to_owned(),
            _ => return Self::failed(error.to_string()),
        };
        failed(&error, &advice)
    }
}

fn failed(error: &impl fmt::Display, advice: &str) -> Failure {
    Failure::failed(format!("{error}; {advice}"))
}

/// Where it is said whom to listen for.
fn flag(who: Listener) -> &'static str {
    match who {
        Listener::Operators => "--admin-listen",
        Listener::Http => "--http-listen",
        Listener::Web => "--web-listen",
        _ => "--listen",
    }
}

fn port(who: Listener) -> u16 {
    match who {
        Listener::Operators => 4434,
        Listener::Http => 4480,
        _ => 4433,
    }
}
