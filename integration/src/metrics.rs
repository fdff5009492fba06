//! OpenMetrics text, read as strictly as its specification is written: whatever a scraper may refuse
//! ends the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::Chars,
};

/// A sample's labels.
type Labels = BTreeMap<String, String>;

/// A whole scrape.
#[derive(Debug)]
pub struct Scrape {
    samples: BTreeMap<String, Vec<(Labels, f64)>>,
    families: BTreeMap<String, String>,
}

/// A family whose lines are being read.
struct Family {
    name: String,
    kind: String,
    unit: Option<String>,
    has_help: bool,
}

impl Scrape {
    /// Reads a whole scrape.
    ///
    /// # Panics
    ///
    /// If it is not as it has to be.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text
            .strip_suffix("# EOF\n")
            .expect("it ends with # EOF and a line feed");
        let mut scrape = Self {
            samples: BTreeMap::new(),
            families: BTreeMap::new(),
        };
        let mut family: Option<Family> = None;
        for line in lines.split_terminator('\n') {
            match line.strip_prefix("# ") {
                Some(comment) => scrape.comment(comment, &mut family),
                None => {
                    let family = family.as_ref().expect("samples follow their family");
                    scrape.sample(line, family);
                }
            }
        }
        scrape.check_histograms();
        scrape
    }

    /// The value of a sample with just these labels, if there is one.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted = labels_of(labels);
        let samples = self.samples.get(name)?;
        let found = samples.iter().find(|(labels, _)| *labels == wanted);
        found.map(|(_, value)| *value)
    }

    /// The sum of all samples with at least these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = labels_of(labels);
        let samples = self.samples.get(name).into_iter().flatten();
        let has_all = |labels: &Labels| wanted.iter().all(|(k, v)| labels.get(k) == Some(v));
        let found = samples.filter(|(labels, _)| has_all(labels));
        found.map(|(_, value)| value).sum()
    }

    /// The values that a label has in the samples of a name.
    #[must_use]
    pub fn values_of(&self, name: &str, label: &str) -> BTreeSet<String> {
        let samples = self.samples.get(name).into_iter().flatten();
        samples
            .filter_map(|(labels, _)| labels.get(label).cloned())
            .collect()
    }

    /// The types of all families, by the names of their samples without what those of histograms
    /// end in.
    #[must_use]
    pub fn names(&self) -> BTreeMap<String, String> {
        let families = self.families.iter().map(|(name, kind)| {
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            (format!("{name}{suffix}"), kind.clone())
        });
        families.collect()
    }

    fn comment(&mut self, comment: &str, family: &mut Option<Family>) {
        let mut words = comment.splitn(3, ' ');
        let mut word = || words.next().expect("three words");
        let (what, name, rest) = (word(), word(), word());
        if what == "TYPE" {
            assert!(is_name(name), "{name:?} is no name");
            let known = ["counter", "gauge", "histogram", "info"];
            assert!(known.contains(&rest), "{rest} is no type that is used");
            let before = self.families.insert(name.to_owned(), rest.to_owned());
            assert!(before.is_none(), "the family {name} comes twice");
            *family = Some(Family {
                name: name.to_owned(),
                kind: rest.to_owned(),
                unit: None,
                has_help: false,
            });
            return;
        }
        let family = family.as_mut().expect("a type comes first");
        assert_eq!(family.name, name, "{what} of another family");
        match what {
            "UNIT" => {
                assert!(
                    name.ends_with(&format!("_{rest}")),
                    "{name} is not in {rest}"
                );
                assert!(family.unit.replace(rest.to_owned()).is_none());
            }
            "HELP" => {
                assert!(!rest.is_empty() && !family.has_help, "the help of {name}");
                family.has_help = true;
            }
            other => panic!("{other} is no comment that is allowed"),
        }
    }

    fn sample(&mut self, line: &str, family: &Family) {
        let end = line.find(['{', ' ']).expect("a value follows the name");
        let (name, rest) = line.split_at(end);
        let suffix = name
            .strip_prefix(family.name.as_str())
            .unwrap_or_else(|| panic!("{name} is not of the family {}", family.name));
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{name} in a {}", family.kind);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => parse_labels(rest),
            None => (Labels::new(), rest),
        };
        let value = rest.strip_prefix(' ').expect("one space before the value");
        let value: f64 = value.parse().expect("the value is a number");
        assert!(value.is_finite(), "{line}");
        if family.kind != "gauge" {
            assert!(value >= 0.0, "{line}");
        }
        if family.kind == "info" {
            assert_eq!(value, 1.0, "{line}");
        }
        assert_eq!(suffix == "_bucket", labels.contains_key("le"), "{line}");
        let samples = self.samples.entry(name.to_owned()).or_default();
        samples.push((labels, value));
    }

    /// No sample comes twice; buckets rise to the count.
    fn check_histograms(&self) {
        for (name, samples) in &self.samples {
            let distinct: BTreeSet<_> = samples.iter().map(|(labels, _)| labels).collect();
            assert_eq!(distinct.len(), samples.len(), "a sample of {name} twice");
            let Some(family) = name.strip_suffix("_bucket") else {
                continue;
            };
            let mut last: Option<(Labels, f64, f64)> = None;
            let end = |last: &Option<(Labels, f64, f64)>| {
                if let Some((labels, bound, count)) = last {
                    assert_eq!(*bound, f64::INFINITY, "{family} has no last bucket");
                    let labels: Vec<_> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
                    let said = self.value(&format!("{family}_count"), &labels);
                    assert_eq!(said, Some(*count), "{family} {labels:?}");
                    let sum = self.value(&format!("{family}_sum"), &labels);
                    assert!(sum.is_some(), "{family} {labels:?} has no sum");
                }
            };
            for (labels, count) in samples {
                let mut labels = labels.clone();
                let bound = labels.remove("le").expect("a bucket has a bound");
                let bound: f64 = bound.replace("+Inf", "inf").parse().expect("a number");
                match &last {
                    Some((known, before, less)) if *known == labels => {
                        assert!(*before < bound && less <= count, "{family} {labels:?}");
                    }
                    _ => end(&last),
                }
                last = Some((labels, bound, *count));
            }
            end(&last);
        }
    }
}

fn labels_of(labels: &[(&str, &str)]) -> Labels {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    labels.iter().map(owned).collect()
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Labels up to the bracket that ends them, and what follows it.
fn parse_labels(text: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    let mut rest = text;
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label has a value");
        assert!(is_name(name), "{name:?} is no label");
        let mut characters = value.chars();
        let value = parse_value(&mut characters);
        assert!(!value.is_empty(), "an empty {name} is none");
        let before = labels.insert(name.to_owned(), value);
        assert!(before.is_none(), "the label {name} twice");
        match characters.next() {
            Some(',') => rest = characters.as_str(),
            Some('}') => return (labels, characters.as_str()),
            other => panic!("{other:?} follows a label"),
        }
    }
}

/// A value up to the quote that ends it.
fn parse_value(characters: &mut Chars<'_>) -> String {
    let mut value = String::new();
    loop {
        match characters.next().expect("a value ends") {
            '"' => return value,
            '\\' => value.push(match characters.next() {
                Some('n') => '\n',
                Some(escaped @ ('\\' | '"')) => escaped,
                other => panic!("{other:?} is not to be escaped"),
            }),
            other => value.push(other),
        }
    }
}
