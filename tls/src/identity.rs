//! Who a party is: text and URIs come in, checked names go out. Values without state.
//!
//! An identity is one SPIFFE ID, `spiffe://<trust domain>/<kind>/<name>`. Nothing is normalised:
//! a text either is an identity as it stands, or none, so that equality of identities is equality
//! of their texts.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// The trust domain of an authority that was given none.
pub const TRUST_DOMAIN: &str = "nano.local";

/// What sort of party one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A `nanod`.
    Node,
    /// Something that answers calls.
    Service,
    /// Something that only calls.
    Client,
}

impl Kind {
    /// The kind as it stands in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Service => "service",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "node" => Ok(Self::Node),
            "service" => Ok(Self::Service),
            "client" => Ok(Self::Client),
            _ => Err(Error::Kind { given: cut(text) }),
        }
    }
}

/// A party within a trust domain, as the command line writes it: `node/a`, `service/math`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    kind: Kind,
    name: String,
}

impl Name {
    /// A party of this kind. The name is one path segment of a SPIFFE ID: letters, digits, `.`,
    /// `-` and `_`, other than `.` and `..`.
    pub fn new(kind: Kind, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        match broken_name_rule(&name) {
            None => Ok(Self { kind, name }),
            Some(why) => Err(Error::Name {
                given: cut(&name),
                why,
            }),
        }
    }

    /// The name nearest to what a machine or a program is called: other characters become
    /// `-`, and what leaves nothing to go by becomes `unnamed`.
    pub fn nearest(kind: Kind, called: &str) -> Self {
        let name: String = called
            .chars()
            .take(MAX_NEAREST)
            .map(|char| if is_in_name(char) { char } else { '-' })
            .collect();
        let is_telling = name.contains(|char: char| char.is_ascii_alphanumeric());
        let name = if is_telling { name } else { "unnamed".into() };
        Self { kind, name }
    }

    /// What sort of party it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name within its kind.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((kind, name)) = text.split_once('/') else {
            return Err(Error::Name {
                given: cut(text),
                why: "write it as <kind>/<name>, for example service/math",
            });
        };
        Self::new(kind.parse()?, name)
    }
}

/// Who a party is, everywhere: a trust domain and a party within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    trust_domain: String,
    name: Name,
}

impl Identity {
    /// The party of this kind and name within a trust domain.
    pub fn new(
        trust_domain: impl Into<String>,
        kind: Kind,
        name: impl Into<String>,
    ) -> Result<Self> {
        Self::of(trust_domain, Name::new(kind, name)?)
    }

    /// A named party within a trust domain.
    pub fn of(trust_domain: impl Into<String>, name: Name) -> Result<Self> {
        let trust_domain = trust_domain.into();
        check_trust_domain(&trust_domain)?;
        let identity = Self { trust_domain, name };
        let uri = identity.to_string();
        if uri.len() > MAX_URI {
            return Err(Error::Uri {
                given: cut(&uri),
                why: format!("{} bytes, more than {MAX_URI}", uri.len()),
            });
        }
        Ok(identity)
    }

    /// The identity that a URI is.
    pub fn parse_uri(uri: &str) -> Result<Self> {
        let rest = uri.strip_prefix(SCHEME).ok_or_else(|| Error::Uri {
            given: cut(uri),
            why: format!("it does not begin with {SCHEME}"),
        })?;
        let (trust_domain, path) = rest.split_once('/').ok_or_else(|| Error::Uri {
            given: cut(uri),
            why: "it has no path".into(),
        })?;
        path.parse()
            .and_then(|name| Self::of(trust_domain, name))
            .map_err(|error| match error {
                Error::Uri { .. } => error,
                part => Error::Uri {
                    given: cut(uri),
                    why: part.to_string(),
                },
            })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// What sort of party it is.
    pub fn kind(&self) -> Kind {
        self.name.kind
    }

    /// The name within its kind.
    pub fn name(&self) -> &str {
        &self.name.name
    }

    /// The identity without its trust domain: `service/math`.
    pub fn short(&self) -> String {
        self.name.to_string()
    }
}

/// The URI.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.trust_domain, self.name)
    }
}

/// An identity's text without its trust domain, `service/math`; a text that is no URI as it is.
pub fn short_name(identity: &str) -> &str {
    let path = identity
        .strip_prefix(SCHEME)
        .and_then(|rest| rest.split_once('/'));
    path.map_or(identity, |(_, path)| path)
}

/// The URI of a trust domain itself, which its authority bears.
pub(crate) fn authority_uri(trust_domain: &str) -> String {
    format!("{SCHEME}{trust_domain}")
}

/// The trust domain that an authority's URI names.
pub(crate) fn parse_authority_uri(uri: &str) -> Result<String> {
    let trust_domain = uri.strip_prefix(SCHEME).ok_or_else(|| Error::TrustDomain {
        given: cut(uri),
        why: "an authority's URI is spiffe://<trust domain>",
    })?;
    check_trust_domain(trust_domain)?;
    Ok(trust_domain.to_owned())
}

/// Refuses what SPIFFE does not allow as a trust domain.
pub(crate) fn check_trust_domain(text: &str) -> Result<()> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > MAX_TRUST_DOMAIN {
        "it is longer than 255 bytes"
    } else if !text
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
    {
        "only lower-case letters, digits, '.', '-' and '_' are allowed"
    } else {
        return Ok(());
    };
    Err(Error::TrustDomain {
        given: cut(text),
        why,
    })
}

fn broken_name_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name == "." || name == ".." {
        Some("'.' and '..' are not allowed")
    } else if !name.chars().all(is_in_name) {
        Some("only letters, digits, '.', '-' and '_' are allowed")
    } else {
        None
    }
}

fn is_in_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_')
}

/// What an error shows of a text that anybody may have sent.
fn cut(text: &str) -> String {
    const SHOWN: usize = 120;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

const SCHEME: &str = "spiffe://";
const MAX_TRUST_DOMAIN: usize = 255;
const MAX_URI: usize = 2048;

/// As long as a host name may be on Linux.
const MAX_NEAREST: usize = 64;
