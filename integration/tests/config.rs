//! `nanod config`: what is wrong with a configuration, and what it amounts to.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use nano_integration::nanod;
use serde_json::{Value, json};
use tempfile::TempDir;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nanod.toml");

/// Exit code, standard output and standard error of `nanod config` with these words.
async fn config(words: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = nanod();
    command.arg("config").args(words).stdin(Stdio::null());
    command.envs(variables.iter().copied());
    let output = command.output().await.unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_and_no_file_are_right_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let state = state.to_str().unwrap();
    for words in [
        &["check", "--state", state][..],
        &["check", "--state", state, "--config", SAMPLE],
    ] {
        let (code, out, err) = config(words, &[]).await;
        assert_eq!((code, &*out, &*err), (0, "nothing is wrong\n", ""));
    }
    assert!(!Path::new(state).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let text = "drain = 5\n  threads = \"many\"\nlog = 'nanod=loud'\n";
    let path = file(&folder, "nanod.toml", text);
    for what in ["check", "print"] {
        let words = &[what, "--config", &path, "--grace-ms=-1"];
        let (code, out, err) = config(words, &[("NANO_HTTP", "here")]).await;
        assert_eq!((code, &*out), (2, ""), "{err}");
        for part in [
            format!("\"drain\": unknown setting at {path}:1:1; did you mean drain_ms?"),
            format!("threads: \"many\" from {path}:2:13 is not"),
            format!("log: \"nanod=loud\" from {path}:3:7 is not"),
            "grace_ms: \"-1\" from --grace-ms is not".to_owned(),
            "http: \"here\" from NANO_HTTP is not".to_owned(),
        ] {
            assert!(err.contains(&part), "{part} is missing:\n{err}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_that_settings_name_are_checked_all_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let rules = file(&folder, "rules.toml", "default = \"shut\"\n[[call]]\n");
    let tokens = file(&folder, "tokens", "client/shop short\n");
    let secret = file(&folder, "secret", "hush");
    let password = folder.path().join("password").display().to_string();
    let text = format!(
        "rules = {rules:?}\ntokens_file = {tokens:?}\ncluster_secret_file = {secret:?}\n\
         tls = '/nonexistent'\nredis = 'redis://nanod@h'\nredis_password_file = {password:?}\n\
         quic = '0.0.0.0:9999'\n"
    );
    let path = file(&folder, "nanod.toml", &text);
    let (code, _, err) = config(&["check", "--config", &path], &[]).await;
    assert_eq!(code, 2, "{err}");
    for part in [
        &*rules,
        "line 1: default",
        &tokens,
        &secret,
        "/nonexistent",
        &password,
        "--advertise",
    ] {
        assert!(err.contains(part), "{part} is missing:\n{err}");
    }
    assert!(!err.contains("hush") && !err.contains("short"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_is_a_file_that_means_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "nanod.toml", "drain_ms = 5\nname = \"one\"\n");
    let words = [
        "print",
        "--config",
        &path,
        "--threads",
        "3",
        "--max-body",
        "2 MiB",
    ];
    let (code, out, err) = config(&words, &[("NANO_LOG", "warn,nanod=info")]).await;
    assert_eq!((code, &*err), (0, ""));
    let value = |out: &str, key: &str| {
        let line = out.lines().find(|line| line.starts_with(key)).unwrap();
        let (value, origin) = line.split_once(" # ").unwrap();
        (value.trim_end().to_owned(), origin.to_owned())
    };
    let expect = |key: &str, text: &str, origin: &str| {
        assert_eq!(value(&out, key), (text.to_owned(), origin.to_owned()));
    };
    expect("drain_ms", "drain_ms = 5", &format!("{path}:1:12"));
    expect("name", "name = \"one\"", &format!("{path}:2:8"));
    expect("threads", "threads = 3", "--threads");
    expect("max_body", "max_body = \"2 MiB\"", "--max-body");
    expect("grace_ms", "grace_ms = 10000", "default");
    expect(
        "#rules",
        "#rules",
        "default: none; everybody of the authority may do everything",
    );

    let again = file(&folder, "again.toml", &out);
    let (code, reprinted, err) = config(&["print", "--config", &again], &[]).await;
    assert_eq!(code, 0, "{err}");
    let values = |out: &str| -> Vec<String> {
        let values = out.lines().map(|line| line.split(" # ").next().unwrap());
        values.map(|value| value.trim_end().to_owned()).collect()
    };
    assert_eq!(values(&reprinted), values(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn printed_as_json_each_setting_says_where_it_is_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "nanod.toml", "\nredis = 'redis://u:hunter2@h'\n");
    let words = ["print", "--json", "--config", &path, "--threads", "3"];
    let variables = [
        ("NANO_LOG", "warn"),
        ("NANO_CLUSTER_SECRET", "hunter2-hunter2-hunter2"),
    ];
    let (code, out, err) = config(&words, &variables).await;
    assert_eq!((code, &*err), (0, ""));
    assert!(!out.contains("hunter2"), "{out}");
    let printed: Value = serde_json::from_str(&out).unwrap();
    for (key, expected) in [
        (
            "threads",
            json!({"value": 3, "from": "flag", "name": "--threads"}),
        ),
        (
            "log",
            json!({"value": "warn", "from": "variable", "name": "NANO_LOG"}),
        ),
        (
            "redis",
            json!({"value": "redis://u:***@h", "from": "file", "file": path, "line": 2, "column": 9}),
        ),
        ("rules", json!({"value": null, "from": "default"})),
        ("drain_ms", json!({"value": 30_000, "from": "default"})),
        (
            "cluster_secret",
            json!({"value": null, "from": "variable", "name": "NANO_CLUSTER_SECRET"}),
        ),
    ] {
        assert_eq!(printed[key], expected, "{key}");
    }
}
