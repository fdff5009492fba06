//! `nanod completions` and `nanod man`: what shells and manuals are told of the command line, from the
//! same description that `--help` is made of.

use std::{fs, io, path::Path, process::ExitCode};

use clap::{ColorChoice, Command, builder::Resettable};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{fail, output};
use crate::cli;

const NAME: &str = "nanod";

/// Exit code of pages that could not be written.
const UNWRITTEN: u8 = 1;

/// Prints a script that teaches a shell to complete the command line.
pub(super) fn print_completions(shell: Shell) -> Result<ExitCode, ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), NAME, &mut script);
    print(&script)
}

/// Prints the manual page of the program, or writes those of all commands into a folder.
pub(super) fn run(out: Option<&Path>) -> Result<ExitCode, ExitCode> {
    let mut command = cli::command().disable_help_subcommand(true);
    // Gives commands of commands their whole names.
    command.build();
    let Some(folder) = out else {
        return print(&page(&command).map_err(|error| fail(UNWRITTEN, error))?);
    };
    fs::create_dir_all(folder)
        .and_then(|()| write_pages(&command, folder))
        .map_err(|error| fail(UNWRITTEN, format!("{}: {error}", folder.display())))?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &[u8]) -> Result<ExitCode, ExitCode> {
    let text = String::from_utf8_lossy(text);
    output::print(&text, ColorChoice::Never, UNWRITTEN)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command and those of the commands below it.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands() {
        write_pages(below, folder)?;
    }
    let file = Man::new(command.clone()).get_filename();
    fs::write(folder.join(file), page(command)?)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let described = command.clone().after_help(Resettable::Reset);
    Man::new(described).render(&mut page)?;
    if let Some(notes) = command.get_after_help() {
        page.extend_from_slice(section(&notes.to_string()).as_bytes());
    }
    Ok(page)
}

/// What help ends with, in roff (groff_man(7)): paragraphs are filled, but lists keep their lines.
fn section(notes: &str) -> String {
    let mut section = ".SH NOTES\n".to_owned();
    for paragraph in notes.split("\n\n") {
        let lines: String = paragraph.lines().map(line).collect();
        let is_list = paragraph.lines().any(|line| line.starts_with(' '));
        section += &match is_list {
            true => format!(".PP\n.nf\n{lines}.fi\n"),
            false => format!(".PP\n{lines}"),
        };
    }
    section
}

fn line(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // At a line's begin these would be requests.
    let is_request = text.starts_with(['.', '\'']);
    format!("{}{text}\n", if is_request { "\\&" } else { "" })
}
