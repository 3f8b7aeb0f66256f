//! Variables of the environment: an empty one is not a value, whichever it is and whatever command is run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should fail on the spot"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::{fanfare, finish, run};

/// Commands that come to their end by themselves in an empty directory, each in its own way.
const COMMANDS: &[&[&str]] = &[
    &["config", "--json"],
    &["config", "--dev"],
    &["serve"],
    &["serve", "--cert", "nowhere.pem"],
    &["listen"],
    &["send", "--to-all", "x"],
    &["chat", "--join", "room"],
    &["token", "--user", "a", "--secret", "nowhere"],
    &["top", "--once"],
    &["admin", "status"],
    &["certs", "show"],
];

/// Every variable that the help of a command names.
fn variables(home: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for command in COMMANDS.iter().map(|command| command[0]).chain(["demo", "completions", "man"]) {
        let help = run(home, &[command, "--help"]);
        // Lines are wrapped anywhere.
        let help: Vec<&str> = help.printed().split_whitespace().collect();
        for part in help.join(" ").split("[env: ").skip(1) {
            let name: String =
                part.chars().take_while(|letter| letter.is_ascii_uppercase() || *letter == '_').collect();
            found.insert(name);
        }
    }
    found
}

/// It failed before: `FANFARE_DEV=` was no value for a switch, and with `FANFARE_TOKEN_AUDIENCE=` every token was for
/// another audience.
#[test]
fn an_empty_variable_is_as_good_as_none() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let variables = variables(home);
    for name in
        ["FANFARE_TOKEN_AUDIENCE", "FANFARE_CONFIG", "FANFARE_SERVER", "FANFARE_ADMIN", "FANFARE_STATE_DIR"]
    {
        assert!(variables.contains(name), "{name} is not in {variables:?}");
    }
    assert!(variables.len() > 40, "{variables:?}");
    for command in COMMANDS {
        let expected = run(home, command);
        let ended = finish(fanfare(home, command).envs(variables.iter().map(|name| (name, ""))), b"");
        assert_eq!(
            (ended.code, &ended.out, &ended.err),
            (expected.code, &expected.out, &expected.err),
            "{command:?} with all of them"
        );
    }
    let expected = run(home, &["config", "--json"]);
    for name in &variables {
        let ended = finish(fanfare(home, &["config", "--json"]).env(name, ""), b"");
        assert_eq!(ended.printed(), expected.printed(), "{name}");
    }
    // A variable that says something is still heard.
    let ended = finish(fanfare(home, &["config", "--json"]).env("FANFARE_TOKEN_AUDIENCE", "chat"), b"");
    assert!(ended.printed().contains("chat"));
}

/// Half a list is a mistake and not a setting, wherever it stands.
#[test]
fn a_part_that_is_empty_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for (name, value) in [
        ("FANFARE_TOKEN_AUDIENCE", "chat,"),
        ("FANFARE_TOKEN_ISSUER", ","),
        ("FANFARE_NAME", ",chat.example"),
    ] {
        let setting = name.strip_prefix("FANFARE_").unwrap().to_lowercase();
        finish(fanfare(home, &["config"]).env(name, value), b"").complains(2, &[&setting, "is empty"]);
    }
    finish(fanfare(home, &["config"]).env("FANFARE_TOKEN_SECRET", "secret,,other"), b"")
        .complains(2, &["--token-secret", "a value is required"]);
    run(home, &["config", "--token-audience", ""]).complains(2, &["token_audience", "is empty"]);
    run(home, &["config", "--user-claim", ""]).complains(2, &["user_claim", "is empty"]);
    std::fs::write(home.join("settings.toml"), "token_issuer = ['https://login.example', '']").unwrap();
    run(home, &["config", "--config", "settings.toml"]).complains(2, &["token_issuer", "is empty"]);
}
