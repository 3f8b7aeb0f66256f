//! The keys, in one table: what the dashboard obeys is what the help shows.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::model::Act;

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ends the dashboard.
    Quit,
    /// Shows or hides the help.
    Help,
    /// Lets the picture stand still, or go on.
    Pause,
    /// Goes to a numbered view.
    View(usize),
    /// Goes to the next numbered view.
    NextView,
    /// Goes so many rows down, or up.
    Step(isize),
    /// Goes a screen down, or up.
    Page(isize),
    /// Goes to the first row, or the last.
    End(isize),
    /// Opens what is selected.
    Open,
    /// Goes back.
    Back,
    /// Asks for a filter.
    Filter,
    /// Orders by the next column.
    Sort,
    /// Turns the order round.
    Reverse,
    /// Copies the id or the name of what is selected.
    Copy,
    /// Looks at all nodes, or at the one that is attached to alone.
    Scope,
    /// Asks for a command by its name.
    Palette,
    /// Opens the dialog of an action.
    Begin(Act),
    /// Lifts the selected ban.
    Lift,
}

/// A row of the help.
#[derive(Debug)]
pub struct Binding {
    /// The keys.
    pub keys: &'static [KeyCode],
    /// How they are written.
    pub shown: &'static str,
    /// What they do.
    pub action: Action,
    /// The same for a person.
    pub help: &'static str,
    /// Whether it changes something on the server.
    pub acts: bool,
}

const fn look(keys: &'static [KeyCode], shown: &'static str, action: Action, help: &'static str) -> Binding {
    Binding { keys, shown, action, help, acts: false }
}

const fn act(keys: &'static [KeyCode], shown: &'static str, action: Action, help: &'static str) -> Binding {
    Binding { keys, shown, action, help, acts: true }
}

/// All of them.
pub const BINDINGS: &[Binding] = &[
    look(&[KeyCode::Char('1')], "1", Action::View(0), "overview"),
    look(&[KeyCode::Char('2')], "2", Action::View(1), "connections"),
    look(&[KeyCode::Char('3')], "3", Action::View(2), "users"),
    look(&[KeyCode::Char('4')], "4", Action::View(3), "groups"),
    look(&[KeyCode::Char('5')], "5", Action::View(4), "bans"),
    look(&[KeyCode::Char('6')], "6", Action::View(5), "audit"),
    look(&[KeyCode::Tab], "Tab", Action::NextView, "next view"),
    look(&[KeyCode::Up, KeyCode::Char('k')], "↑ k", Action::Step(-1), "up"),
    look(&[KeyCode::Down, KeyCode::Char('j')], "↓ j", Action::Step(1), "down"),
    look(&[KeyCode::PageUp], "PgUp", Action::Page(-1), "a screen up"),
    look(&[KeyCode::PageDown], "PgDn", Action::Page(1), "a screen down"),
    look(&[KeyCode::Home, KeyCode::Char('g')], "Home g", Action::End(-1), "first row"),
    look(&[KeyCode::End, KeyCode::Char('G')], "End G", Action::End(1), "last row"),
    look(&[KeyCode::Enter], "Enter", Action::Open, "open what is selected"),
    look(&[KeyCode::Esc, KeyCode::Backspace], "Esc", Action::Back, "back; the filter first"),
    look(&[KeyCode::Char('/')], "/", Action::Filter, "filter, as you type"),
    look(&[KeyCode::Char('s')], "s", Action::Sort, "sort by the next column"),
    look(&[KeyCode::Char('S')], "S", Action::Reverse, "turn the order round"),
    look(&[KeyCode::Char('p')], "p", Action::Pause, "pause, and go on"),
    look(&[KeyCode::Char('n')], "n", Action::Scope, "all nodes, or this one alone"),
    look(&[KeyCode::Char('y')], "y", Action::Copy, "copy the id or the name"),
    look(&[KeyCode::Char(':')], ":", Action::Palette, "command by its name"),
    act(&[KeyCode::Char('r')], "r", Action::Begin(Act::Revoke), "revoke access to groups"),
    act(&[KeyCode::Char('b')], "b", Action::Begin(Act::Ban), "ban from the server"),
    act(&[KeyCode::Char('u')], "u", Action::Lift, "lift the selected ban"),
    act(&[KeyCode::Char('o')], "o", Action::Begin(Act::SignOut), "sign out everywhere"),
    act(&[KeyCode::Char('x')], "x", Action::Begin(Act::Close), "close connections"),
    act(&[KeyCode::Char('a')], "a", Action::Begin(Act::Add), "add to a group"),
    act(&[KeyCode::Char('d')], "d", Action::Begin(Act::Remove), "remove from a group"),
    act(&[KeyCode::Char('m')], "m", Action::Begin(Act::Send), "send a message"),
    look(&[KeyCode::Char('?'), KeyCode::F(1)], "?", Action::Help, "this help"),
    look(&[KeyCode::Char('q')], "q", Action::Quit, "quit"),
];

/// What a key does, if anything. Control-C always quits.
#[must_use]
pub fn action(key: &KeyEvent) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    BINDINGS.iter().find(|binding| binding.keys.contains(&key.code)).map(|binding| binding.action)
}

/// The bindings whose help has these words in it: first those that have them as whole words, and in the order of the
/// table.
#[must_use]
pub fn search(words: &str) -> Vec<&'static Binding> {
    let words = words.to_lowercase();
    let mut found: Vec<&Binding> = BINDINGS
        .iter()
        .filter(|binding| words.split_whitespace().all(|word| binding.help.contains(word)))
        .collect();
    let is_whole = |binding: &&Binding| {
        words.split_whitespace().all(|word| binding.help.split(' ').any(|own| own == word))
    };
    found.sort_by_key(|binding| !is_whole(binding));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn commands_are_found_by_their_words() {
        let first = |words| search(words).first().map(|binding| binding.shown);
        assert_eq!(first("ban"), Some("b"), "the first that has it as a word, and not the view");
        assert_eq!(first("ba"), Some("5"));
        assert_eq!(first("group rem"), Some("d"));
        assert!(search("dance").is_empty());
        assert_eq!(search("").len(), BINDINGS.len());
    }

    #[test]
    fn no_key_does_two_things_and_every_key_is_shown() {
        let mut seen = HashSet::new();
        for binding in BINDINGS {
            for key in binding.keys {
                assert!(seen.insert(*key), "{key:?} is bound twice");
                if let KeyCode::Char(character) = key {
                    assert!(
                        binding.shown.contains(*character),
                        "{:?} does not show {character}",
                        binding.shown
                    );
                }
            }
            assert!(!binding.help.is_empty() && !binding.shown.is_empty());
        }
    }
}
