//! The layers: flags over environment over file over defaults.
//!
//! In: what was typed, flags and variables alike, and the name of a file. Out: every setting with its value, and where
//! that is from. Invariant: the layers are tables of one shape ([`Settings`]), so a setting is in each of them by the
//! same name, and what a higher one says replaces what the lower ones say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use serde::Serialize;
use toml::Value;

use super::file::read;
use super::schema::{Settings, table};
use super::value::ListenSetting;
use crate::failure::Failure;

/// Where a development server has its page.
const DEVELOPMENT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4480);

const HTTP_LISTEN: &str = "http_listen";

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Origin {
    Default,
    File,
    Flag,
    Environment,
}

/// A setting's name and its value, and where that comes from.
pub(super) type Row = (String, Value, Origin);

/// Every setting with its value, and the origin of each by name.
pub(super) fn merge(typed: &Settings, file: Option<&Path>) -> Result<(Settings, Vec<Row>), Failure> {
    let mut merged = table(&Settings::defaults())?;
    let mut origins: Vec<(String, Origin)> = Vec::new();
    if let Some(path) = file {
        for (name, value) in read(path)? {
            origins.push((name.clone(), Origin::File));
            merged.insert(name, value);
        }
    }
    for (name, value) in table(typed)? {
        origins.push((name.clone(), given_by(&name)));
        merged.insert(name, value);
    }
    // The one default that hangs on another setting.
    if !merged.contains_key(HTTP_LISTEN) {
        let dev = merged.get("dev").and_then(Value::as_bool) == Some(true);
        let listen = if dev { ListenSetting::At(DEVELOPMENT_HTTP) } else { ListenSetting::Off };
        merged.insert(HTTP_LISTEN.to_owned(), Value::String(listen.to_string()));
    }
    let origin = |name: &String| {
        let last = origins.iter().rev().find(|(known, _)| known == name);
        last.map_or(Origin::Default, |(_, origin)| *origin)
    };
    let rows: Vec<Row> =
        merged.iter().map(|(name, value)| (name.clone(), value.clone(), origin(name))).collect();
    // Each layer was a valid `Settings`, so this is one too.
    let settings = merged.try_into().map_err(|error| Failure::usage(error.to_string()))?;
    refuse_empty(&rows)?;
    Ok((settings, rows))
}

/// Where what was not left out is from: a flag goes before its variable, so what is not typed is from there.
fn given_by(name: &str) -> Origin {
    let flag = format!("--{}", name.replace('_', "-"));
    let is_flag = |argument: &str| {
        argument.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let typed = std::env::args_os().any(|argument| argument.to_str().is_some_and(is_flag));
    if typed { Origin::Flag } else { Origin::Environment }
}

/// Text that is nothing names nothing: an audience that no token has would lock everybody out.
fn refuse_empty(rows: &[Row]) -> Result<(), Failure> {
    let is_empty = |value: &Value| value.as_str().is_some_and(str::is_empty);
    for (name, value, _) in rows {
        if is_empty(value) || value.as_array().is_some_and(|list| list.iter().any(is_empty)) {
            return Err(Failure::usage(format!(
                "{name} is empty, or a part of it is; leave it out, or say what it shall be"
            )));
        }
    }
    Ok(())
}
