//! What an authority has issued: bundles come in, the serial numbers of an identity's certificates
//! go out, so that an identity can be revoked without its files. The file `issued`, beside the
//! authority's key, owns the state: a line a certificate, and none of those that are over.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::folder::{Access, Entry, Folder};
use crate::{Bundle, Error, Result};

/// The lines of the file.
pub(crate) struct Ledger(Vec<Line>);

struct Line {
    serial: Vec<u8>,
    not_after: SystemTime,
    identity: String,
}

impl Ledger {
    /// Reads what is valid yet.
    pub(crate) fn read(folder: &Folder, now: SystemTime) -> Result<Self> {
        let text = folder.read_if_there(FILE, Access::Secret)?;
        let text = text.unwrap_or_default();
        let mut lines = Vec::new();
        for line in text.lines() {
            let line = Line::parse(line).ok_or_else(|| Error::Ledger {
                path: folder.path().join(FILE),
                line: line.to_owned(),
            })?;
            if line.not_after > now {
                lines.push(line);
            }
        }
        Ok(Self(lines))
    }

    /// Adds a certificate.
    pub(crate) fn add(&mut self, bundle: &Bundle) {
        self.0.push(Line {
            serial: bundle.serial().to_vec(),
            not_after: bundle.validity().not_after,
            identity: bundle.identity().to_string(),
        });
    }

    /// Writes it.
    pub(crate) fn write(&self, folder: &Folder) -> Result<()> {
        let text: String = self.0.iter().map(Line::text).collect();
        folder.replace(&[Entry {
            name: FILE,
            text: &text,
            access: Access::Secret,
        }])
    }

    /// The serial numbers of an identity's certificates.
    pub(crate) fn of<'a>(&'a self, identity: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.0.iter();
        let lines = lines.filter(move |line| line.identity == identity);
        lines.map(|line| &*line.serial)
    }
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let serial = from_hex(words.next()?)?;
        let end = words.next()?.parse().ok()?;
        let identity = words.next()?.to_owned();
        let not_after = UNIX_EPOCH.checked_add(Duration::from_secs(end))?;
        words.next().is_none().then_some(Self {
            serial,
            not_after,
            identity,
        })
    }

    fn text(&self) -> String {
        let end = self.not_after.duration_since(UNIX_EPOCH);
        let end = end.unwrap_or_default().as_secs();
        format!("{} {end} {}\n", hex(&self.serial), self.identity)
    }
}

/// As serial numbers are shown.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

const FILE: &str = "issued";
