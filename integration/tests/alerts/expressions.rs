//! PromQL as text: which metrics it names, and what Grafana makes of it.

use std::collections::BTreeSet;

/// The metrics that an expression names, those that rules record among them. Strings are left out.
pub(crate) fn metrics(expression: &str) -> BTreeSet<String> {
    let outside = expression.split('"').step_by(2);
    let words = outside.flat_map(|text| {
        text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_:".contains(letter)))
    });
    let is_metric = |word: &&str| {
        word.contains(":nanod_") || word.starts_with("nanod_") || word.starts_with("process_")
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

/// The histogram that a series belongs to, or the metric itself.
pub(crate) fn family(metric: &str) -> &str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| metric.strip_suffix(end))
        .unwrap_or(metric)
}

/// An expression of the dashboard with all nodes and patterns chosen.
pub(crate) fn chosen(expression: &str) -> String {
    expression
        .replace("$job", "nanod")
        .replace("$instance", ".*")
        .replace("$pattern", ".*")
        .replace("$__rate_interval", "10s")
}

#[test]
fn metrics_are_found_in_expressions() {
    let expression = r#"sum by (job) (rate(nanod_a_total{code=~"nanod_not"}[5m]))
        / job:nanod_b:rate5m > process_c_bytes"#;
    let expected = ["job:nanod_b:rate5m", "nanod_a_total", "process_c_bytes"];
    assert_eq!(metrics(expression), expected.map(str::to_owned).into());
    assert_eq!(family("nanod_a_seconds_bucket"), "nanod_a_seconds");
}
