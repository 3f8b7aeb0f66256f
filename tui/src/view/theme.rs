//! How things look: one accent, and without colours the same by weight.
//!
//! The two colours are those of the sixteen that can be read on a white ground as on a black one (contrast above 4 in
//! xterm's palette; cyan and yellow are below 2 on white). The ground and the letters are the terminal's own.

use ratatui::style::{Color, Modifier, Style};

#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    pub(super) colours: bool,
}

impl Theme {
    fn coloured(self, colour: Color, otherwise: Style) -> Style {
        if self.colours { Style::new().fg(colour) } else { otherwise }
    }

    /// What is there all the time.
    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn accent(self) -> Style {
        self.coloured(Color::Magenta, Style::new().add_modifier(Modifier::BOLD))
    }

    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Red, Style::new()).add_modifier(Modifier::BOLD)
    }

    /// The header.
    pub(super) fn bar(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What is selected.
    pub(super) fn chosen(self) -> Style {
        self.accent().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}
