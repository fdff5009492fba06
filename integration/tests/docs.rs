//! What the documents say exists.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use nano_client::{Client, Options};
use nano_integration::{Node, Process, example};

/// Long enough to be one.
const SECRET: &str = "what-nobody-has-to-know-in-this-test";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn documents() -> Vec<PathBuf> {
    let markdown = |folder: PathBuf| {
        let entries = fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "md"))
    };
    markdown(root().into())
        .chain(markdown(root().join("docs")))
        .collect()
}

/// The paths of the repository that a document names: what looks like one between
/// backticks, from the root or the document's folder, and what it links to, from its folder.
fn paths(text: &str, folder: &Path) -> Vec<PathBuf> {
    let prose = text.split("```").step_by(2).collect::<String>();
    let quoted = prose.split('`').skip(1).step_by(2);
    let quoted = quoted.filter(|word| is_path(word)).map(|word| {
        let from_root = root().join(word);
        if word.contains("..") || !from_root.exists() {
            folder.join(word)
        } else {
            from_root
        }
    });
    let links = prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    let links = links
        .map(|(link, _)| link.split_once('#').map_or(link, |(path, _)| path))
        .filter(|path| !path.is_empty() && !path.contains("://"))
        .map(|path| folder.join(path));
    quoted.chain(links).collect()
}

fn is_path(word: &str) -> bool {
    let first = [
        "..",
        "client",
        "daemon",
        "deploy",
        "docs",
        "http",
        "integration",
        "routing",
        "tls",
        "wire",
        ".ci",
    ];
    let begins = first
        .iter()
        .any(|folder| word.starts_with(&format!("{folder}/")));
    let word_like = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    // Looks like one, and is who calls over HTTP.
    let is_identity = word == "client/http-local";
    word_like && !is_identity && (begins || word.ends_with(".md"))
}

#[test]
fn paths_are_found_where_a_document_names_them() {
    let text = "`wire/src` and `../wire/src/frame.rs`, [frames](../wire/src/frame.rs#L1), \
        [here](#here), [there](https://example.com/a.md), `role:math,cmd:sum`\n\
        ```sh\n[no](link.md)\n```\n[absent](absent.md)";
    let docs = root().join("docs");
    let expected = [
        root().join("wire/src"),
        docs.join("../wire/src/frame.rs"),
        docs.join("../wire/src/frame.rs"),
        docs.join("absent.md"),
    ];
    assert_eq!(paths(text, &docs), expected);
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut named = 0;
    for document in documents() {
        let folder = document.parent().unwrap();
        for path in paths(&fs::read_to_string(&document).unwrap(), folder) {
            assert!(
                path.exists(),
                "{} names {}",
                document.display(),
                path.display()
            );
            named += 1;
        }
    }
    assert!(
        named > 10,
        "the documents name only {named} paths: is the search broken?"
    );
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let quoted = text.split('`').skip(1).step_by(2);
    let tests = quoted.filter_map(|word| word.split_once("::"));
    let mut named = 0;
    for (file, test) in tests.filter(|(_, test)| *test != "name") {
        let path = root().join(format!("integration/tests/{file}.rs"));
        let source = fs::read_to_string(&path).unwrap();
        assert!(
            source.contains(&format!("fn {test}()")),
            "SECURITY.md names {file}::{test}"
        );
        named += 1;
    }
    assert!(named > 30, "SECURITY.md names only {named} tests");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variables_of_go_nano_are_read() {
    let run = async |name: &str, value: &str| {
        let mut client = example("client");
        client.env(name, value).env("NANO_CLUSTER_SECRET", SECRET);
        let output = client.output().await.unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = run("NANO_SERVER_ADDRESS", "nano-server.invalid").await;
    assert!(said.contains("nano-server.invalid:9999"), "{said}");
    for name in ["NANO_SERVER_ADDRESS", "NANO_SERVICE_ADDRESS"] {
        let said = run(name, "nano.invalid:4444").await;
        assert!(said.contains(name), "{said}");
        assert!(said.contains("without a port"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_work_together() {
    let node = Node::start().await;
    let run = |name: &str| {
        let mut command = example(name);
        command.env("NANO_NODE", node.quic.to_string());
        command.env("NANO_STATE", node.state());
        command
    };
    let mut services = Vec::new();
    for name in ["positive", "sum", "zero"] {
        services.push(Process::start(&mut run(name)));
    }
    // A service that is there answers; the client is run once all are.
    let options = Options::default().node(node.quic).state(node.state());
    let client = Client::connect(options).await.unwrap();
    for subject in [
        "role:math,cmd:positive",
        "role:math,cmd:sum",
        "role:math,cmd:sum,return:zero",
    ] {
        nano_integration::until("the examples to register", async || {
            let answer = client.act::<_, ()>(subject, "").await;
            let pattern = answer.err().and_then(|failure| failure.pattern);
            pattern
                .is_none_or(|pattern| pattern == subject)
                .then_some(())
        })
        .await;
    }
    let output = run("client").output().await.unwrap();
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in ["3", "true", "0", "no_route"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    for service in &mut services {
        assert!(service.terminate().await.success());
    }
}
