//! The alerts and the dashboard that operators are given: what they say is true, each alert fires
//! where what it tells of is caused at real nodes that a real Prometheus scrapes, and none fires at a
//! node that is well.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

mod causes;
mod expressions;
mod given;
mod scene;

use std::{collections::BTreeSet, fs};

use nano_integration::{Prometheus, promtool};

use self::{causes::cause_all, scene::Scene};

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_fires_where_it_is_caused_and_none_where_all_is_well() {
    let scene = Scene::start().await;
    scene.is_scraped().await;
    cause_all(&scene).await;
    scene.is_well("well", "well:1").await;
    every_metric_is_there(&scene).await;
    every_panel_can_be_drawn(&scene.prometheus).await;
    let shown = scene.all_go_down().await;
    let expected: BTreeSet<_> = given::alerts(&scene.prometheus).await.into_keys().collect();
    assert_eq!(shown, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_are_valid_and_pass_their_own_tests() {
    let folder = given::root().join("deploy/prometheus");
    for arguments in [
        ["check", "rules", "nanod.rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "nanod.rules.test.yml"],
    ] {
        let (is_well, said) = promtool(&folder, &arguments).await;
        assert!(is_well, "{arguments:?}: {said}");
    }
    let tests = fs::read_to_string(folder.join("nanod.rules.test.yml")).unwrap();
    let prometheus = Prometheus::start(&given::rules(), &[]).await;
    for name in given::alerts(&prometheus).await.into_keys() {
        let expected = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"");
        assert!(tests.contains(&expected), "no unit test has {name} fire");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_says_how_bad_it_is_and_where_to_read_what_to_do() {
    let prometheus = Prometheus::start(&given::rules(), &[]).await;
    let anchors = given::anchors("docs/operations.md");
    let alerts = given::alerts(&prometheus).await;
    for (name, alert) in &alerts {
        let severity = alert.labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning")), "{name}");
        for text in ["summary", "description"] {
            let text = alert.annotations.get(text);
            assert!(text.is_some_and(|text| !text.is_empty()), "{name}");
        }
        let anchor = name.to_lowercase();
        let url = format!("docs/operations.md#{anchor}");
        assert_eq!(alert.annotations.get("runbook_url"), Some(&url), "{name}");
        assert!(anchors.contains(&anchor), "{url} does not exist");
    }
    // Nor does the document tell of an alert that there is not.
    let is_alert = |anchor: &&String| anchor.starts_with("nanod") && !anchor.contains('-');
    let told: BTreeSet<_> = anchors.iter().filter(is_alert).collect();
    assert_eq!(told.len(), alerts.len(), "{told:?}");
}

/// Rules and dashboard name nothing that no node serves.
async fn every_metric_is_there(scene: &Scene) {
    let served = scene.metrics().await;
    let rules = scene.prometheus.rules().await;
    let recorded = rules.iter().filter(|rule| rule.kind == "recording");
    let recorded: BTreeSet<_> = recorded.map(|rule| rule.name.clone()).collect();
    let mut expressions: Vec<_> = rules.iter().map(|rule| rule.query.clone()).collect();
    expressions.extend(given::panels());
    let named = expressions.iter().flat_map(|it| expressions::metrics(it));
    let named: BTreeSet<_> = named.collect();
    assert!(named.len() > 50, "only {named:?} are named");
    let documented = fs::read_to_string(given::root().join("docs/metrics.md")).unwrap();
    for name in named.difference(&recorded) {
        assert!(served.contains(name), "no node serves {name}");
        let family = expressions::family(name);
        assert!(documented.contains(&format!("`{family}`")), "{name}");
    }
}

/// Prometheus takes each expression of the dashboard.
async fn every_panel_can_be_drawn(prometheus: &Prometheus) {
    let panels = given::panels();
    assert!(
        panels.len() > 40,
        "the dashboard has {} curves",
        panels.len()
    );
    let mut empty = Vec::new();
    for panel in panels {
        let values = prometheus.query(&expressions::chosen(&panel)).await;
        match values {
            Ok(values) if values.is_empty() => empty.push(panel),
            Ok(_) => {}
            Err(error) => panic!("{panel}: {error}"),
        }
    }
    assert!(empty.is_empty(), "nothing to draw for {empty:#?}");
}
