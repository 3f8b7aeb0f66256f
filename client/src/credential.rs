//! Where a connection's credential comes from: one that never changes, or the application, asked for each connection
//! anew.
//!
//! In: what the application configured. Out: a credential, before every connection and whenever access is about to
//! end. Invariant: a token that a provider gave is kept here no longer than the `Hello` or `Refresh` that it goes
//! into takes.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use fanfare_protocol::{Credential, Token};

/// What an application's token provider may fail with.
pub type ProviderError = Box<dyn Error + Send + Sync>;

type Provide = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Token, ProviderError>> + Send>> + Send + Sync;

/// Who the client is.
#[derive(Clone)]
pub(crate) enum Source {
    Fixed(Credential),
    Provider(Arc<Provide>),
}

impl Source {
    pub(crate) fn provider<F, R>(provide: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Token, ProviderError>> + Send + 'static,
    {
        Self::Provider(Arc::new(move || Box::pin(provide())))
    }

    /// Whether another credential may come than the last one.
    pub(crate) fn renews(&self) -> bool {
        matches!(self, Self::Provider(_))
    }

    /// The same, with the newest token in place of one that was given once. A provider has newer ones, and other
    /// credentials are no tokens.
    pub(crate) fn refreshed(&self, newest: Option<Token>) -> Self {
        match (self, newest) {
            (Self::Fixed(Credential::Token(_)), Some(newest)) => Self::Fixed(Credential::Token(newest)),
            _ => self.clone(),
        }
    }

    /// The credential to use now.
    pub(crate) async fn credential(&self) -> Result<Credential, ProviderError> {
        match self {
            Self::Fixed(credential) => Ok(credential.clone()),
            Self::Provider(provide) => provide().await.map(Credential::Token),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(credential) => credential.fmt(f),
            Self::Provider(_) => f.write_str("a token provider"),
        }
    }
}
