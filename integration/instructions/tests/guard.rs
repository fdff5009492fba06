//! Whether more instructions than are kept make the program fail, and fewer do not.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{fs, path::Path, process::Command};

/// Counts frames that are written, beside a file that keeps so many instructions; whether the
/// program succeeded, and what it printed.
fn beside(kept: u64) -> (bool, String) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kept-{kept}.txt"));
    let architecture = std::env::consts::ARCH;
    fs::write(
        &file,
        format!("architecture {architecture}\nencode {kept}\n"),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nano-instructions"))
        .args(["--only", "encode", "--kept"])
        .arg(&file)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), printed)
}

/// The figure of now in what the program printed.
fn figure(printed: &str) -> u64 {
    let row = printed.lines().find(|line| line.starts_with("encode"));
    let figure = row.unwrap().split_whitespace().nth(2);
    figure.unwrap().parse().unwrap()
}

#[test]
fn more_than_is_kept_fails_and_the_same_again_does_not() {
    let (is_well, printed) = beside(1);
    assert!(!is_well && printed.contains("MORE"), "{printed}");

    let now = figure(&printed);
    let (is_well, printed) = beside(now);
    assert!(is_well, "{printed}");
    assert_eq!(figure(&printed), now, "counts differ from run to run");

    let (is_well, printed) = beside(now * 2);
    assert!(
        is_well && printed.contains("lower the kept figures"),
        "{printed}"
    );
}
