//! What operators are given: the rules, the dashboard and the document that tells of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use nano_integration::{Prometheus, Rule};
use serde_json::Value;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The file of rules.
pub(crate) fn rules() -> String {
    read("deploy/prometheus/nanod.rules.yml")
}

/// The same with seconds in place of minutes, hours and days, and with a tenth of the memory. What happened within
/// a quarter of an hour is still looked for within most of a minute, since processes have to start meanwhile.
pub(crate) fn quick_rules() -> String {
    let mut rules = rules();
    for (usual, quick) in [
        ("[5m]", "[6s]"),
        ("[15m]", "[50s]"),
        ("[30m]", "[8s]"),
        ("[1h]", "[10s]"),
        ("[6h]", "[12s]"),
        ("offset 5m", "offset 12s"),
        ("offset 18h", "offset 3s"),
        ("> 3 * 1024 ^ 3", "> 300 * 1024 ^ 2"),
    ] {
        assert!(rules.contains(usual), "no rule has {usual}");
        rules = rules.replace(usual, quick);
    }
    let lines = rules.lines().map(|line| match line.trim_start() {
        held if held.starts_with("for: ") => "        for: 1s",
        _ => line,
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The alerts that Prometheus has read, by their names.
pub(crate) async fn alerts(prometheus: &Prometheus) -> BTreeMap<String, Rule> {
    let rules = prometheus.rules().await.into_iter();
    let alerts = rules.filter(|rule| rule.kind == "alerting");
    let alerts: BTreeMap<_, _> = alerts.map(|rule| (rule.name.clone(), rule)).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    alerts
}

/// All expressions of the dashboard, in which its variables are not replaced. Each panel asks the
/// source that is chosen, and lies beside the others.
pub(crate) fn panels() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/nanod.json")).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    let mut expressions = Vec::new();
    for panel in panels {
        let place = &panel["gridPos"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(
            places.insert([place["y"].as_u64(), place["x"].as_u64()]),
            "{panel}"
        );
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        let targets = panel["targets"].as_array().unwrap().iter();
        expressions.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    expressions
}

/// What one can link to in a document: its headings, as GitHub names them.
pub(crate) fn anchors(path: &str) -> BTreeSet<String> {
    let text = read(path);
    let headings = text.lines().filter_map(|line| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len()).then(|| heading.trim())
    });
    let anchor = |heading: &str| {
        let kept = heading.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            letter if letter.is_alphanumeric() || "-_".contains(letter) => Some(letter),
            _ => None,
        });
        kept.collect::<String>().to_lowercase()
    };
    headings.map(anchor).collect()
}
