//! What the program is on a terminal: colours, tables, completions and manual pages.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
};

use nano_client::Client;
use nano_integration::{ANY, Node, nanod};
use serde_json::{Value, json};
use tokio::process::Command;

const ESCAPE: &str = "\u{1b}[";

/// Runs a command of the program with a pseudo-terminal of so many columns for its standard output; what
/// a terminal would be sent.
async fn on_a_terminal(command: &Command, columns: u16) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let command = command.as_std();
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quoted)
        .collect();
    let line = format!("stty cols {columns}; exec {}", words.join(" "));
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", &line])
        .arg(folder.path().join("typescript"))
        .env("TERM", "xterm");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let output = script.stdin(Stdio::null()).output().await.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), shown.replace("\r\n", "\n"))
}

async fn in_a_pipe(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn about(node: &Node, arguments: &[&str]) -> Command {
    let mut command = nanod();
    command.args(arguments);
    command.args(["--node", &node.quic.to_string()]);
    command.arg("--state").arg(node.state());
    command
}

/// What is left without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.filter_map(|part| part.split_once('m'));
    rest.fold(first, |text, (_, part)| text + part)
}

/// Commands that print what a node knows.
const COMMANDS: [&[&str]; 5] = [
    &["routes"],
    &["top", "--once", "--interval", "0.1"],
    &["status"],
    &["explain", "role:math,cmd:sum"],
    &["register", "--check", "role:math,cmd:sum"],
];

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_unless_one_says_otherwise() {
    let node = Node::start().await;
    let service = node.service("one").pattern("role:math,cmd:sum");
    let _service = service.start().await;
    // What was never called is not counted.
    let caller = Client::connect(node.options().direct(false)).await.unwrap();
    let message = json!({"Do": "name"});
    let _: Value = caller.act("role:math,cmd:sum", &message).await.unwrap();
    for arguments in COMMANDS {
        let (code, shown) = on_a_terminal(&about(&node, arguments), 200).await;
        assert_eq!(code, 0, "{shown}");
        assert!(
            shown.contains(ESCAPE),
            "{arguments:?} on a terminal: {shown:?}"
        );
        assert!(plain(&shown).contains("role:math,cmd:sum") || arguments == ["status"]);
        for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let mut command = about(&node, arguments);
            let (_, shown) = on_a_terminal(command.env(name, value), 200).await;
            assert!(
                !shown.contains(ESCAPE),
                "{arguments:?} with {name}: {shown:?}"
            );
        }
        let mut never = about(&node, arguments);
        let (_, shown) = on_a_terminal(never.args(["--color", "never"]), 200).await;
        assert!(!shown.contains(ESCAPE), "{arguments:?} never: {shown:?}");

        let piped = in_a_pipe(&mut about(&node, arguments)).await;
        assert!(!piped.is_empty() && !piped.contains(ESCAPE), "{piped:?}");
        let mut always = about(&node, arguments);
        always.args(["--color", "always"]).env("NO_COLOR", "1");
        let colored = in_a_pipe(&mut always).await;
        assert!(
            colored.contains("\u{1b}[32m")
                || colored.contains("\u{1b}[38;5;2m")
                || arguments == ["status"],
            "{arguments:?} always: {colored:?}"
        );
        assert!(
            colored.contains(ESCAPE),
            "{arguments:?} always: {colored:?}"
        );
        assert_eq!(plain(&colored).lines().count(), piped.lines().count());

        if arguments[0] != "routes" {
            let mut json = about(&node, arguments);
            let (_, shown) = on_a_terminal(json.arg("--json"), 200).await;
            assert!(!shown.contains(ESCAPE), "{shown:?}");
            serde_json::from_str::<Value>(&shown).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_keeps_within_the_terminal() {
    let node = Node::start().await;
    let long = format!("role:math,cmd:{}", "sum".repeat(20));
    let _service = node.service("one").pattern(&long).start().await;
    let (_, narrow) = on_a_terminal(&about(&node, &["routes"]), 80).await;
    for line in plain(&narrow).lines() {
        assert!(line.chars().count() <= 80, "{line:?} of\n{narrow}");
    }
    // Whoever reads it by program gets each route on a line.
    let piped = in_a_pipe(&mut about(&node, &["routes"])).await;
    assert_eq!(piped.lines().count(), 2, "{piped}");
    assert!(piped.contains(&long), "{piped}");
    let (_, wide) = on_a_terminal(&about(&node, &["routes"]), 300).await;
    let plain = plain(&wide);
    let trimmed = plain.lines().map(str::trim_end);
    assert!(trimmed.eq(piped.lines()), "{wide}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_colours_on_a_terminal_unless_one_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = nanod();
    command.args(["--http", ANY, "--quic", ANY, "--admin", ANY, "--state"]);
    // It reads its certificates, which the log says, and ends, since it has no secret for a Redis.
    command.arg(folder.path().join("state"));
    command.args(["--redis", "redis://127.0.0.1:9"]);
    let (code, shown) = on_a_terminal(&command, 200).await;
    assert_eq!(code, 1, "{shown}");
    assert!(
        shown.contains("certificates") && shown.contains(ESCAPE),
        "{shown:?}"
    );
    let (_, shown) = on_a_terminal(command.env("NO_COLOR", "1"), 200).await;
    assert!(
        shown.contains("certificates") && !shown.contains(ESCAPE),
        "{shown:?}"
    );
}

#[tokio::test]
async fn bash_completes_what_the_command_line_takes() {
    let folder = tempfile::tempdir().unwrap();
    let script = in_a_pipe(nanod().args(["completions", "bash"])).await;
    let path = folder.path().join("nanod.bash");
    fs::write(&path, script).unwrap();
    for (typed, expected) in [
        (
            "nanod ",
            &["routes", "top", "explain", "status", "tls", "completions"][..],
        ),
        ("nanod ro", &["routes"]),
        ("nanod --cluster", &["--cluster-secret-file"]),
        ("nanod tls ", &["init", "issue", "renew", "revoke", "show"]),
        (
            "nanod routes --",
            &["--json", "--watch", "--node", "--color"],
        ),
        ("nanod routes --color ", &["auto", "always", "never"]),
        ("nanod completions ", &["bash", "zsh", "fish"]),
    ] {
        let offered = offered_by_bash(&path, typed).await;
        for word in expected {
            let is_offered = offered.iter().any(|offer| offer == word);
            assert!(is_offered, "{typed:?} offers {offered:?}, not {word}");
        }
        let last = typed.rsplit(' ').next().unwrap();
        assert!(
            offered.iter().all(|word| word.starts_with(last)),
            "{typed:?}: {offered:?}"
        );
    }
}

/// What bash would offer, by the function that the script has it use.
async fn offered_by_bash(script: &Path, typed: &str) -> Vec<String> {
    const COMPLETE: &str = r#"
        source "$1"
        function=$(complete -p nanod | sed -n 's/.*-F \([^ ]*\).*/\1/p')
        [[ -n $function ]] || exit 1
        read -r -a COMP_WORDS <<< "$2"
        [[ $2 == *' ' ]] && COMP_WORDS+=('')
        COMP_LINE=$2 COMP_POINT=${#2} COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        "$function" nanod "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", COMPLETE, "bash"])
        .arg(script)
        .arg(typed);
    let Output {
        status,
        stdout,
        stderr,
    } = bash.output().await.unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success() && said.is_empty(), "{typed:?}: {said}");
    let offered = String::from_utf8(stdout).unwrap();
    offered.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn there_is_a_script_for_each_shell() {
    for (shell, part) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef nanod"),
        ("fish", "complete -c nanod"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = in_a_pipe(nanod().args(["completions", shell])).await;
        assert!(script.contains(part), "{shell}: {script}");
    }
    let output = nanod().args(["completions", "cmd"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// A page as man(1) sets it, by groff; what groff complains about fails the test.
async fn rendered(page: &Path) -> String {
    let mut groff = Command::new("groff");
    groff.args(["-man", "-Tutf8", "-ww", "-P-cbou"]).arg(page);
    let output = groff.output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.is_empty(),
        "{}: {said}",
        page.display()
    );
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn manual_pages_say_what_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let written = nanod()
        .args(["man", "--out"])
        .arg(&pages)
        .output()
        .await
        .unwrap();
    assert!(written.status.success());
    let alone = in_a_pipe(nanod().arg("man")).await;
    let main = pages.join("nanod.1");
    assert_eq!(fs::read_to_string(&main).unwrap(), alone);
    for (page, parts) in [
        (
            "nanod",
            &[
                "NANO_READY_FILE",
                "--ready-file",
                "SIGHUP",
                "nanod-routes(1)",
            ][..],
        ),
        (
            "nanod-routes",
            // A list keeps its lines.
            &["--watch", "suspect", "  3  no session with the node\n"],
        ),
        ("nanod-top", &["--interval", "PageDown", "(other)"]),
        ("nanod-explain", &["near miss", "--json"]),
        ("nanod-tls-revoke", &["crl.pem"]),
        ("nanod-bench-call", &["--in-flight"]),
    ] {
        let text = rendered(&pages.join(format!("{page}.1"))).await;
        for part in parts {
            assert!(text.contains(part), "{page} does not say {part}:\n{text}");
        }
    }
    for page in fs::read_dir(&pages).unwrap() {
        rendered(&page.unwrap().path()).await;
    }
}
