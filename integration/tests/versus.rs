//! Whether the comparison with others compares what it says: each contender of each case answers
//! with what it was sent.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::{fs, process::Command};

use nano_integration::nanod;
use serde_json::Value;

/// Runs a case shortly; the name of each peer, in the order of its rows. Every row is of calls that
/// were answered, and of none that were not.
fn peers(case: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_versus"))
        .args(["--quick", "--only", case, "--out"])
        .arg(folder.path())
        // Built already, or else now.
        .env("NANOD_BIN", nanod().as_std().get_program())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    eprint!("{said}");
    let rows = fs::read_to_string(folder.path().join("versus.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    for row in &rows {
        assert_eq!(row["case"], case);
        assert_eq!(row["failures"], serde_json::json!([0, 0]), "{row}");
        let figures = ["calls_per_s", "peer_calls_per_s", "p99_us", "peer_p99_us"];
        let are_there = figures.map(|figure| row[figure].as_f64() > Some(0.0));
        assert_eq!(are_there, [true; 4], "{row}");
    }
    let page = fs::read_to_string(folder.path().join("versus.md")).unwrap();
    assert!(page.contains("No call failed."), "{page}");
    let peer = |row: &Value| row["peer"].as_str().unwrap().to_owned();
    rows.iter().map(peer).collect()
}

#[test]
fn routers_answer_with_what_they_were_sent() {
    assert_eq!(peers("switched"), ["nats", "nats_tls", "nanod_2"]);
    for case in ["body_64k", "body_1m"] {
        assert_eq!(peers(case), ["nats", "nats_tls"], "{case}");
    }
}

#[test]
fn services_without_a_router_answer_with_what_they_were_sent() {
    assert_eq!(peers("direct"), ["grpc_tls", "raw_lane", "tcp"]);
}

#[test]
fn services_answer_programs_with_a_runtime_of_their_own() {
    let others = [
        "nanod_json",
        "nanod_switched",
        "nanod_switched_json",
        "grpc_tls",
    ];
    assert_eq!(peers("typed"), others);
}

#[test]
fn proxies_answer_with_what_they_were_sent() {
    for case in ["http_quic", "http_http"] {
        assert_eq!(peers(case), ["nginx"], "{case}");
    }
}

#[test]
fn routers_answer_over_a_wire_that_loses_packets() {
    let peers = peers("lossy");
    // It said why the wire cannot be made here.
    if !peers.is_empty() {
        assert_eq!(peers, ["nats"]);
    }
}
