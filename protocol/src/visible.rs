//! How names and texts of others are shown to a person: so that two that differ look different, and none steers a
//! terminal.
//!
//! In: any text. Out: the same with everything escaped, as `\u{200b}`, that has no shape of its own or the shape of
//! something else:
//!
//! - what `table.rs` has of the Unicode data: control and format characters, what joins, takes no room or draws
//!   nothing, spaces that are no plain space, private use, what is assigned to nothing, and what normalization (NFC)
//!   replaces;
//! - marks where they have nothing to sit on, where one stands twice in a row, and where a text is not in NFC: `é` is
//!   shown as it is, and `e` with an accent behind it as `e\u{301}`;
//! - spaces at either end, and behind another space: a web page shows two as one, and nobody counts them in a terminal;
//! - the backslash of a text that reads like an escape.
//!
//! Invariants: what was shown can be read back, so no two texts are shown as the same characters; and it is in NFC, so
//! no two as characters that are the same by Unicode's canonical equivalence (test
//! `what_is_shown_can_be_read_back_and_is_in_nfc`). Out of scope: characters that look alike though they are different
//! letters (UTS #39, confusables: a Cyrillic `а`, a fullwidth `ａ`), and those that a person's font does not have.
//! `protocol/visible.json` holds this and the browsers' `visible` (`web/src/visible.ts`) to the same answers.

mod table;

use std::fmt::Write;

use icu_normalizer::ComposingNormalizerBorrowed;

use self::table::{ATTACHED, HIDDEN};

/// `text` as a person may see it.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let until = text.trim_end_matches(' ').len();
    // The beginning is as good as a space: neither has a place for a mark or for one more space behind it.
    let (mut rest, mut before) = (text, ' ');
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let (_, behind) = rest.split_at(first.len_utf8());
        let (marks, next) = behind.split_at(behind.find(|one| !is_attached(one)).unwrap_or(behind.len()));
        let (cluster, _) = rest.split_at(first.len_utf8() + marks.len());
        let escaped = match first {
            ' ' => before == ' ' || at >= until,
            // Otherwise the text `\u{200b}` would look like what it stands for.
            '\\' => behind.starts_with("u{"),
            _ => is_hidden(first) || is_attached(first),
        };
        put(&mut shown, first, escaped);
        let seated = !escaped && first != ' ' && !repeats(marks) && is_nfc(cluster);
        for mark in marks.chars() {
            put(&mut shown, mark, !seated);
        }
        before = first;
        rest = next;
    }
    shown
}

/// The same in quotes, as logs and sentences have it: where it ends can be seen, too.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", visible(text).replace('"', "\\u{22}"))
}

fn put(shown: &mut String, character: char, escaped: bool) {
    if escaped {
        // Writing to a String does not fail.
        let _ = write!(shown, "{}", character.escape_unicode());
    } else {
        shown.push(character);
    }
}

/// Whether a mark stands twice in a row: the second is drawn over the first (UTS #39, section 5.4).
fn repeats(marks: &str) -> bool {
    marks.chars().zip(marks.chars().skip(1)).any(|(one, next)| one == next)
}

/// Whether a character and what is attached to it are as normalization would have them.
fn is_nfc(cluster: &str) -> bool {
    const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizerBorrowed::new_nfc();
    NFC.is_normalized(cluster)
}

/// Whether a character has no shape of its own, or one that cannot be told from another's.
fn is_hidden(character: char) -> bool {
    !matches!(character, ' '..='~') && has(HIDDEN, character)
}

/// Whether a character is drawn onto the one before it, or may be composed with it.
fn is_attached(character: char) -> bool {
    !character.is_ascii() && has(ATTACHED, character)
}

fn has(ranges: &[(u32, u32)], character: char) -> bool {
    let code = u32::from(character);
    ranges
        .binary_search_by(|(first, last)| match code {
            _ if *last < code => std::cmp::Ordering::Less,
            _ if *first > code => std::cmp::Ordering::Greater,
            _ => std::cmp::Ordering::Equal,
        })
        .is_ok()
}

/// Whether a character turns the direction of writing (Bidi_Control).
#[must_use]
pub fn turns(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests;
