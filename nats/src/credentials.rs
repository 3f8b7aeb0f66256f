//! Who a node is to NATS: files to what a server is answered.
//!
//! In: [`Credentials`] and a server's nonce. Out: an [`Auth`], or which file is wrong. Invariant: what is in a file
//! gets into no error and no log.

use std::path::Path;

use async_nats::Auth;
use nkeys::{KeyPair, KeyPairType};

use crate::error::OpenError;
use crate::settings::Credentials;

/// Credentials as they were in their files a moment ago.
pub(crate) enum Proof {
    Nobody,
    Key(KeyPair),
    Token { jwt: String, key: KeyPair },
    Password { user: String, password: String },
}

/// Reads the file. Files of credentials are short, and read once for a connection: it waits for the disk.
pub(crate) fn read(credentials: &Credentials) -> Result<Proof, OpenError> {
    Ok(match credentials {
        Credentials::None => Proof::Nobody,
        Credentials::NKey(file) => Proof::Key(user_key(file, text(file)?.trim())?),
        Credentials::File(file) => {
            let text = text(file)?;
            let mut sections = sections(&text);
            let (Some(jwt), Some(seed)) = (sections.next(), sections.next()) else {
                return Err(content(file, "this is no .creds file, with a JWT and an NKey seed"));
            };
            Proof::Token { jwt: jwt.to_owned(), key: user_key(file, seed)? }
        }
        Credentials::Password { user, file } => {
            let password = text(file)?.trim_end_matches(['\r', '\n']).to_owned();
            if password.is_empty() {
                return Err(content(file, "there is no password in it"));
            }
            Proof::Password { user: user.clone(), password }
        }
    })
}

/// Whom NATS refused, for a sentence.
pub(crate) fn describe(credentials: &Credentials) -> String {
    match credentials {
        Credentials::None => "a node without credentials".to_owned(),
        Credentials::NKey(file) => match read(credentials) {
            Ok(Proof::Key(key)) => {
                format!("the user {}, whose seed is in {}", key.public_key(), file.display())
            }
            _ => format!("the user whose seed is in {}", file.display()),
        },
        Credentials::File(file) => format!("the user of {}", file.display()),
        Credentials::Password { user, file } => {
            format!("the user {user} with the password in {}", file.display())
        }
    }
}

impl Proof {
    pub(crate) fn answer(&self, nonce: &[u8]) -> Result<Auth, nkeys::error::Error> {
        let mut auth = Auth::new();
        match self {
            Self::Nobody => {}
            Self::Key(key) => {
                auth.nkey = Some(key.public_key());
                auth.signature = Some(key.sign(nonce)?);
            }
            Self::Token { jwt, key } => {
                auth.jwt = Some(jwt.clone());
                auth.signature = Some(key.sign(nonce)?);
            }
            Self::Password { user, password } => {
                auth.username = Some(user.clone());
                auth.password = Some(password.clone());
            }
        }
        Ok(auth)
    }
}

fn text(file: &Path) -> Result<String, OpenError> {
    std::fs::read_to_string(file)
        .map_err(|error| OpenError::File { file: file.to_owned(), error: error.to_string() })
}

fn content(file: &Path, what: &str) -> OpenError {
    OpenError::Content { file: file.to_owned(), what: what.to_owned() }
}

fn user_key(file: &Path, seed: &str) -> Result<KeyPair, OpenError> {
    // The reason is not repeated: it may have a part of the seed in it.
    let key = KeyPair::from_seed(seed)
        .map_err(|_| content(file, "this is no seed of an NKey: 58 letters and digits that begin with SU"))?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(key),
        _ => Err(content(file, "this is the seed of an NKey that is not a user's: a user's begins with SU")),
    }
}

/// What is between a line that begins something and one that ends it, one line each.
fn sections(text: &str) -> impl Iterator<Item = &str> {
    let is_begin = |line: &str| line.starts_with("---") && line.contains("BEGIN");
    let is_end = |line: &str| line.starts_with("---") && line.contains("END");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found: Vec<&str> = lines
        .windows(3)
        .filter_map(|three| match three {
            [before, line, after] if is_begin(before) && is_end(after) => Some(*line),
            _ => None,
        })
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn error(credentials: &Credentials) -> String {
        match read(credentials) {
            Ok(_) => panic!("it was taken"),
            Err(error) => {
                let path = credentials.file().unwrap().display().to_string();
                assert!(error.to_string().contains(&path), "{error}");
                format!("{error} {error:?}")
            }
        }
    }

    #[test]
    fn a_seed_signs_the_nonce() {
        let key = KeyPair::new_user();
        let file = file(&format!("{}\n", key.seed().unwrap()));
        let auth = read(&Credentials::NKey(file.path().to_owned())).unwrap().answer(b"nonce").unwrap();
        assert_eq!(auth.nkey.unwrap(), key.public_key());
        key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn creds_are_a_token_and_a_seed() {
        let key = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\nabc.def.ghi\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            key.seed().unwrap()
        );
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let file = file(&text);
            let auth = read(&Credentials::File(file.path().to_owned())).unwrap().answer(b"nonce").unwrap();
            assert_eq!(auth.jwt.unwrap(), "abc.def.ghi");
            key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_what_is_in_the_file() {
        let account = KeyPair::new_account().seed().unwrap();
        let user = KeyPair::new_user().seed().unwrap();
        for secret in ["not a seed", account.as_str(), user.get(..30).unwrap()] {
            let file = file(secret);
            for credentials in
                [Credentials::NKey(file.path().to_owned()), Credentials::File(file.path().to_owned())]
            {
                assert!(!error(&credentials).contains(secret));
            }
        }
        let empty = file("\n");
        error(&Credentials::Password { user: "fanfare".to_owned(), file: empty.path().to_owned() });
        error(&Credentials::NKey("/nonexistent/seed".into()));
    }

    #[test]
    fn a_password_is_the_line() {
        let file = file("two words \n");
        let credentials = Credentials::Password { user: "fanfare".to_owned(), file: file.path().to_owned() };
        let auth = read(&credentials).unwrap().answer(b"").unwrap();
        assert_eq!(auth.password.unwrap(), "two words ");
        assert!(!describe(&credentials).contains("two words"));
    }
}
