//! What commands print: text with styles comes in, and standard output gets them if it is a terminal or
//! they are asked for. A pipe gets plain text.

use std::{
    io::{self, IsTerminal, StdoutLock, Write},
    process::ExitCode,
};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use nano_client::RouteState;
use rustix::termios::tcgetwinsize;

use super::fail;

/// How names of fields look.
const NAME: Style = Style::new().bold();

/// What a word says of how things are, which its colour repeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Good,
    Doubtful,
    Bad,
    Neutral,
}

impl Tone {
    /// That of an instance's state.
    pub(super) fn of(state: RouteState) -> Self {
        match state {
            RouteState::Ready => Self::Good,
            RouteState::Leaving | RouteState::Suspect => Self::Doubtful,
            RouteState::Lost | RouteState::Unreachable => Self::Bad,
            RouteState::Unrecognised => Self::Neutral,
        }
    }

    /// The same colour, of a cell of a table.
    pub(super) fn cell_color(self) -> Option<comfy_table::Color> {
        match self {
            Self::Good => Some(comfy_table::Color::DarkGreen),
            Self::Doubtful => Some(comfy_table::Color::DarkYellow),
            Self::Bad => Some(comfy_table::Color::DarkRed),
            Self::Neutral => None,
        }
    }

    /// A text in its colour.
    pub(super) fn paint(self, text: impl std::fmt::Display) -> String {
        let color = match self {
            Self::Good => Some(AnsiColor::Green),
            Self::Doubtful => Some(AnsiColor::Yellow),
            Self::Bad => Some(AnsiColor::Red),
            Self::Neutral => None,
        };
        let style = Style::new().fg_color(color.map(Into::into));
        format!("{style}{text}{style:#}")
    }
}

/// A line that says one thing by its name, in a column of so many characters.
pub(super) fn field(name: &str, width: usize, text: impl std::fmt::Display) -> String {
    match name.is_empty() {
        true => format!("{:width$}  {text}\n", ""),
        false => format!("{NAME}{name:<width$}{NAME:#}  {text}\n"),
    }
}

/// Standard output, which keeps styles or leaves them out.
pub(super) fn standard_output(color: ColorChoice) -> AutoStream<StdoutLock<'static>> {
    let choice = match color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    };
    AutoStream::new(io::stdout().lock(), choice)
}

/// Prints a text, with its styles where they are wanted; fails with that code.
pub(super) fn print(text: &str, color: ColorChoice, code: u8) -> Result<(), ExitCode> {
    let mut out = standard_output(color);
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if !is_unread(&error) => Err(fail(code, format!("cannot write: {error}"))),
        _ => Ok(()),
    }
}

/// How many characters a line of the terminal has; `None` where standard output is none, or one that
/// does not know.
pub(super) fn terminal_width() -> Option<u16> {
    let stdout = io::stdout();
    let size = tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal());
    size.map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// Whether a write failed since whoever read has seen enough, which is no failure.
pub(super) fn is_unread(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
