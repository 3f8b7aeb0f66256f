//! Tokens at the command line: `fanfare token`, which makes them, and `--token`, which uses them.
//!
//! In: arguments. Out: a token on stdout, or a client's configuration. Invariant: a token is printed where it was asked for,
//! and nowhere else.

use std::io::Write;
use std::path::{Path, PathBuf};

use fanfare_client::ClientConfig;
use fanfare_protocol::{Pattern, Token};
use fanfare_server::{Extras, GrantClaim, Minter, Right};

use crate::arguments::TokenArguments;
use crate::failure::Failure;

/// Makes a token and prints it.
pub(crate) fn run(arguments: &TokenArguments) -> Result<(), Failure> {
    let minter = match (&arguments.signer.key, &arguments.signer.secret) {
        (Some(key), _) => Minter::read(key),
        (None, Some(secret)) => Minter::read_secret(secret),
        (None, None) => return Err(Failure::usage("missing: one of --key FILE, --secret FILE; see --help")),
    };
    let minter = minter.map_err(|error| Failure::failed(error.to_string()))?;
    let grant = |group: Option<&Pattern>, user: Option<&Pattern>, all, right| GrantClaim {
        group: group.map(|pattern| pattern.as_str().to_owned()),
        user: user.map(|pattern| pattern.as_str().to_owned()),
        all,
        may: vec![right],
        exp: None,
    };
    let mut grants: Vec<GrantClaim> = Vec::new();
    grants.extend(arguments.join.iter().map(|group| grant(Some(group), None, None, Right::Join)));
    grants.extend(arguments.send.iter().map(|group| grant(Some(group), None, None, Right::Send)));
    grants.extend(arguments.send_user.iter().map(|user| grant(None, Some(user), None, Right::Send)));
    grants.extend(arguments.send_all.then(|| grant(None, None, Some(true), Right::Send)));
    let extras = Extras {
        id: arguments.id.as_deref(),
        audience: arguments.audience.as_deref(),
        issuer: arguments.issuer.as_deref(),
    };
    let seconds = arguments.lifetime.as_secs();
    let token = minter
        .mint(arguments.user.as_str(), seconds, &grants, extras)
        .map_err(|error| Failure::failed(error.to_string()))?;
    writeln!(std::io::stdout().lock(), "{token}")?;
    Ok(())
}

/// The configuration of a client with the token that an argument is, or that is in the file `@FILE`. The file is read for
/// each connection and each refresh, so that whoever renews the token has nothing else to do.
pub(crate) fn client_config(server: String, argument: &str) -> Result<ClientConfig, Failure> {
    let Some(path) = argument.strip_prefix('@') else {
        let token = Token::new(argument.trim());
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
        None => Ok(Token::new(argument.trim())),
    }
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
