//! A file of settings: read as a whole, and every problem told with the file and the line.

use std::fs;
use std::path::Path;

use clap::Args;
use toml::{Table, Value};

use super::schema::{Settings, table};
use crate::failure::Failure;

/// Reads the file's settings; every problem is told with the file and the line.
pub(super) fn read(path: &Path) -> Result<Table, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "cannot read the settings in {}: {error}; check --config and FANFARE_CONFIG",
            path.display()
        ))
    })?;
    let at = |span: Option<std::ops::Range<usize>>, message: &str| {
        let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Failure::usage(format!("{}:{line}: {message}", path.display()))
    };
    let keys: std::collections::BTreeMap<toml::Spanned<String>, Value> =
        toml::from_str(&text).map_err(|error| at(error.span(), error.message()))?;
    let known = known_names();
    if let Some(unknown) = keys.keys().find(|key| !known.contains(key.get_ref())) {
        let nearest = known
            .iter()
            .max_by(|a, b| likeness(a, unknown.get_ref()).total_cmp(&likeness(b, unknown.get_ref())));
        let hint = nearest.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
        return Err(at(Some(unknown.span()), &format!("there is no setting {:?}{hint}", unknown.get_ref())));
    }
    let settings: Settings = toml::from_str(&text).map_err(|error| {
        // The message is about a value only; whose value it is, is the key before it.
        let start = error.span().map_or(0, |span| span.start);
        let key = keys.keys().filter(|key| key.span().start <= start).max_by_key(|key| key.span().start);
        let name = key.map(|key| format!("{}: ", key.get_ref())).unwrap_or_default();
        at(error.span(), &format!("{name}{}", error.message()))
    })?;
    table(&settings)
}

fn likeness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

/// The names of all settings: those of the command line, with underscores.
fn known_names() -> Vec<String> {
    let command = Settings::augment_args(clap::Command::new("settings"));
    command.get_arguments().map(|argument| argument.get_id().to_string()).collect()
}
