//! The file of rules: TOML comes in, [`Rules`] go out, or every mistake with its line.

use std::{
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use nano_routing::{
    Pattern,
    rules::{MAX_RULES, Preamble, Rule, Rules, Whom},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Most bytes of the file.
const MOST_BYTES: u64 = 1024 * 1024;

/// Most bytes of what refusals show of the file's name, and of whom to ask.
const MOST_IN_A_NAME: usize = 256;

/// A file of rules that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("the rules {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It says what means nothing.
    #[error("{} in the rules {}:{}", count(.mistakes), path.display(), list(.mistakes))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it, in its order.
        mistakes: Vec<Mistake>,
    },
}

/// Something that is wrong with a file of rules.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mistake {
    /// Where.
    pub line: u32,
    /// What, and what to do.
    pub message: String,
}

fn count(mistakes: &[Mistake]) -> String {
    let noun = if mistakes.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    format!("{} {noun}", mistakes.len())
}

fn list(mistakes: &[Mistake]) -> String {
    let line = |mistake: &Mistake| format!("\n  {mistake}");
    mistakes.iter().map(line).collect()
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Reads a file of rules.
pub(super) fn read(path: &Path) -> Result<Rules, FileError> {
    let text = read_text(path).map_err(|error| FileError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    let source = path.display().to_string();
    let source = &source[source.ceil_char_boundary(source.len().saturating_sub(MOST_IN_A_NAME))..];
    parse(source, &text).map_err(|mistakes| FileError::Wrong {
        path: path.to_owned(),
        mistakes,
    })
}

fn read_text(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MOST_BYTES {
        return Err(io::Error::other(format!("it is over {MOST_BYTES} bytes")));
    }
    fs::read_to_string(path)
}

/// Reads the text of rules; `source` is what refusals call it.
pub(super) fn parse(source: &str, text: &str) -> Result<Rules, Vec<Mistake>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        text,
        mistakes: Vec::new(),
    };
    if errors.is_empty() {
        let rules = reader.rules(source, table.get_ref());
        if reader.mistakes.is_empty() {
            return Ok(rules);
        }
    }
    for error in errors {
        let at = error.span().unwrap_or(text.len()..text.len());
        reader.wrong(at, error.message().to_owned());
    }
    reader.mistakes.sort();
    // Of a line's errors in syntax the others tend to follow from the first.
    reader.mistakes.dedup_by_key(|mistake| mistake.line);
    Err(reader.mistakes)
}

/// Reads a text, and keeps what is wrong with it.
struct Reader<'t> {
    text: &'t str,
    mistakes: Vec<Mistake>,
}

/// What a key of a rule may hold.
type Value<'v, 't> = Option<&'v Spanned<DeValue<'t>>>;

impl Reader<'_> {
    fn rules(&mut self, source: &str, table: &DeTable<'_>) -> Rules {
        self.known_keys(table, &["default", "contact", "register", "call", "own"]);
        let preamble = Preamble {
            source: source.to_owned(),
            contact: self.contact(table.get("contact")),
            is_closed: self.is_closed(table.get("default")),
        };
        let register = self.list(table.get("register"), "register");
        let call = self.list(table.get("call"), "call");
        let own = self.owners(table.get("own"));
        let count = register.len() + call.len() + own.len();
        if count > MAX_RULES {
            let message = format!(
                "{count} rules, a pattern each, are over the {MAX_RULES} that there may be"
            );
            self.wrong(0..0, message);
        }
        Rules::new(preamble, register, call, own)
    }

    fn contact(&mut self, value: Value<'_, '_>) -> Option<String> {
        let contact = self.text(value, "contact")?;
        if contact.len() > MOST_IN_A_NAME
            && let Some(value) = value
        {
            let message = format!("contact is over {MOST_IN_A_NAME} bytes");
            self.wrong(value.span(), message);
        }
        Some(contact)
    }

    fn is_closed(&mut self, value: Value<'_, '_>) -> bool {
        match value.map(|value| (value.get_ref().as_str(), value.span())) {
            None | Some((Some("open"), _)) => false,
            Some((Some("closed"), _)) => true,
            Some((_, at)) => {
                self.wrong(at, "default is \"open\" or \"closed\"".to_owned());
                false
            }
        }
    }

    /// The rules of `[[register]]` or `[[call]]`: one for each pattern of an entry.
    fn list(&mut self, value: Value<'_, '_>, name: &str) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (entry, at) in self.entries(value, name) {
            self.known_keys(entry, &["identity", "patterns"]);
            let whom = self.whom(entry, &at);
            let patterns = self.patterns(entry.get("patterns"));
            let (Some(whom), Some(patterns)) = (whom, patterns) else {
                continue;
            };
            let line = self.line(at.start);
            let rule = |prefix| Rule {
                whom: whom.clone(),
                prefix,
                line,
            };
            if patterns.is_empty() {
                rules.push(rule(None));
            }
            rules.extend(patterns.into_iter().map(|pattern| rule(Some(pattern))));
        }
        rules
    }

    /// The rules of `[[own]]`.
    fn owners(&mut self, value: Value<'_, '_>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (entry, at) in self.entries(value, "own") {
            self.known_keys(entry, &["prefix", "identity"]);
            let whom = self.whom(entry, &at);
            let prefix = match entry.get("prefix") {
                Some(prefix) => self.pattern(prefix),
                None => {
                    self.wrong(
                        at.clone(),
                        "it has no prefix, such as \"role:math\"".to_owned(),
                    );
                    None
                }
            };
            if let (Some(whom), Some(prefix)) = (whom, prefix) {
                rules.push(Rule {
                    whom,
                    prefix: Some(prefix),
                    line: self.line(at.start),
                });
            }
        }
        rules
    }

    fn entries<'v, 't>(
        &mut self,
        value: Value<'v, 't>,
        name: &str,
    ) -> Vec<(&'v DeTable<'t>, Range<usize>)> {
        let Some(value) = value else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(value.span(), format!("write each entry under [[{name}]]"));
            return Vec::new();
        };
        let mut entries = Vec::new();
        for entry in array.iter() {
            match entry.get_ref().as_table() {
                Some(table) => entries.push((table, entry.span())),
                None => self.wrong(entry.span(), format!("write it under [[{name}]]")),
            }
        }
        entries
    }

    fn whom(&mut self, entry: &DeTable<'_>, at: &Range<usize>) -> Option<Whom> {
        let Some(value) = entry.get("identity") else {
            self.wrong(
                at.clone(),
                "it has no identity, such as \"service/math\"".to_owned(),
            );
            return None;
        };
        let text = self.text(Some(value), "identity")?;
        Whom::parse(&text)
            .map_err(|error| self.wrong(value.span(), error.to_string()))
            .ok()
    }

    fn patterns(&mut self, value: Value<'_, '_>) -> Option<Vec<Pattern>> {
        let Some(value) = value else {
            return Some(Vec::new());
        };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(
                value.span(),
                "patterns is a list, such as [\"role:math\"]".to_owned(),
            );
            return None;
        };
        let patterns: Vec<_> = array.iter().map(|value| self.pattern(value)).collect();
        patterns.into_iter().collect()
    }

    fn pattern(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Pattern> {
        let text = self.text(Some(value), "a pattern")?;
        Pattern::parse(&text)
            .map_err(|error| self.wrong(value.span(), format!("{text:?} is no pattern: {error}")))
            .ok()
    }

    fn text(&mut self, value: Value<'_, '_>, name: &str) -> Option<String> {
        let value = value?;
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong(value.span(), format!("{name} is a text in quotes"));
        }
        text
    }

    fn known_keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table
            .keys()
            .filter(|key| !known.contains(&&**key.get_ref()))
        {
            let message = format!(
                "unknown key {:?}: there are {}",
                key.get_ref(),
                known.join(", ")
            );
            self.wrong(key.span(), message);
        }
    }

    fn wrong(&mut self, at: Range<usize>, message: String) {
        let line = self.line(at.start);
        self.mistakes.push(Mistake { line, message });
    }

    /// The line, from 1, of the byte at an offset.
    fn line(&self, offset: usize) -> u32 {
        let before = self.text.bytes().take(offset);
        1 + before.filter(|byte| *byte == b'\n').count() as u32
    }
}
