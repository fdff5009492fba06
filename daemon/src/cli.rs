//! The command line.
//!
//! The daemon's own flags are made from the table of [settings](crate::config::SETTINGS)
//! and handed on unparsed, so that every mistake is reported at once, together with those
//! in the environment and the file.

mod config;
mod tls;
mod top;

use std::{collections::BTreeMap, env, path::PathBuf};

use clap::{Arg, ArgMatches, Args, ColorChoice, Command, FromArgMatches, Subcommand, ValueEnum};
use clap_complete::Shell;
use nano_client::Options;
use nano_tls::{SECRET_VARIABLE, SecretSource};

pub use self::config::ConfigCommand;
use crate::config::{CONFIG, SETTINGS, env_name, flag_name};

pub use tls::Tls;
pub use top::{Column, TopArguments};

/// What was asked for.
pub enum Ask {
    /// Run the daemon, with these flags.
    Daemon(BTreeMap<&'static str, String>),
    /// Look at the configuration that it would have with these flags.
    Config(ConfigCommand, BTreeMap<&'static str, String>),
    /// Something else.
    Other(Other),
}

// No doc comment: it would become the program's own description.
#[derive(Subcommand)]
#[expect(missing_docs, reason = "its variants say what they are")]
pub enum Other {
    /// Send a message to a subject and print the answer
    Call(Call),
    /// List the routes that a node knows, and watch them change
    Routes(Routes),
    /// Watch the calls of a node as they come, by pattern
    Top(TopArguments),
    /// Say why calls of a subject go where they go
    Explain(ExplainArguments),
    /// List what has changed of the routes that a node knows, the latest first
    History(HistoryArguments),
    /// Say how a node does, and how it stands to Redis
    Status(StatusArguments),
    /// Ask whether a pattern may be registered
    Register(RegisterArguments),
    /// Start a node with three math services, call each, and stay until Ctrl-C
    Demo(Demo),
    /// Make an authority and certificates by hand, for nodes and services on several machines
    #[command(subcommand)]
    Tls(Tls),
    /// Measure calls through a running node
    #[command(subcommand)]
    Bench(Bench),
    /// Ask the node on this machine whether it is ready, for containers
    Health(HealthArguments),
    /// Print a script by which a shell completes the command line
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands
    #[command(after_help = MAN_HELP)]
    Man {
        /// Folder to write nanod.1, nanod-routes.1 and so on into
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

const COMPLETIONS_HELP: &str = "\
Where the script goes:
  bash  nanod completions bash > /usr/share/bash-completion/completions/nanod
  zsh   nanod completions zsh > \"${fpath[1]}/_nanod\"
  fish  nanod completions fish > ~/.config/fish/completions/nanod.fish";

const MAN_HELP: &str = "\
  nanod man | man -l -
  nanod man --out /usr/local/share/man/man1";

/// In which form an answer is printed.
#[derive(Args)]
pub struct Form {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Whether it is coloured
    #[command(flatten)]
    pub colors: Colors,
}

/// Whether what is printed is coloured.
#[derive(Args)]
pub struct Colors {
    /// Whether to use colours; auto does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// Where the node is, and what to show it.
#[derive(Clone, Args)]
pub struct NodeArguments {
    /// The node's QUIC address, or those of several with commas between them
    #[arg(
        long,
        env = "NANO_NODE",
        default_value = "127.0.0.1:9999",
        value_name = "ADDR"
    )]
    pub node: String,
    /// Folder with ca.pem, cert.pem and key.pem [default: certificates of the cluster's secret;
    /// without one those of the node on this machine]
    #[arg(long, env = "NANO_TLS", value_name = "DIR")]
    pub tls: Option<PathBuf>,
    /// File with the cluster's secret, if --tls is not given [default: $NANO_CLUSTER_SECRET, the
    /// secret itself]
    #[arg(long, env = "NANO_CLUSTER_SECRET_FILE", value_name = "FILE")]
    pub cluster_secret_file: Option<PathBuf>,
    /// State folder of the node on this machine, if there is neither [default: as the node's own]
    #[arg(long, env = "NANO_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
}

impl NodeArguments {
    /// How to connect there.
    ///
    /// # Errors
    ///
    /// If the cluster's secret in the environment is none, or a file is named as well.
    pub fn options(self) -> nano_tls::Result<Options> {
        let mut options = Options::default().node(self.node);
        options.tls = self.tls;
        options.state = self.state;
        let variable = env::var_os(SECRET_VARIABLE);
        options.cluster_secret = SecretSource::choose(variable, self.cluster_secret_file)?;
        Ok(options)
    }
}

/// `nanod call`
#[derive(Args)]
#[command(after_help = CALL_HELP)]
pub struct Call {
    /// What to ask for, e.g. role:math,cmd:sum
    pub subject: String,
    /// The message, as JSON
    #[arg(default_value = "{}")]
    pub json: String,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
    /// How long to wait for the answer, in milliseconds
    #[arg(long, default_value_t = 30_000, value_name = "MS")]
    pub timeout_ms: u64,
}

const CALL_HELP: &str = "\
Exit codes:
  0  answered
  2  the command line is wrong
  3  no session with the node
  4  the call failed before its handler ran (not_sent, refused)
  5  the call failed, and its handler may have run (maybe_executed)
  6  its handler ran and failed (executed)";

/// `nanod routes`
#[derive(Args)]
#[command(after_help = ROUTES_HELP)]
pub struct Routes {
    /// Only patterns that begin with all fields of this one: role:math lists
    /// role:math,cmd:sum, but not role:mathx
    pub prefix: Option<String>,
    /// Print JSON: one object a line, as jq reads them
    #[arg(long)]
    pub json: bool,
    /// Print what there is and then what changes, as it changes, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Whether it is coloured
    #[command(flatten)]
    pub colors: Colors,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
}

const ROUTES_HELP: &str = "\
One line is one instance of one pattern, in the order of the patterns' fields.
  AT     here: connected to the node that was asked; the address of the node that it is
         connected to; or nowhere
  STATE  as the node that was asked sees it. ready; leaving; lost: its session with that
         node is over, or it has not come back since the node's start; suspect: its node
         was not heard of through Redis for a while; unreachable: nothing is heard of it,
         or there is no way to its node
  CALLS  given to the instance by the node that was asked, and not answered yet

--watch begins with what there is. A line has the time (UTC), + for a route that came, - for
one that went, ~ for one that has changed and in which way; calls in flight are no change.
With --json it has \"time\" and \"change\" (added, removed, changed) beside the route. What
comes and goes within 0.1 s may not be seen.

  nanod routes --json | jq -r 'select(.state != \"ready\") | .pattern'

Exit codes:
  0  listed; watched until Ctrl-C, or until nobody read any more
  2  the command line is wrong
  3  no session with the node
  4  the node did not answer, or the list could not be written";

/// `nanod explain`
#[derive(Args)]
#[command(after_help = EXPLAIN_HELP)]
pub struct ExplainArguments {
    /// What would be called, e.g. role:math,cmd:sum
    pub subject: String,
    /// Say where they went at a time: 2026-11-28T14:03:00Z, 14:03 in UTC, or 10m ago
    #[arg(long = "at", value_name = "TIME")]
    pub time: Option<String>,
    /// In which form to print it
    #[command(flatten)]
    pub form: Form,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
}

/// `nanod history`
#[derive(Args)]
#[command(after_help = HISTORY_HELP)]
pub struct HistoryArguments {
    /// Only of patterns that begin with all fields of this one, e.g. role:math
    pub prefix: Option<String>,
    /// Only what came no sooner: 2026-11-28T14:03:00Z, 14:03 in UTC, or 10m for ten minutes ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Most changes
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub limit: usize,
    /// Print JSON, an object a line
    #[arg(long)]
    pub json: bool,
    /// Whether it is coloured
    #[command(flatten)]
    pub colors: Colors,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
}

const HISTORY_HELP: &str = "\
A line a change: when the node saw it, what happened, the pattern, the identity and the instance
that serves it, and where that was connected. What happens:
  registered    by a service, here or at another node
  changed       the service declares other terms
  returned      it came back on another connection, after its loss or the node's start
  moved         to another node, or from there to this one
  lost          its session is over; it may return
  deregistered, left, expired, gone
                removed: by the service, with all of its routes, since it did not return
                within the grace, or since another node has it no more
  forbidden     removed by the rules
  unreachable   removed, an HTTP service that could not be reached for very long
  undone        it could not be made durable
  started       the node itself

A node keeps as much of it as its setting history allows, also when it is started anew.";

const EXPLAIN_HELP: &str = "\
What bears on the calls, a line each:
  winner     the pattern that gets the calls
  instance   one that serves it: where it is connected and its state, as nanod routes has
             them; whether it is picked, and why not; its calls in flight; what they take
             on average; where it can be called without a node; and where all that is known
             from, and how long ago it was so. Those that are not picked come first, of at
             most 64
  runner-up  a pattern that matches too, but has fewer fields
  near miss  a pattern that would match if one field were another, or if there were one
             more: at most 16, the likest first, of a bounded number that is looked at

All is as the node sees it that was asked. It knows nothing of what programs that call without
it have in flight: they say that of themselves by the library's Client::explain.

Exit codes:
  0  explained
  2  the command line is wrong
  3  no session with the node
  4  no pattern matches, or the node did not answer";

/// `nanod status`
#[derive(Args)]
#[command(after_help = STATUS_HELP)]
pub struct StatusArguments {
    /// In which form to print it
    #[command(flatten)]
    pub form: Form,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
}

const STATUS_HELP: &str = "\
How the node stands to Redis:
  in step                what is in Redis is known to the node, and the other way round
  away for T             Redis cannot be read; the node serves what it knows
  behind by N            N other nodes have newer routes in Redis than this one knows
  not yet replicated: N  N changes of its own are not known to be in Redis

Exit codes:
  0  answered, whatever the answer says
  2  the command line is wrong
  3  no session with the node
  4  the node did not answer";

/// `nanod register`
#[derive(Args)]
#[command(after_help = REGISTER_HELP)]
pub struct RegisterArguments {
    /// The pattern; nothing is registered
    #[arg(long, required = true, value_name = "PATTERN")]
    pub check: String,
    /// In which form to print it
    #[command(flatten)]
    pub form: Form,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
}

const REGISTER_HELP: &str = "\
Asks the node whether the identity that the command shows may register the pattern, and by
which rule. Give it the certificates of the service that is meant (--tls).
  same     others serve the very pattern, and the calls would be shared with them
  shorter  others serve it, and the pattern would take those of its calls that it matches
  longer   others serve it, and it takes those calls of the pattern that it matches

Exit codes:
  0  it may be registered
  1  it may not
  2  the command line is wrong
  3  no session with the node
  4  the node did not answer";

/// `nanod health`
#[derive(Args)]
#[command(after_help = HEALTH_HELP)]
pub struct HealthArguments {
    /// Where the node's admin listener is [NANO_ADMIN; default: as the node's own]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// TOML file that the node reads its settings from [NANO_CONFIG; default: none]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// How long to wait for the answer, in milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub timeout_ms: u64,
}

const HEALTH_HELP: &str = "\
It sends GET /readyz to the admin listener, which it finds by the same flag, variable and file as
the node itself. Where that listens on all addresses it asks on loopback.

Exit codes:
  0  the node is ready
  1  it is not, or does not answer
  2  the command line, a variable or the file is wrong";

/// `nanod demo`
#[derive(Args)]
pub struct Demo {
    /// Address that HTTP listens on (TCP); port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9999", value_name = "ADDR")]
    pub http: String,
    /// Address that QUIC listens on (UDP); port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9999", value_name = "ADDR")]
    pub quic: String,
    /// Address that the admin listener and its status page are on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9998", value_name = "ADDR")]
    pub admin: String,
    /// Keep several patterns busy until Ctrl-C: some calls fail, some are slow, and an instance
    /// hangs now and then
    #[arg(long)]
    pub load: bool,
}

/// `nanod bench`
#[derive(Subcommand)]
pub enum Bench {
    /// Serve a pattern by sending each body back, until Ctrl-C
    Serve(BenchServe),
    /// Call for some seconds, then report rate and latency
    Call(BenchCall),
}

/// `nanod bench serve`
#[derive(Args)]
pub struct BenchServe {
    /// The pattern to serve
    #[arg(long, default_value = "bench:echo", value_name = "PATTERN")]
    pub pattern: String,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
}

/// `nanod bench call`
#[derive(Args)]
pub struct BenchCall {
    /// The subject to call
    #[arg(long, default_value = "bench:echo", value_name = "SUBJECT")]
    pub pattern: String,
    /// Calls to keep in flight
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub in_flight: usize,
    /// Bytes of each body
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    pub size: usize,
    /// How long to call, in seconds
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    pub seconds: u64,
    /// Print the report as one JSON object; latencies are in microseconds
    #[arg(long)]
    pub json: bool,
    /// Which trace context each call carries; one of its own, if any
    #[arg(long, default_value = "none", value_name = "CONTEXT")]
    pub trace: BenchTrace,
    /// Call through the node, which is the default
    #[arg(long, conflicts_with = "direct")]
    pub switched: bool,
    /// Call the instances without the node, as the library does unless told otherwise
    #[arg(long)]
    pub direct: bool,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
}

/// A trace context of calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum BenchTrace {
    /// None
    None,
    /// One whose spans are not to be recorded
    Unsampled,
    /// One whose spans are
    Sampled,
}

/// Reads the command line; prints help or a mistake and exits where there is one.
#[must_use]
pub fn parse() -> Ask {
    let matches = command().get_matches();
    match matches.subcommand() {
        None => Ask::Daemon(flags(&matches)),
        Some((CONFIG, matches)) => {
            let (command, matches) = config::parse(matches);
            Ask::Config(command, matches.map(flags).unwrap_or_default())
        }
        Some(_) => match Other::from_arg_matches(&matches) {
            Ok(other) => Ask::Other(other),
            Err(error) => error.exit(),
        },
    }
}

/// The whole command line, as help, completions and manual describe it.
pub(crate) fn command() -> Command {
    let daemon = Command::new("nanod")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A routing daemon for small services. Without a command it runs the daemon.")
        .after_help(DAEMON_HELP)
        .args_conflicts_with_subcommands(true)
        .subcommand(config::command());
    Other::augment_subcommands(with_flags(daemon, false)).subcommand_required(false)
}

const DAEMON_HELP: &str = "\
Each flag has an environment variable (--ready-file is NANO_READY_FILE) and a key in the file that
--config names (ready_file). A flag wins over a variable, a variable over the file.
NANO_CLUSTER_SECRET, the secret itself, and NANO_TOKENS, tokens themselves, are variables only.
nanod config print says which value each setting has, and where that is from.

Signals:
  SIGTERM  stops the daemon, and so does Ctrl-C (SIGINT): HTTP requests end, then callers leave,
           then services. A second one stops it at once
  SIGHUP   has it read its configuration, certificates, rules and tokens anew. What cannot be used
           leaves the old in force, and the log says why; it also names settings that have changed
           and take a restart

Under systemd (Type=notify) it says when it serves, reloads and stops, and feeds the watchdog.

Exit codes:
  0    stopped as told
  1    did not start, or a part of it failed
  2    the command line, a variable or the file is wrong
  130  stopped at once";

/// Adds the flags of the settings; shown by the help of the daemon itself.
fn with_flags(command: Command, are_hidden: bool) -> Command {
    let settings = SETTINGS.iter().map(|s| flag(s.key, s.help, s.default));
    command
        .arg(flag(CONFIG, "TOML file to read settings from", "none"))
        .args(settings.map(|flag| flag.hide(are_hidden)))
}

fn flag(key: &'static str, help: &str, default: &str) -> Arg {
    Arg::new(key)
        .long(flag_name(key))
        .value_name("VALUE")
        .help(format!("{help} [{}; default: {default}]", env_name(key)))
}

fn flags(matches: &ArgMatches) -> BTreeMap<&'static str, String> {
    std::iter::once(CONFIG)
        .chain(SETTINGS.iter().map(|setting| setting.key))
        .filter_map(|key| Some((key, matches.get_one::<String>(key)?.clone())))
        .collect()
}
