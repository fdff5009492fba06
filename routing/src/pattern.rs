//! What a service registers under and what a message is addressed to.
//!
//! In comes text that people wrote; out comes the canonical form that all parts compare byte for
//! byte, or an error that names the offence, its place and the remedy. A [`Pattern`] is proof that
//! its text is canonical; a subject that was merely looked at stays borrowed ([`canonical`]).
//!
//! The syntax, the same for both: 1 to [`MAX_FIELDS`] fields separated by commas, in at most
//! [`MAX_BYTES`] bytes. White space around a field is dropped: Unicode's `White_Space` without its
//! control characters, plus the tab. Any other control character is an error wherever it stands,
//! even the newline at the end: it tells of a text that was cut or joined wrongly. White space
//! within a field belongs to the field.

use std::{borrow::Borrow, borrow::Cow, fmt, str::FromStr, sync::Arc};

use crate::key;

/// The most fields that a pattern or subject may have.
pub const MAX_FIELDS: usize = 64;

/// The most bytes that the text of a pattern or subject may have, before white space is dropped.
pub const MAX_BYTES: usize = 1024;

/// Comma-separated fields in canonical form, cheap to clone.
///
/// Patterns are ordered, compared and hashed as their text is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Reads a pattern as a person wrote it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        canonical(text).map(|text| Self(text.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.split(',')
    }

    /// Whether `subject`, which is in canonical form, begins with all fields of this pattern.
    pub fn matches(&self, subject: &str) -> bool {
        key::covers(&self.0, subject)
    }
}

/// Validates a subject or pattern and drops the white space around its fields.
///
/// Stands on the path of every request: text that is canonical already is lent back, not copied.
pub fn canonical(text: &str) -> Result<Cow<'_, str>, PatternError> {
    if text.len() > MAX_BYTES {
        return Err(PatternError::TooLong {
            bytes: text.len(),
            limit: MAX_BYTES,
        });
    }
    let mut rewritten: Option<String> = None;
    let mut at = 0;
    for (index, raw) in text.split(',').enumerate() {
        if index == MAX_FIELDS {
            return Err(PatternError::TooManyFields {
                limit: MAX_FIELDS,
                at,
            });
        }
        let field = trimmed(raw);
        if field.is_empty() {
            return Err(match raw.len() == text.len() {
                true => PatternError::Empty,
                false => PatternError::EmptyField {
                    field: index + 1,
                    at,
                },
            });
        }
        if let Some((offset, character)) = control_character(raw, field) {
            return Err(PatternError::ControlCharacter {
                character,
                field: index + 1,
                at: at + offset,
            });
        }
        if field.len() < raw.len() && rewritten.is_none() {
            let mut so_far = String::with_capacity(text.len() + 1);
            so_far.push_str(&text[..at]);
            rewritten = Some(so_far);
        }
        if let Some(rewritten) = &mut rewritten {
            rewritten.push_str(field);
            rewritten.push(',');
        }
        at += raw.len() + 1;
    }
    Ok(match rewritten {
        None => Cow::Borrowed(text),
        Some(mut rewritten) => {
            rewritten.pop();
            Cow::Owned(rewritten)
        }
    })
}

/// Why a text is no pattern or subject. Fields count from 1, bytes from 0, in the text as given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The whole text is empty or blank.
    #[error("the pattern is empty: write at least one field, such as role:math")]
    Empty,

    /// Nothing stands between two commas, before the first or after the last.
    #[error("field {field} at byte {at} is empty: write the field or remove its comma")]
    EmptyField {
        /// Which field.
        field: usize,
        /// Where the field begins, right after the comma before it.
        at: usize,
    },

    /// A control character other than a tab around a field.
    #[error("control character {character:?} in field {field} at byte {at}: remove it")]
    ControlCharacter {
        /// The offender.
        character: char,
        /// The field it stands in.
        field: usize,
        /// Where it stands.
        at: usize,
    },

    /// There are more fields than allowed.
    #[error("more than {limit} fields, too many from byte {at} on: leave some out")]
    TooManyFields {
        /// How many are allowed: [`MAX_FIELDS`].
        limit: usize,
        /// Where the first field too many begins.
        at: usize,
    },

    /// The text is longer than allowed, and has not been looked at.
    #[error("{bytes} bytes long, where {limit} are allowed: shorten it")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be: [`MAX_BYTES`].
        limit: usize,
    },
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for Pattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Pattern {
    type Error = PatternError;

    fn try_from(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

fn trimmed(raw: &str) -> &str {
    raw.trim_matches(|c: char| c == '\t' || (c.is_whitespace() && !c.is_control()))
}

/// The first control character of `field`, with its offset in `raw`, of which `field` is the
/// trimmed part.
fn control_character(raw: &str, field: &str) -> Option<(usize, char)> {
    if field
        .bytes()
        .fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'))
    {
        return None;
    }
    let (offset, character) = field.char_indices().find(|(_, c)| c.is_control())?;
    let dropped = field.as_ptr().addr() - raw.as_ptr().addr();
    Some((dropped + offset, character))
}

/// What a subject, in its one form, begins with: its first field, its first two, and so on to all of
/// it. These are the patterns that match it.
pub fn prefixes(subject: &str) -> impl DoubleEndedIterator<Item = &str> {
    let ends = subject.match_indices(',').map(|(end, _)| end);
    let ends = ends.chain([subject.len()]);
    ends.map(|end| &subject[..end])
}

#[cfg(test)]
mod tests;
