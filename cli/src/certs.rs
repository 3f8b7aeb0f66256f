//! `fanfare certs`: the authority in the state directory, the server's certificate for development, and operators'
//! certificates: made, shown and revoked.

use std::io::Write;
use std::path::{Path, PathBuf};

use fanfare_certs::{
    ADMIN_CERTIFICATE, Authority, CA_CERTIFICATE, CA_KEY, Description, OPERATORS_REVOKED, SERVER_CERTIFICATE,
    SERVER_KEY,
};
use fanfare_protocol::admin::Role;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::arguments::{CertsArguments, CertsCommand, RoleArgument, StateArguments};
use crate::failure::Failure;
use crate::output::visible;

pub(crate) fn run(arguments: CertsArguments) -> Result<(), Failure> {
    match arguments.command {
        CertsCommand::Create { place, names, force } => create(&place.state_dir, &names, force),
        CertsCommand::Operator { place, name, role, lifetime } => operator(&place, &name, role, lifetime),
        CertsCommand::User { place, name, lifetime } => user(&place, &name, lifetime),
        CertsCommand::Revoke { place, name, file } => revoke(&place, name, file),
        CertsCommand::Show { place, file, json } => show(&place, file, json),
    }
}

fn create(directory: &Path, names: &[String], force: bool) -> Result<(), Failure> {
    if force {
        Authority::replace(directory, names)?;
    } else {
        let mut files = [CA_CERTIFICATE, CA_KEY, SERVER_CERTIFICATE, SERVER_KEY]
            .map(|name| directory.join(name))
            .into_iter();
        // A link that leads nowhere is there, too.
        if let Some(path) = files.find(|path| path.symlink_metadata().is_ok()) {
            return Err(fanfare_certs::Error::Exists { path }.into());
        }
    }
    // Makes the authority with it, where there is none; but first of all it looks at the names.
    let leaf = fanfare_certs::server_leaf(directory, names)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "authority    {}  (give this file to clients: --ca)", leaf.ca_certificate.display())?;
    writeln!(out, "certificate  {}", leaf.certificate.display())?;
    writeln!(out, "key          {}", leaf.key.display())?;
    writeln!(out, "names        {}", leaf.identity.description.names.join(", "))?;
    writeln!(out, "valid until  {}", time_text(leaf.identity.description.not_after))?;
    Ok(())
}

fn operator(
    place: &StateArguments,
    name: &str,
    role: RoleArgument,
    lifetime: std::time::Duration,
) -> Result<(), Failure> {
    let role = match role {
        RoleArgument::Viewer => Role::Viewer,
        RoleArgument::Operator => Role::Operator,
    };
    // One that is too long for a certificate is too long for this, too.
    let lifetime = time::Duration::try_from(lifetime).unwrap_or(time::Duration::MAX);
    let made = fanfare_certs::create_operator(&place.state_dir, name, role, lifetime)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "operator     {}, {}", visible(&made.name), made.role)?;
    writeln!(out, "certificate  {}", made.certificate.display())?;
    writeln!(out, "key          {}  (give these two and the authority to the operator)", made.key.display())?;
    writeln!(out, "authority    {}", made.ca_certificate.display())?;
    writeln!(out, "valid until  {}", time_text(made.description.not_after))?;
    Ok(())
}

fn user(place: &StateArguments, name: &str, lifetime: std::time::Duration) -> Result<(), Failure> {
    let lifetime = time::Duration::try_from(lifetime).unwrap_or(time::Duration::MAX);
    let made = fanfare_certs::create_user(&place.state_dir, name, lifetime)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "user         {}", visible(name))?;
    writeln!(out, "certificate  {}", made.certificate.display())?;
    writeln!(out, "key          {}  (give these two to the client: --cert, --key)", made.key.display())?;
    writeln!(out, "authority    {}  (give this to the server: --client-ca)", made.ca_certificate.display())?;
    writeln!(out, "serial       {}", made.description.serial)?;
    writeln!(out, "valid until  {}", time_text(made.description.not_after))?;
    Ok(())
}

fn revoke(place: &StateArguments, name: Option<String>, file: Option<PathBuf>) -> Result<(), Failure> {
    let revoked = match (name, file) {
        (_, Some(file)) => fanfare_certs::revoke_certificate(&place.state_dir, &file)?,
        (name, None) => fanfare_certs::revoke_operator(&place.state_dir, &name.unwrap_or_default())?,
    };
    let list = place.state_dir.join(OPERATORS_REVOKED);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "revoked {} (serial {}); it is on the list in {}",
        revoked.subject,
        revoked.serial,
        list.display()
    )?;
    Ok(())
}

fn show(place: &StateArguments, file: Option<PathBuf>, json: bool) -> Result<(), Failure> {
    let files = match file {
        Some(file) => vec![file],
        None => in_state_directory(&place.state_dir),
    };
    let mut shown = Vec::new();
    for file in files {
        for description in fanfare_certs::describe(&file)? {
            shown.push((file.clone(), description));
        }
    }
    let mut out = std::io::stdout().lock();
    if json {
        let list: Vec<_> = shown.iter().map(|(file, description)| object(file, description)).collect();
        writeln!(out, "{}", serde_json::Value::from(list))?;
        return Ok(());
    }
    let now = OffsetDateTime::now_utc();
    for (position, (file, of)) in shown.iter().enumerate() {
        if position > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", file.display())?;
        writeln!(out, "  subject      {}", of.subject)?;
        writeln!(out, "  issuer       {}", of.issuer)?;
        if !of.names.is_empty() {
            writeln!(out, "  names        {}", of.names.join(", "))?;
        }
        writeln!(out, "  valid from   {}", time_text(of.not_before))?;
        writeln!(out, "  valid until  {}  ({})", time_text(of.not_after), remaining(of, now))?;
        writeln!(out, "  serial       {}", of.serial)?;
        writeln!(out, "  key          {}", of.key_algorithm)?;
        writeln!(out, "  SHA-256      {}", of.sha256)?;
    }
    Ok(())
}

/// The files with certificates: the authority's, which has to be there, the servers', operators' and users'.
fn in_state_directory(directory: &Path) -> Vec<PathBuf> {
    let clients = std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let is_clients = name.starts_with("operator-") || name.starts_with("user-");
        (is_clients && name.ends_with(".pem") && !name.ends_with("-key.pem")).then_some(name)
    });
    let mut clients: Vec<String> = clients.collect();
    clients.sort();
    let servers = [SERVER_CERTIFICATE, ADMIN_CERTIFICATE].map(str::to_owned);
    let others = servers.into_iter().chain(clients).map(|name| directory.join(name));
    std::iter::once(directory.join(CA_CERTIFICATE)).chain(others.filter(|path| path.exists())).collect()
}

fn object(file: &Path, of: &Description) -> serde_json::Value {
    json!({
        "file": file.display().to_string(),
        "subject": of.subject,
        "issuer": of.issuer,
        "names": of.names,
        "not_before": time_text(of.not_before),
        "not_after": time_text(of.not_after),
        "serial": of.serial,
        "is_ca": of.is_ca,
        "key_algorithm": of.key_algorithm,
        "sha256": of.sha256,
    })
}

fn remaining(of: &Description, now: OffsetDateTime) -> String {
    if now < of.not_before {
        return "not yet valid".to_owned();
    }
    let left = of.not_after - now;
    match left.whole_days() {
        _ if left.is_negative() => "expired".to_owned(),
        0 => format!("{} hours left", left.whole_hours()),
        days => format!("{days} days left"),
    }
}

/// As RFC 3339; a time that this cannot say (a year beyond 9999) is said in seconds.
fn time_text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| format!("{} s after 1970", time.unix_timestamp()))
}
