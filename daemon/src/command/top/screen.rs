//! The terminal: taken when it begins, and given back as it was however it ends, also by a panic.

use std::{io, thread};

use ratatui::{DefaultTerminal, Frame};

/// The whole of a terminal.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal, and has a panic give it back before it says what has happened.
    pub(super) fn take() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                // It may have been half taken.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }

    /// Shows what is drawn; only what has changed is written.
    pub(super) fn show(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic has given it back before it was reported; a second time would put the cursor where
        // it was before the report.
        if !thread::panicking() {
            // Of a terminal that is gone nothing has to be given back.
            let _ = ratatui::try_restore();
        }
    }
}
