//! What a BEGIN and an END look like, and what somebody could take for one.
//!
//! In: a line, or what is before or behind a BEGIN or an END in it. Out: whether there is something in it that looks
//! like one and is none. Invariant: what a person would see as a BEGIN or an END counts as such, whatever stands for
//! its hyphens; a sentence that has one of the two words in it does not.

pub(crate) const BEGIN: &str = "-----BEGIN ";
pub(crate) const END: &str = "-----END ";
pub(crate) const DASHES: &str = "-----";
/// How many hyphens make a line look like a BEGIN or an END: a comment may have an option `--end` in it.
const SOME_DASHES: usize = 3;
/// What labels of certificates and keys begin with.
const FIRST_WORDS: [&str; 9] =
    ["CERTIFICATE", "X509", "TRUSTED", "PRIVATE", "PUBLIC", "ENCRYPTED", "RSA", "EC", "DSA"];

/// Whether another one follows, some of whose first hyphens are the last of the one before. Its word would pass for
/// base64, or for text.
pub(crate) fn shares_hyphens(after: &str) -> bool {
    let word = after.trim_start_matches('-');
    after.len() - word.len() < DASHES.len() && (word.starts_with("BEGIN ") || word.starts_with("END "))
}

/// Whether somebody could take this for a BEGIN or an END: the word, and hyphens before it or behind its label, or the
/// name of what is in such a section behind it.
pub(crate) fn looks_like_a_marker(text: &str) -> bool {
    // What cannot be seen is in nobody's way who looks at it.
    let text: String = text.chars().filter(|one| matches!(one, '\t' | ' '..='~') || dash(*one) > 0).collect();
    is_named(&text) || {
        let text = text.to_uppercase();
        ["BEGIN", "END"]
            .iter()
            .any(|word| text.match_indices(word).any(|(at, _)| is_among_dashes(&text, at, word)))
    }
}

fn is_among_dashes(text: &str, at: usize, word: &str) -> bool {
    let (before, found) = text.split_at(at);
    let after = found.get(word.len()..).unwrap_or_default();
    let before = dashes(before.trim_end().chars().rev());
    if after.starts_with(|next: char| next.is_alphanumeric()) {
        return false;
    }
    let label = |character: char| character.is_ascii_alphanumeric() || " \t._".contains(character);
    let behind = after.trim_start_matches(label);
    before >= SOME_DASHES || dashes(behind.chars()) >= SOME_DASHES
}

/// Whether it says, in capitals and nothing else, that a certificate or a key begins or ends, with whatever for
/// hyphens.
fn is_named(text: &str) -> bool {
    let words = text.trim_matches(|one: char| !one.is_ascii_alphabetic());
    let label = words.strip_prefix("BEGIN").or_else(|| words.strip_prefix("END")).unwrap_or_default();
    let plain = |one: char| one.is_ascii_uppercase() || one.is_ascii_digit() || " \t".contains(one);
    let begins = label.starts_with([' ', '\t']) || FIRST_WORDS.iter().any(|word| label.starts_with(word));
    begins
        && label.chars().all(plain)
        && ["CERTIFICATE", "KEY", "CRL"].iter().any(|what| label.ends_with(what))
}

/// How many hyphens a text begins with. Word processors make two of them a dash.
fn dashes(text: impl Iterator<Item = char>) -> usize {
    text.map(dash).take_while(|hyphens| *hyphens > 0).sum()
}

/// How many hyphens a character stands for.
fn dash(character: char) -> usize {
    match character {
        '-' | '\u{2010}'..='\u{2013}' | '\u{2212}' | '\u{fe63}' | '\u{ff0d}' => 1,
        '\u{2014}' | '\u{2015}' => 2,
        _ => 0,
    }
}
