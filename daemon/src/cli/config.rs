//! `nanod config` on the command line: what of it there is comes out, to be given the daemon's flags.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::with_flags;
use crate::config::CONFIG;

/// `nanod config`
pub enum ConfigCommand {
    /// Say what is wrong with it.
    Check,
    /// Say what it is.
    Print {
        /// As a JSON object.
        json: bool,
    },
}

const PRINT: &str = "print";
const JSON: &str = "json";

/// Which one was asked for, and what else stands on the command line.
pub(super) fn parse(matches: &ArgMatches) -> (ConfigCommand, Option<&ArgMatches>) {
    match matches.subcommand() {
        Some((PRINT, print)) => {
            let json = print.get_flag(JSON);
            (ConfigCommand::Print { json }, Some(print))
        }
        // There is no other, and one is required.
        check => (ConfigCommand::Check, check.map(|(_, check)| check)),
    }
}

/// The command, which takes the flags of the daemon.
pub(super) fn command() -> Command {
    let check = Command::new("check")
        .about("Say all that is wrong with the configuration and the files that it names")
        .after_help(CHECK_HELP);
    let json = Arg::new(JSON)
        .long(JSON)
        .action(ArgAction::SetTrue)
        .help("Print one JSON object");
    let print = Command::new(PRINT)
        .about("Print each setting, what it is and where that is from; passwords are not shown")
        .after_help(PRINT_HELP)
        .arg(json);
    Command::new(CONFIG)
        .about("Check or print the configuration that a daemon would have, without starting one")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_flags(check, true))
        .subcommand(with_flags(print, true))
}

const CHECK_HELP: &str = "\
It takes the flags of the daemon, and reads the same variables and the same file. Settings are
told with line and column. If they are right, the files are read that they name: rules, tokens,
the cluster's secret, certificates and what leads into Redis. Run it as the daemon's user, who may
read them. Nothing is written, and no connection made.

Exit codes:
  0  nothing is wrong
  2  something is";

const PRINT_HELP: &str = "\
It takes the flags of the daemon, and reads the same variables and the same file. What it prints
is a file for --config again, but for passwords. With --json a setting is an object: its \"value\",
null where there is none; \"from\", one of default, flag, variable and file; and where that is:
\"name\" of the flag or variable, or \"file\", \"line\" and \"column\".

Exit codes:
  0  printed
  2  the configuration is wrong";
