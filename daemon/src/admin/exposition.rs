//! Metrics as text: families with their samples come in, one after the other, and OpenMetrics or
//! Prometheus' older format goes out. Whoever writes keeps the samples of a family together.

use std::fmt::{Display, Write};

use crate::meters::{BOUNDS, Durations};

/// How the text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Prometheus,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// The text so far.
pub(super) struct Exposition {
    format: Format,
    text: String,
}

/// A family, of which samples are written.
pub(super) struct Family<'e> {
    text: &'e mut String,
    name: &'static str,
}

/// Names and values of a sample's labels.
pub(super) type Labels<'l> = &'l [(&'static str, &'l str)];

impl Format {
    /// What a scraper asks for: the older format if it names only that.
    pub(super) fn accepted(accept: &str) -> Self {
        let accept = accept.to_ascii_lowercase();
        match accept.contains("text/plain") && !accept.contains("application/openmetrics-text") {
            true => Self::Prometheus,
            false => Self::OpenMetrics,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Begins a family. `name` is that of its samples, but for those of a histogram, which end in
    /// more.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let is_open = self.format == Format::OpenMetrics;
        let (of, word) = match kind {
            Kind::Counter if is_open => (name.strip_suffix("_total").unwrap_or(name), "counter"),
            Kind::Counter => (name, "counter"),
            Kind::Gauge => (name, "gauge"),
            Kind::Histogram => (name, "histogram"),
            Kind::Info if is_open => (name.strip_suffix("_info").unwrap_or(name), "info"),
            Kind::Info => (name, "gauge"),
        };
        self.line(format_args!("# TYPE {of} {word}"));
        let mut units = ["seconds", "bytes"].into_iter();
        if is_open && let Some(unit) = units.find(|unit| of.ends_with(&format!("_{unit}"))) {
            self.line(format_args!("# UNIT {of} {unit}"));
        }
        self.line(format_args!("# HELP {of} {help}"));
        Family {
            text: &mut self.text,
            name,
        }
    }

    /// A gauge of one sample.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    /// A counter of one sample.
    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn line(&mut self, line: impl Display) {
        line_to(&mut self.text, line);
    }
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.write("", labels, None, value);
    }

    pub(super) fn durations(&mut self, labels: Labels<'_>, durations: &Durations) {
        let mut sum = 0;
        let bounds = BOUNDS.iter().map(|(_, written)| *written);
        for (bound, count) in bounds.chain(["+Inf"]).zip(durations.buckets) {
            sum += count;
            self.write("_bucket", labels, Some(bound), sum);
        }
        self.write("_sum", labels, None, durations.micros as f64 / 1e6);
        self.write("_count", labels, None, sum);
    }

    fn write(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<&'static str>,
        value: impl Display,
    ) {
        let text = &mut *self.text;
        text.push_str(self.name);
        text.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            text.push(before);
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        line_to(text, format_args!(" {value}"));
    }
}

fn line_to(text: &mut String, line: impl Display) {
    // A string takes all that it is given.
    let _ = writeln!(text, "{line}");
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.counter("a_bytes_total", "Bytes.", 1);
        exposition
            .family("b_info", Kind::Info, "What it is.")
            .sample(&[("name", "x\"\\\n")], 1);
        let durations = Durations {
            buckets: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            micros: 20_000_500,
        };
        let mut family = exposition.family("c_seconds", Kind::Histogram, "How long.");
        family.durations(&[("of", "y")], &durations);
        exposition.end()
    }

    #[test]
    fn openmetrics_names_families_without_what_their_samples_end_in() {
        let text = text(Format::OpenMetrics);
        for lines in [
            "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes Bytes.\na_bytes_total 1\n",
            "# TYPE b info\n# HELP b What it is.\nb_info{name=\"x\\\"\\\\\\n\"} 1\n",
            "# TYPE c_seconds histogram\n# UNIT c_seconds seconds\n",
            "c_seconds_bucket{of=\"y\",le=\"0.0005\"} 1\nc_seconds_bucket{of=\"y\",le=\"0.001\"} 1\n",
            "c_seconds_bucket{of=\"y\",le=\"+Inf\"} 3\nc_seconds_sum{of=\"y\"} 20.0005\n",
            "c_seconds_count{of=\"y\"} 3\n# EOF\n",
        ] {
            assert!(text.contains(lines), "{lines} is not in {text}");
        }
    }

    #[test]
    fn the_older_format_names_families_as_their_samples() {
        let text = text(Format::Prometheus);
        assert!(text.contains("# TYPE a_bytes_total counter\n# HELP a_bytes_total Bytes.\n"));
        assert!(text.contains("# TYPE b_info gauge\n"));
        assert!(!text.contains("EOF") && !text.contains("UNIT"));
    }

    #[test]
    fn a_scraper_gets_what_it_asks_for() {
        for (accept, format) in [
            ("", Format::OpenMetrics),
            ("*/*", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
                Format::OpenMetrics,
            ),
            ("text/plain", Format::Prometheus),
            ("Text/Plain; version=0.0.4, */*;q=0.1", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
