//! How names and texts of others are shown to a person: so that two that differ look different, and none steers a
//! terminal.
//!
//! In: any text. Out: the same with everything escaped, as `\u{200b}`, that has no shape of its own or the shape of
//! something else: control characters, marks of direction, what joins or takes no room, tags and variation selectors,
//! private use, what is assigned to nothing, spaces that are no plain space, and spaces at either end. Invariant: two
//! texts that differ are shown differently, as far as single characters go; letters of other scripts that look alike
//! (UTS #39, confusables) are shown as they are. The table `protocol/visible.json` holds this and the browsers'
//! `visible` to the same answers.

use std::fmt::Write;

/// `text` as a person may see it.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let kept = text.trim_matches(' ');
    let start = text.find(kept).unwrap_or(0);
    let inner = start..start + kept.len();
    for (at, character) in text.char_indices() {
        let edge = character == ' ' && !inner.contains(&at);
        // Otherwise the text `\u{200b}` would look like what it stands for.
        let escape = character == '\\' && text.get(at + 1..).is_some_and(|rest| rest.starts_with("u{"));
        if edge || escape || is_hidden(character) {
            // Writing to a String does not fail.
            let _ = write!(shown, "{}", character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character has no shape of its own, or one that cannot be told from another's.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || turns(character)
        || matches!(
            character,
            // Other spaces, and what breaks lines (White_Space but for U+0020).
            '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
            // What is not drawn (Default_Ignorable_Code_Point), with the fillers of Hangul and the blank of Braille.
            | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            // Private use, and what will never be a character.
            | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' | '\u{fdd0}'..='\u{fdef}'
        )
        || (character as u32) & 0xfffe == 0xfffe
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
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_as_the_table_says() {
        let table: Vec<(String, String)> = serde_json::from_str(include_str!("../visible.json")).unwrap();
        assert!(table.len() > 40);
        for (text, shown) in &table {
            assert_eq!(visible(text), *shown, "{text:?}");
        }
        let mut all: Vec<_> = table.iter().map(|(_, shown)| shown).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), table.len(), "two of them look the same");
    }
}
