//! The TOML file: its text comes in, values with the place where they stand go out, and so do the
//! keys that name no setting.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use super::given::{Given, Value};
use super::{Error, Origin, SETTINGS};

/// A file that is TOML. Whether its keys and values make sense is still open.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    table: DeTable<'a>,
}

impl<'a> Document<'a> {
    /// Parses the file, or says what is wrong with its syntax: of each line the first error, as the
    /// others tend to follow from it.
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Result<Document<'a>, Vec<Error>> {
        let (table, mut errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let table = table.into_inner();
            return Ok(Document { path, text, table });
        }
        let start = |error: &toml::de::Error| error.span().map_or(text.len(), |span| span.start);
        errors.sort_by_key(start);
        errors.dedup_by_key(|error| place_of(text, start(error)).0);
        let syntax = |error: toml::de::Error| Error::Syntax {
            origin: origin(path, text, start(&error)),
            message: error.message().to_owned(),
        };
        Err(errors.into_iter().map(syntax).collect())
    }

    /// The value of a key, if the file has one.
    pub(super) fn get(&self, key: &str) -> Option<Given> {
        let (key, value) = self.table.get_key_value(key)?;
        let start = match value.get_ref() {
            // Its own begins elsewhere, or nowhere.
            DeValue::Table(_) | DeValue::Array(_) => key.span().start,
            _ => value.span().start,
        };
        Some(Given {
            value: self.value(value),
            origin: self.origin(start),
        })
    }

    /// The keys that name no setting, in the order of the file.
    pub(super) fn unknown_keys(&self) -> Vec<Error> {
        let mut keys: Vec<_> = self
            .table
            .keys()
            .filter(|key| !is_setting(key.as_ref()))
            .collect();
        keys.sort_by_key(|key| key.span().start);
        keys.into_iter().map(|key| self.unknown(key)).collect()
    }

    fn unknown(&self, key: &Spanned<DeString<'_>>) -> Error {
        Error::Unknown {
            key: key.get_ref().to_string(),
            origin: self.origin(key.span().start),
            suggestion: suggest(key.get_ref()),
        }
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => Value::Integer(decimal(integer)),
            DeValue::Array(_) => Value::Unusable("an array".to_owned()),
            DeValue::Table(_) => Value::Unusable("a table".to_owned()),
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                let source = self.text.get(value.span()).unwrap_or_default();
                Value::Unusable(source.to_owned())
            }
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        origin(self.path, self.text, offset)
    }
}

fn origin(path: &Path, text: &str, offset: usize) -> Origin {
    let (line, column) = place_of(text, offset);
    Origin::File {
        path: path.to_owned(),
        line,
        column,
    }
}

/// The line and the character in it, both from 1, that the byte at `offset` belongs to.
fn place_of(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
    (line, 1 + before[line_start..].chars().count())
}

/// The integer in decimal; as it was written if it is beyond all bounds.
fn decimal(integer: &DeInteger<'_>) -> String {
    i128::from_str_radix(integer.as_str(), integer.radix())
        .map_or_else(|_| integer.to_string(), |number| number.to_string())
}

fn is_setting(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key == key)
}

/// The setting most like `key`, if no more than half of the longer name differs.
fn suggest(key: &str) -> Option<&'static str> {
    let difference = |name: &str| {
        let longer = key.chars().count().max(name.len());
        100 * distance(key, name) / longer
    };
    SETTINGS
        .iter()
        .map(|setting| (difference(setting.key), setting.key))
        .filter(|(percent, _)| *percent <= 50)
        .min_by_key(|(percent, _)| *percent)
        .map(|(_, name)| name)
}

/// The edit distance of Levenshtein, one row of the matrix at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}
