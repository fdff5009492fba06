//! The figures that are kept: read from a file and written to it, and compared with those of now.
//!
//! A line has a part and its instructions; lines that begin with `#` are for people. `compiler` and
//! `architecture` are what the figures hold for: another compiler is allowed more, and to another
//! architecture they say nothing.

use std::{
    env::consts::ARCH,
    fmt::{self, Display, Formatter},
    fs,
    path::Path,
    process::Command,
};

use crate::{Result, parts::Part};

/// How far, in hundredths of the kept figure, one of now may be off.
const TOLERANCE: u64 = 3;

/// The same where another compiler has made the program.
const TOLERANCE_OF_OTHERS: u64 = 10;

const HEAD: &str = "\
# Instructions that the parts of a call take. Written by
#   cargo run --profile instructions -p nano-instructions -- --keep
";

/// Figures, and what they hold for.
pub(crate) struct Kept {
    compiler: String,
    architecture: String,
    figures: Vec<(String, u64)>,
}

/// The figures of now beside those that were kept.
pub(crate) struct Compared {
    rows: Vec<Row>,
    /// Hundredths.
    tolerance: u64,
    /// What has compiled the kept ones, if that is another.
    other: Option<String>,
}

struct Row {
    part: &'static str,
    was: u64,
    is: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    AsBefore,
    More,
    Less,
}

impl Kept {
    /// These, of this program.
    pub(crate) fn of(figures: &[(Part, u64)]) -> Self {
        let named = |(part, figure): &(Part, u64)| (part.name().to_owned(), *figure);
        Self {
            compiler: compiler(),
            architecture: ARCH.to_owned(),
            figures: figures.iter().map(named).collect(),
        }
    }

    /// Those of a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path);
        let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let written = fs::write(path, self.to_string());
        written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut kept = Self {
            compiler: String::new(),
            architecture: String::new(),
            figures: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let at = |what: &str| format!("line {}: {what}: {line:?}", number + 1);
            let (name, value) = line.split_once(' ').ok_or_else(|| at("has no value"))?;
            match (name, value.trim()) {
                ("compiler", value) => value.clone_into(&mut kept.compiler),
                ("architecture", value) => value.clone_into(&mut kept.architecture),
                (part, value) => {
                    let figure = value.parse().map_err(|_| at("is no number"))?;
                    kept.figures.push((part.to_owned(), figure));
                }
            }
        }
        Ok(kept)
    }

    /// Puts figures of now beside these.
    pub(crate) fn compare(&self, figures: &[(Part, u64)]) -> Result<Compared> {
        let rows = figures.iter().map(|(part, is)| {
            let kept = self.figures.iter().find(|(name, _)| name == part.name());
            let (_, was) = kept.ok_or_else(|| {
                let name = part.name();
                format!("there is no kept figure of {name}; --keep writes them all")
            })?;
            Ok(Row {
                part: part.name(),
                was: *was,
                is: *is,
            })
        });
        let is_same = self.compiler == compiler();
        Ok(Compared {
            rows: rows.collect::<Result<_>>()?,
            tolerance: if is_same {
                TOLERANCE
            } else {
                TOLERANCE_OF_OTHERS
            },
            other: (!is_same).then(|| self.compiler.clone()),
        })
    }

    /// The architecture that they hold for, if it is not that of this program.
    pub(crate) fn other_architecture(&self) -> Option<&str> {
        (self.architecture != ARCH).then_some(&self.architecture)
    }
}

/// What this program is compiled by, if it was a moment ago.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(
        |_| "an unknown compiler".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

impl Display for Kept {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        writeln!(f, "compiler {}", self.compiler)?;
        writeln!(f, "architecture {}", self.architecture)?;
        for (part, figure) in &self.figures {
            writeln!(f, "{part} {figure}")?;
        }
        Ok(())
    }
}

impl Row {
    fn verdict(&self, tolerance: u64) -> Verdict {
        let off = self.is.abs_diff(self.was) * 100;
        match off > self.was * tolerance {
            false => Verdict::AsBefore,
            true if self.is > self.was => Verdict::More,
            true => Verdict::Less,
        }
    }
}

impl Compared {
    /// Whether no part takes more than its kept figure allows.
    pub(crate) fn is_well(&self) -> bool {
        !self.has(Verdict::More)
    }

    fn has(&self, verdict: Verdict) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|row| row.verdict(self.tolerance) == verdict)
    }
}

impl Display for Compared {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:>9} {:>9} {:>10}",
            "part", "was", "is", "difference"
        )?;
        let tolerance = self.tolerance;
        for row in &self.rows {
            let Row { part, was, is } = row;
            let percent = (*is as f64 / *was as f64 - 1.0) * 100.0;
            let verdict = match row.verdict(tolerance) {
                Verdict::AsBefore => "",
                Verdict::More => "  MORE",
                Verdict::Less => "  less",
            };
            writeln!(f, "{part:<12} {was:>9} {is:>9} {percent:>+9.1}%{verdict}")?;
        }
        if self.has(Verdict::More) {
            writeln!(
                f,
                "More than {tolerance} % over what is kept: see what the change costs, or keep the new figures with \
                 --keep and say why."
            )?;
        }
        if self.has(Verdict::Less) {
            writeln!(
                f,
                "More than {tolerance} % under what is kept: lower the kept figures with --keep, so that what was \
                 won is guarded too."
            )?;
        }
        if let Some(other) = &self.other {
            writeln!(
                f,
                "The kept figures are of {other}, so {tolerance} % are allowed instead of {TOLERANCE}: --keep those \
                 of this compiler."
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, Part, Verdict};

    fn verdict(was: u64, is: u64) -> (Verdict, bool) {
        verdict_beside(&Kept::of(&[(Part::Pick, was)]), is)
    }

    fn verdict_beside(kept: &Kept, is: u64) -> (Verdict, bool) {
        let kept = kept.to_string();
        let compared = Kept::parse(&kept).and_then(|kept| kept.compare(&[(Part::Pick, is)]));
        let compared = compared.expect("what is written can be read");
        (
            compared.rows[0].verdict(compared.tolerance),
            compared.is_well(),
        )
    }

    #[test]
    fn only_more_than_the_tolerance_fails() {
        assert_eq!(verdict(1_000, 1_030), (Verdict::AsBefore, true));
        assert_eq!(verdict(1_000, 1_031), (Verdict::More, false));
        assert_eq!(verdict(1_000, 970), (Verdict::AsBefore, true));
        assert_eq!(verdict(1_000, 969), (Verdict::Less, true));
    }

    #[test]
    fn another_compiler_is_allowed_more() {
        let kept = Kept {
            compiler: "rustc of another day".to_owned(),
            ..Kept::of(&[(Part::Pick, 1_000)])
        };
        assert_eq!(verdict_beside(&kept, 1_100), (Verdict::AsBefore, true));
        assert_eq!(verdict_beside(&kept, 1_101), (Verdict::More, false));
    }

    #[test]
    fn figures_of_another_architecture_are_known_as_such() {
        let mut kept = Kept::of(&[]);
        assert_eq!(kept.other_architecture(), None);
        "another".clone_into(&mut kept.architecture);
        assert_eq!(kept.other_architecture(), Some("another"));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let error = Kept::parse("# fine\npick many\n").err();
        let error = error.expect("that is no number").to_string();
        assert!(
            error.contains("line 2") && error.contains("pick many"),
            "{error}"
        );
    }

    #[test]
    fn a_part_that_is_not_kept_is_named() {
        let compared = Kept::of(&[]).compare(&[(Part::Pick, 1)]);
        let error = compared.err().expect("nothing is kept").to_string();
        assert!(
            error.contains("pick") && error.contains("--keep"),
            "{error}"
        );
    }
}
