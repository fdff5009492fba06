//! Counting: a part and its rounds go to this program, started again under callgrind, and out come
//! the instructions that one of them took.

use std::{env, io::ErrorKind, process::Command};

use crate::{Result, parts::Part};

/// What this program asks of itself.
pub(crate) const DO: &str = "--do";

/// Keeps the C library to routines that every processor of an architecture has: valgrind shows
/// it what the machine's has, and each set has a `memcpy` and a `memcmp` of its own.
const TUNABLES: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM,-FMA",
);

/// Instructions that a round of a part takes.
pub(crate) fn per_round(part: Part) -> Result<u64> {
    let rounds = part.rounds();
    let once = collected(part, rounds)?;
    let twice = collected(part, 2 * rounds)?;
    let more = twice.checked_sub(once);
    let more = more.ok_or_else(|| format!("{}: more rounds took less", part.name()))?;
    Ok((more + rounds / 2) / rounds)
}

/// Instructions of a whole process. It has no environment, which could change them.
fn collected(part: Part, rounds: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([DO, part.name(), &rounds.to_string()])
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .envs([TUNABLES])
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                "valgrind is missing; please install it (Debian: apt install valgrind)".to_owned()
            }
            _ => format!("cannot run valgrind: {error}"),
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{} failed under valgrind:\n{said}", part.name()).into());
    }
    // `==PID== Collected : 123456`
    let collected = said.lines().rev().find_map(|line| {
        let (_, count) = line.split_once("Collected : ")?;
        count.trim().parse().ok()
    });
    collected.ok_or_else(|| format!("valgrind does not say what it collected:\n{said}").into())
}
