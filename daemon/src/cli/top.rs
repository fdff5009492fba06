//! The command line of `nanod top`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Colors, NodeArguments};

/// Shortest and longest period, in seconds: what is shorter says little, and what is longer is no
/// longer watched.
const PERIODS: std::ops::RangeInclusive<f64> = 0.1..=600.0;

/// `nanod top`
#[derive(Args)]
#[command(after_help = TOP_HELP)]
pub struct TopArguments {
    /// Only patterns that begin with all fields of this one, e.g. role:math
    pub prefix: Option<String>,
    /// How long a period is, in seconds: 0.1 to 600
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = period)]
    pub interval: Duration,
    /// What the patterns are ordered by at first
    #[arg(long, default_value = "calls", value_name = "COLUMN")]
    pub sort: Column,
    /// Print one table, of one period, and end
    #[arg(long)]
    pub once: bool,
    /// Print JSON: one object a line and period, until Ctrl-C; one of all with --once
    #[arg(long)]
    pub json: bool,
    /// Whether it is coloured
    #[command(flatten)]
    pub colors: Colors,
    /// Where the node is
    #[command(flatten)]
    pub at: NodeArguments,
}

/// What is said of each pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Column {
    /// The pattern itself
    Pattern,
    /// Calls that have ended, each second
    #[default]
    Calls,
    /// Those of them that failed
    Failures,
    /// Half of the calls took no longer
    P50,
    /// Of a hundred calls 99 took no longer
    P99,
    /// Calls that are not answered
    InFlight,
    /// Instances
    Instances,
}

const TOP_HELP: &str = "\
One line is one pattern. What is not counted by itself is summed up as (other), and calls that
failed before their pattern was known as (none).
  CALLS/S, FAIL/S  calls that have ended in the period, and those of them that failed
  P50, P99         how long the calls took that an instance was given, between the bounds that
                   the node counts them by
  FLIGHT           calls that the node has given to instances, and that are not answered
  INSTANCES        those that are ready, of all, and how the others stand
Calls that programs make without the node are not among them.

Keys:
  s > <         order by the next column, or the one before; 1 to 7 by that one; r reverses
  /             show only patterns that contain what is typed; Enter keeps it, Esc drops it
  arrows j k    move, and PageUp, PageDown, Home, End
  Enter         the instances of the pattern, and how its calls failed; Esc goes back
  p             pause
  ?             these keys
  q Ctrl-C      end

  nanod top --json | jq '.patterns[] | select(.failures_per_s > 0)'

Exit codes:
  0  ended as told, or nobody read any more
  2  the command line is wrong, or there is no terminal
  3  no session with the node
  4  the node did not answer, or it could not be written";

fn period(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|period| PERIODS.contains(period));
    let seconds = seconds.ok_or_else(|| {
        let (shortest, longest) = (PERIODS.start(), PERIODS.end());
        format!("write a number of seconds, from {shortest} to {longest}")
    })?;
    Ok(Duration::from_secs_f64(seconds))
}
