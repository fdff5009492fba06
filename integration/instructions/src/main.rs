//! `nano-instructions`: how many instructions the parts of a call take, beside what they took when it
//! was last written down.
//!
//! Each [`Part`] is run by this program, started again under callgrind, for N rounds and for 2N. The
//! difference by N is what a round takes, without start and preparation. Nothing of it depends on
//! the speed or the load of a machine: numbers come from fixed seeds, and no clock is read. Out goes
//! a table, and failure if a part takes more than the kept figure allows.
//!
//! The figures hold for the compiler and the architecture that the file of [`Kept`] names.

mod count;
mod kept;
mod parts;

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

use kept::Kept;
use parts::Part;

/// Every failure ends the run, so it is only ever read by people.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "\
usage: nano-instructions [--only PART] [--kept FILE] [--keep]

  --only PART   count one part
  --kept FILE   the figures to compare with [default: integration/instructions/kept.txt]
  --keep        write the figures there instead of comparing";

/// The figures of this repository.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kept.txt");

/// The profile whose code is counted; cargo names the folder after it.
const PROFILE: &str = "instructions";

/// What is asked for.
enum Asked {
    /// To count, as everybody may ask.
    Count(Plan),
    /// To do one part so often, as this program asks of itself.
    Do(Part, u64),
}

struct Plan {
    parts: Vec<Part>,
    kept: Option<PathBuf>,
    keeps: bool,
}

fn main() -> ExitCode {
    let ended = match asked(env::args().skip(1)) {
        Ok(Asked::Do(part, rounds)) => {
            part.run(rounds);
            Ok(true)
        }
        Ok(Asked::Count(plan)) => count(&plan),
        Err(error) => Err(format!("{error}\n{USAGE}").into()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nano-instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Result<Asked> {
    let mut plan = Plan {
        parts: Part::ALL.to_vec(),
        kept: None,
        keeps: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.ok_or_else(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--only" => plan.parts = vec![Part::named(&value()?)?],
            "--kept" => plan.kept = Some(value()?.into()),
            "--keep" => plan.keeps = true,
            count::DO => return Ok(Asked::Do(Part::named(&value()?)?, value()?.parse()?)),
            _ => return Err(format!("unknown argument {argument:?}").into()),
        }
    }
    if plan.keeps && plan.parts.len() < Part::ALL.len() {
        return Err("--keep writes all figures, so it cannot go with --only".into());
    }
    Ok(Asked::Count(plan))
}

/// Counts, and keeps or compares; whether all is well.
fn count(plan: &Plan) -> Result<bool> {
    let path = match &plan.kept {
        None if !is_of_profile()? => {
            return Err(format!(
                "the kept figures are of another build; run cargo run --profile {PROFILE} -p {}",
                env!("CARGO_PKG_NAME")
            )
            .into());
        }
        kept => kept.as_deref().unwrap_or(Path::new(KEPT)),
    };
    if plan.keeps {
        Kept::of(&figures(plan)?).write(path)?;
        println!("written to {}", path.display());
        return Ok(true);
    }
    let kept = Kept::read(path)?;
    if let Some(other) = kept.other_architecture() {
        println!("NOT COMPARED: the kept figures are of {other}, which this machine is not.");
        return Ok(true);
    }
    let compared = kept.compare(&figures(plan)?)?;
    println!("{compared}");
    Ok(compared.is_well())
}

/// Whether this program was built by [`PROFILE`].
fn is_of_profile() -> Result<bool> {
    let program = env::current_exe()?;
    let folder = program.parent().and_then(Path::file_name);
    Ok(folder.is_some_and(|folder| folder == PROFILE))
}

fn figures(plan: &Plan) -> Result<Vec<(Part, u64)>> {
    let parts = plan.parts.iter();
    let counted = parts.map(|&part| {
        eprintln!("counting {}", part.name());
        Ok((part, count::per_round(part)?))
    });
    counted.collect()
}
