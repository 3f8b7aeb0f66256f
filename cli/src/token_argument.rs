//! `--token`: the token that an argument is, or that is in a file.
//!
//! In: an argument. Out: a token, or a client's configuration. Invariant: a token is in no `Debug`, and in no error.

use std::path::{Path, PathBuf};

use fanfare_client::ClientConfig;
use fanfare_protocol::Token;

use crate::failure::Failure;

/// Kept as a token, whose text no `Debug` shows.
#[expect(clippy::unnecessary_wraps, reason = "as clap has it")]
pub(crate) fn token(text: &str) -> Result<Token, std::convert::Infallible> {
    Ok(Token::new(text))
}

/// The configuration of a client with the token that an argument is, or that is in the file `@FILE`. The file is read
/// for each connection and each refresh, so that whoever renews the token has nothing else to do.
pub(crate) fn client_config(server: String, argument: &str) -> Result<ClientConfig, Failure> {
    let Some(path) = argument.strip_prefix('@') else {
        let token = typed(argument)?;
        return Ok(ClientConfig::new(server, fanfare_protocol::Credential::Token(token)));
    };
    let path = PathBuf::from(path);
    // Told before anything is tried.
    read(&path).map_err(Failure::failed)?;
    Ok(ClientConfig::with_tokens(server, move || {
        let token = read(&path);
        async move { Ok(token?) }
    }))
}

/// The token that an argument is, or that is in the file `@FILE`.
pub(crate) fn given(argument: &str) -> Result<Token, Failure> {
    match argument.strip_prefix('@') {
        Some(path) => read(Path::new(path)).map_err(Failure::failed),
        None => typed(argument),
    }
}

/// A token that is the argument itself. The name of a file that is there is shown: it is no token.
fn typed(argument: &str) -> Result<Token, Failure> {
    if Path::new(argument).is_file() {
        return Err(Failure::usage(format!(
            "--token takes a token, and {argument} is a file; did you mean @{argument}?"
        )));
    }
    Ok(Token::new(argument.trim()))
}

fn read(path: &Path) -> Result<Token, String> {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(Token::new(text.trim())),
        Ok(_) => Err(format!("there is no token in {}", path.display())),
        Err(error) => {
            Err(format!("cannot read the token in {}: {error}; check --token @FILE", path.display()))
        }
    }
}
