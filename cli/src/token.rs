//! `fanfare token`: makes tokens.
//!
//! In: arguments. Out: a token on stdout. Invariant: a token is printed where it was asked for, and nowhere else.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use fanfare_protocol::Pattern;
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
    let minter = minter.map_err(|error| {
        Failure::failed(format!(
            "{error} (--key FILE is for a private key in PEM, --secret FILE for a secret)"
        ))
    })?;
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
    grants.extend(arguments.presence.iter().map(|group| grant(Some(group), None, None, Right::Presence)));
    grants.extend(arguments.send_user.iter().map(|user| grant(None, Some(user), None, Right::Send)));
    grants.extend(arguments.send_all.then(|| grant(None, None, Some(true), Right::Send)));
    let extras = Extras {
        id: arguments.id.as_deref(),
        audience: arguments.audience.as_deref(),
        issuer: arguments.issuer.as_deref(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = arguments.lifetime.as_secs();
    let token = minter
        .mint(arguments.user.as_str(), now, seconds, &grants, extras)
        .map_err(|error| Failure::failed(error.to_string()))?;
    writeln!(std::io::stdout().lock(), "{token}")?;
    Ok(())
}
