//! Tokens of HTTP callers: lines of identities and tokens come in, and then what callers show; out
//! goes whose token that is.
//!
//! Only the tokens' SHA-256 is kept. What is shown is compared with all of them in constant time, so
//! that how long a refusal takes tells nothing of how near it was.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{Digest, SHA256, digest},
};
use nano_tls::{Name, read_private};
use zeroize::Zeroizing;

/// The environment variable that holds tokens themselves.
pub const TOKENS_VARIABLE: &str = "NANO_TOKENS";

/// Shortest token: as many bytes as 64 random bits have in hexadecimal.
const LEAST: usize = 16;
/// Longest one.
const MOST: usize = 1024;
/// Most bytes of all lines.
const MOST_BYTES: usize = 256 * 1024;
/// Most tokens, each of which is compared with what a caller shows.
const MOST_TOKENS: usize = 1024;

const FIX: &str = "put lines with an identity and its token there, such as client/shop TOKEN";

/// Tokens, and whose they are.
#[derive(Default)]
pub(super) struct Tokens(Vec<(Digest, Arc<str>)>);

/// Where tokens come from. It shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// They are these.
    Given(Zeroizing<Vec<u8>>),
    /// They are in this file.
    File(PathBuf),
}

/// Why there are no tokens. No token is shown.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read, or others can read it.
    #[error("tokens: {0}")]
    File(#[from] nano_tls::Error),
    /// Lines are wrong.
    #[error("{} of {from}:{}", count(.lines), list(.lines))]
    Lines {
        /// Where they stand.
        from: String,
        /// Which ones, and why.
        lines: Vec<(usize, String)>,
    },
    /// There are too many bytes.
    #[error("{0} holds more than the {MOST_BYTES} bytes that tokens may take")]
    TooLong(String),
    /// A file and the variable are both given.
    #[error("they are in both {TOKENS_VARIABLE} and {}: give one of them", .0.display())]
    Twice(PathBuf),
}

fn count(lines: &[(usize, String)]) -> String {
    let noun = if lines.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    format!("{} {noun} in the tokens", lines.len())
}

fn list(lines: &[(usize, String)]) -> String {
    let line = |(line, why): &(usize, String)| format!("\n  line {line}: {why}");
    lines.iter().map(line).collect()
}

impl TokenSource {
    /// The source that is named, be it by the value of [`TOKENS_VARIABLE`] or as a file.
    ///
    /// # Errors
    ///
    /// If both are.
    pub fn choose(
        variable: Option<OsString>,
        file: Option<PathBuf>,
    ) -> Result<Option<Self>, TokenError> {
        match (variable, file) {
            (None, file) => Ok(file.map(Self::File)),
            (Some(text), None) => Ok(Some(Self::Given(text.into_encoded_bytes().into()))),
            (Some(_), Some(file)) => Err(TokenError::Twice(file)),
        }
    }

    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Given(_) => None,
            Self::File(path) => Some(path),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Given(_) => TOKENS_VARIABLE.to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Tokens {
    pub(super) fn load(from: &TokenSource) -> Result<Self, TokenError> {
        let text = match from {
            TokenSource::Given(text) => text.clone(),
            TokenSource::File(path) => read_private(path, MOST_BYTES, FIX)?,
        };
        match text.len() > MOST_BYTES {
            true => Err(TokenError::TooLong(from.name())),
            false => Self::parse(&text).map_err(|lines| TokenError::Lines {
                from: from.name(),
                lines,
            }),
        }
    }

    /// Reads lines of an identity and its token; empty lines and those that begin with `#` say
    /// nothing. An identity may have several tokens, so that one can take another's place.
    fn parse(text: &[u8]) -> Result<Self, Vec<(usize, String)>> {
        let (mut tokens, mut wrong) = (Self::default(), Vec::new());
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match tokens.read(line) {
                Ok(token) => tokens.0.push(token),
                Err(why) => wrong.push((index + 1, why)),
            }
        }
        if tokens.0.len() > MOST_TOKENS {
            wrong.push((1, format!("there are more than {MOST_TOKENS} tokens")));
        }
        if wrong.is_empty() {
            Ok(tokens)
        } else {
            Err(wrong)
        }
    }

    fn read(&self, line: &[u8]) -> Result<(Digest, Arc<str>), String> {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let (Some(identity), Some(token), None) = (words.next(), words.next(), words.next()) else {
            return Err("it has to be an identity and its token, with a space between".to_owned());
        };
        let name = String::from_utf8_lossy(identity).parse::<Name>();
        // The error is not shown: the identity may be a token that was put first.
        let name =
            name.map_err(|_| "it does not begin with an identity such as client/shop".to_owned())?;
        if !(LEAST..=MOST).contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
            return Err(format!(
                "the token of {name} is not {LEAST} to {MOST} characters of ASCII, as \
                 `openssl rand -hex 32` makes them"
            ));
        }
        let digest = digest(&SHA256, token);
        match self.owner(&digest) {
            Some(other) => Err(format!("the token of {name} is that of {other} too")),
            None => Ok((digest, name.to_string().into())),
        }
    }

    /// Whose token an `Authorization` header shows.
    pub(super) fn identity_of(&self, authorization: &[u8]) -> Option<Arc<str>> {
        let token = authorization.get(BEARER.len()..)?;
        if !is_bearer(authorization) {
            return None;
        }
        self.owner(&digest(&SHA256, token.trim_ascii()))
    }

    fn owner(&self, shown: &Digest) -> Option<Arc<str>> {
        let mut owner = None;
        for (known, identity) in &self.0 {
            if verify_slices_are_equal(known.as_ref(), shown.as_ref()).is_ok() {
                owner = Some(identity);
            }
        }
        owner.cloned()
    }
}

/// What stands before a token in its header.
const BEARER: &[u8] = b"Bearer";

/// Whether a header is to hold a token.
pub(super) fn is_bearer(authorization: &[u8]) -> bool {
    let scheme = authorization.split(|byte| *byte == b' ').next();
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(BEARER))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

    use super::*;

    const LINES: &[u8] = b"# for the shop\nclient/shop 0123456789abcdef\n\n client/shop\tfedcba9876543210 \r\nclient/x ABCDEFGHIJKLMNOP";

    fn whose(authorization: &str) -> Option<String> {
        let tokens = Tokens::parse(LINES).unwrap_or_default();
        let identity = tokens.identity_of(authorization.as_bytes())?;
        Some(identity.to_string())
    }

    #[test]
    fn a_token_is_whose_line_it_stands_on() {
        let shop = Some("client/shop".to_owned());
        assert_eq!(whose("Bearer 0123456789abcdef"), shop);
        assert_eq!(whose("bearer  fedcba9876543210"), shop);
        assert_eq!(
            whose("Bearer ABCDEFGHIJKLMNOP"),
            Some("client/x".to_owned())
        );
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "Bearer 0123456789abcdee",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789ABCDEF",
        ] {
            assert_eq!(whose(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn all_wrong_lines_are_told_and_no_token_is() {
        let text = b"client/shop short\nsecret-token-of-some-length client/shop\n\nclient/a b c\nclient/a 0123456789abcdef\nclient/b 0123456789abcdef";
        let source = TokenSource::Given(text.to_vec().into());
        let error = Tokens::load(&source).err().unwrap().to_string();
        for line in [
            "4 problems in the tokens of NANO_TOKENS",
            "line 1",
            "line 2",
            "line 4",
            "line 6",
        ] {
            assert!(error.contains(line), "{error}");
        }
        for secret in ["short", "secret-token", "0123456789abcdef"] {
            assert!(!error.contains(secret), "{error}");
            assert!(!format!("{source:?}").contains(secret));
        }
    }
}
