//! `nanod top`, as people use it: in terminals of two sizes, with keys, and in a pipe.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::process::Stdio;

use nano_client::Client;
use nano_integration::{Left, Load, Node, Process, Terminal, nanod};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

const SUM: &str = "role:math,cmd:sum";
const PAY: &str = "role:shop,cmd:pay";

/// How a program leaves a terminal that it gives back.
const GIVEN_BACK: Left = Left {
    code: 0,
    has_modes_of_before: true,
    shows_what_was_before: true,
    has_cursor: true,
};

fn top(node: &Node, arguments: &[&str]) -> Command {
    let mut command = nanod();
    command.arg("top").args(arguments);
    command.args(["--node", &node.quic.to_string()]);
    command.arg("--state").arg(node.state());
    command
}

/// A client whose calls go through the node, each once.
async fn client(node: &Node) -> Client {
    let mut options = node.options().direct(false);
    options.retry.percent = 0;
    options.retry.per_second = 0;
    Client::connect(options).await.unwrap()
}

/// Calls that are answered, and fewer that fail.
fn calls(client: &Client) -> [Load; 2] {
    let answered = Load::sending(client, SUM, 4, &json!({"Do": "name"}));
    let failed = Load::sending(client, PAY, 1, &json!({"Do": "fail"}));
    [answered, failed]
}

/// Calls and failures each second that a line of the list says of a pattern.
fn rates(screen: &[String], pattern: &str) -> Option<(f64, f64)> {
    let line = screen.iter().find(|line| line.starts_with(pattern))?;
    let mut cells = line[pattern.len()..].split_whitespace();
    let calls = cells.next()?.parse().ok()?;
    Some((calls, cells.next()?.parse().ok()?))
}

/// Which patterns there are, from top to bottom.
fn listed(screen: &[String]) -> Vec<&str> {
    let names = screen.iter().filter_map(|line| line.split(' ').next());
    names.filter(|name| [SUM, PAY].contains(name)).collect()
}

async fn lists(terminal: &Terminal, patterns: &[&str]) {
    let what = patterns.join(" above ");
    let are_listed = |screen: &[String]| {
        // One that is looked into stands on a line of its own too.
        let is_list = screen.iter().any(|line| line.starts_with("PATTERN"));
        (is_list && listed(screen) == patterns).then_some(())
    };
    terminal.shows(&what, are_listed).await;
}

async fn is_used_at(columns: u16, rows: u16) {
    let node = Node::start().await;
    let _one = node.service("one").pattern(SUM).start().await;
    let mut other = node.service("other").pattern(SUM).start().await;
    let _pay = node.service("pay").pattern(PAY).start().await;
    let client = client(&node).await;
    let loads = calls(&client);
    let terminal = Terminal::run(&top(&node, &[]), columns, rows).await;

    // What happens is shown.
    terminal.says("PATTERN").await;
    terminal
        .shows("calls and failures", |screen| {
            let (calls, failures) = rates(screen, SUM)?;
            let (failing, failed) = rates(screen, PAY)?;
            let is_so = calls > failing && failing > 0.0 && failures == 0.0;
            (is_so && failed == failing).then_some(())
        })
        .await;
    let head = terminal.says("Redis: none is configured").await;
    assert!(head.contains(&node.quic.to_string()), "{head}");

    // Keys order it, and leave some out.
    lists(&terminal, &[SUM, PAY]).await;
    terminal.press(&["3"]);
    terminal.says("FAIL/S▼").await;
    lists(&terminal, &[PAY, SUM]).await;
    terminal.press(&["r"]);
    lists(&terminal, &[SUM, PAY]).await;
    terminal.press(&["/", "SHOP", "Enter"]);
    lists(&terminal, &[PAY]).await;
    terminal.press(&["Escape"]);
    lists(&terminal, &[SUM, PAY]).await;

    // One is looked into: how its calls fail.
    terminal.press(&["/", "shop", "Enter"]);
    lists(&terminal, &[PAY]).await;
    terminal.press(&["Enter"]);
    let failure = terminal.says("handler_failed").await;
    let words: Vec<_> = failure.split_whitespace().collect();
    assert!(words[0].parse::<f64>().unwrap() > 0.0, "{failure}");
    assert_eq!(words[1..], ["handler_failed", "executed"], "{failure}");
    terminal.press(&["Escape"]);
    lists(&terminal, &[PAY]).await;

    // And its instances: one that leaves is there no more.
    terminal.press(&["/"]);
    terminal.says("filter: shop_").await;
    terminal.press(&["BSpace", "BSpace", "BSpace", "BSpace", "sum", "Enter"]);
    lists(&terminal, &[SUM]).await;
    terminal.press(&["Enter"]);
    let id = other.instance[..8].to_owned();
    let line = terminal.says(&id).await;
    assert!(line.contains("here") && line.contains("ready"), "{line}");
    assert!(other.process.terminate().await.success());
    terminal.says_no_more(&id).await;
    terminal.says("No call has failed").await;
    terminal.press(&["BSpace"]);
    lists(&terminal, &[SUM]).await;
    terminal.press(&["Escape"]);
    lists(&terminal, &[SUM, PAY]).await;

    // A terminal gets smaller, and larger again.
    terminal.resize(30, 8);
    terminal.says_no_more("FAIL/S").await;
    lists(&terminal, &[SUM, PAY]).await;
    terminal.resize(columns, rows);
    terminal.says("FAIL/S").await;

    terminal.press(&["?"]);
    terminal.says("PageDown").await;
    terminal.press(&["x"]);
    terminal.says_no_more("PageDown").await;
    terminal.press(&["q"]);
    assert_eq!(terminal.left().await, GIVEN_BACK);
    for load in loads {
        load.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_usual_terminal_is_used_with_keys() {
    is_used_at(80, 24).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_terminal_is_used_with_keys() {
    is_used_at(200, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_is_given_back_however_it_ends() {
    let node = Node::start().await;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let terminal = Terminal::run(&top(&node, &[]), 80, 24).await;
        terminal.says("PATTERN").await;
        terminal.signal(signal);
        assert_eq!(terminal.left().await, GIVEN_BACK, "{signal:?}");
    }
    let terminal = Terminal::run(&top(&node, &[]), 80, 24).await;
    terminal.says("PATTERN").await;
    terminal.press(&["C-c"]);
    assert_eq!(terminal.left().await, GIVEN_BACK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_is_waited_for() {
    let mut node = Node::start().await;
    let mut command = nanod();
    command.args(["top", "--node", &node.quic.to_string()]);
    command.arg("--state").arg(node.state());
    let terminal = Terminal::run(&command, 80, 24).await;
    terminal.says("PATTERN").await;
    terminal.says_no_more("Waiting for the end").await;
    node.process.kill().await;
    terminal.says("still trying").await;
    let node = node.start_again().await;
    terminal.says_no_more("still trying").await;
    let _pay = node.service("pay").pattern(PAY).start().await;
    let client = client(&node).await;
    let load = Load::sending(&client, PAY, 1, &json!({"Do": "name"}));
    terminal
        .shows("calls of the new node", |screen| {
            rates(screen, PAY).filter(|(calls, _)| *calls > 0.0)
        })
        .await;
    terminal.press(&["q"]);
    assert_eq!(terminal.left().await, GIVEN_BACK);
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_shown_unless_one_says_otherwise() {
    const RED: [&str; 2] = ["\u{1b}[31m", "\u{1b}[38;5;1m"];
    let node = Node::start().await;
    let _pay = node.service("pay").pattern(PAY).start().await;
    let client = client(&node).await;
    let load = Load::sending(&client, PAY, 1, &json!({"Do": "fail"}));
    let mut never = top(&node, &["--color", "never"]);
    let mut no_color = top(&node, &[]);
    no_color.env("NO_COLOR", "1");
    for (command, is_colored) in [
        (&mut top(&node, &[]), true),
        (&mut no_color, false),
        (&mut never, false),
        (
            top(&node, &["--color", "always"]).env("NO_COLOR", "1"),
            true,
        ),
    ] {
        let terminal = Terminal::run(command, 80, 24).await;
        let has_failed = |screen: &[String]| rates(screen, PAY).filter(|(_, failed)| *failed > 0.0);
        terminal.shows("failures", has_failed).await;
        let shown = terminal.colored_screen();
        let has_red = RED.iter().any(|red| shown.contains(red));
        assert_eq!(has_red, is_colored, "{command:?}: {shown:?}");
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_a_table_or_json_if_it_asks_for_them() {
    let node = Node::start().await;
    let _sum = node.service("one").pattern(SUM).start().await;
    let _pay = node.service("pay").pattern(PAY).start().await;
    let client = client(&node).await;
    let loads = calls(&client);
    for load in &loads[..1] {
        load.runs(10).await;
    }
    let run = async |arguments: &[&str]| {
        let mut command = top(&node, arguments);
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (said, complaint) = (text(output.stdout), text(output.stderr));
        (output.status.code().unwrap(), said, complaint)
    };
    let (code, said, complaint) = run(&[]).await;
    assert_eq!((code, said.as_str()), (2, ""));
    assert!(complaint.contains("--once") && complaint.contains("--json"));
    for interval in ["0", "601", "soon"] {
        let (code, _, complaint) = run(&["--once", "--interval", interval]).await;
        assert_eq!(code, 2);
        assert!(complaint.contains("0.1 to 600"), "{complaint}");
    }
    let (code, said, _) = run(&["--once", "role:math"]).await;
    let table: Vec<_> = said.lines().map(str::to_owned).collect();
    assert_eq!(code, 0, "{said}");
    assert!(rates(&table, SUM).unwrap().0 > 0.0, "{said}");
    assert_eq!(listed(&table), [SUM], "{said}");

    let (code, said, _) = run(&["--once", "--json"]).await;
    assert_eq!((code, said.lines().count()), (0, 1), "{said}");
    let period: Value = serde_json::from_str(&said).unwrap();
    let patterns = period["patterns"].as_array().unwrap();
    let names: Vec<_> = patterns.iter().map(|one| one["pattern"].clone()).collect();
    assert_eq!(names, [SUM, PAY]);
    assert!(period["total"]["calls_per_s"].as_f64() > patterns[0]["calls_per_s"].as_f64());
    assert_eq!(patterns[1]["failures"][0]["code"], "handler_failed");
    assert_eq!(patterns[1]["failures"][0]["certainty"], "executed");

    let mut lines = Process::start(&mut top(&node, &["--json", "--interval", "0.1"]));
    for _ in 0..3 {
        let line = lines.line().await.unwrap();
        serde_json::from_str::<Value>(&line).unwrap();
    }
    assert!(lines.terminate().await.success());
    for load in loads {
        load.end().await;
    }
}
