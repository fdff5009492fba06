//! Every way this crate can fail: what was wrong, where, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::{Expect, Identity};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that is no trust domain.
    #[error("{given:?} is not a trust domain: {why}")]
    TrustDomain {
        /// The text, cut when it is long.
        given: String,
        /// The rule it breaks.
        why: &'static str,
    },

    /// A text that is no kind of party.
    #[error("{given:?} is not a kind: write node, service or client")]
    Kind {
        /// The text, cut when it is long.
        given: String,
    },

    /// A text that is no name of a party.
    #[error("{given:?} is not a name: {why}")]
    Name {
        /// The text, cut when it is long.
        given: String,
        /// The rule it breaks.
        why: &'static str,
    },

    /// A URI that is no identity.
    #[error("{given:?} is not an identity, spiffe://<trust domain>/<kind>/<name>: {why}")]
    Uri {
        /// The URI, cut when it is long.
        given: String,
        /// The rule it breaks.
        why: String,
    },

    /// A certificate that cannot be read.
    #[error("not a usable certificate: {0}")]
    Certificate(String),

    /// A certificate without exactly one URI.
    #[error(
        "the certificate names {found} URIs: it must name exactly one, spiffe://<trust domain>/<kind>/<name>"
    )]
    UriCount {
        /// How many it names.
        found: usize,
    },

    /// The peer showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,

    /// A peer of another trust domain, though of an authority that is trusted.
    #[error("the peer is {peer}, which is outside our trust domain {trust_domain}")]
    ForeignPeer {
        /// Who the peer is.
        peer: Identity,
        /// The trust domain of our own certificate.
        trust_domain: String,
    },

    /// A peer of our trust domain, but not the one that was called.
    #[error("the peer is {peer}, not {expected} as expected")]
    WrongPeer {
        /// Who the peer is.
        peer: Identity,
        /// Who was to answer.
        expected: Expect,
    },

    /// The system refused to read or write.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A file that has to be there is not.
    #[error("{path} is missing: {fix}", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        fix: &'static str,
    },

    /// A file is there, but what it holds is of no use.
    #[error("{path}: {cause}; {fix}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it. It is part of the message, and so no `source`.
        cause: Box<Error>,
        /// What to do.
        fix: &'static str,
    },

    /// A file's PEM text is broken, or holds nothing of the sort that is needed.
    #[error("no {what} in PEM: {why}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// What was found instead.
        why: String,
    },

    /// A private key that cannot be used.
    #[error("not a usable private key: {0}")]
    Key(String),

    /// Somebody else can get at a private key or a secret.
    #[error(
        "{path} is open to other users (mode {mode:03o}): run `chmod 600 {path}` (a Kubernetes Secret is mounted with defaultMode 0440), and replace what it holds if others may have read it",
        path = path.display()
    )]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// A key and a certificate that are not a pair.
    #[error(
        "{key} is not the key of {certificate}: put a matching pair there, or issue the folder anew",
        key = key.display(),
        certificate = certificate.display()
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },

    /// A cluster's secret that could be guessed.
    #[error(
        "the cluster's secret has {found} bytes, and needs at least {least}: make one with `openssl rand -hex 32`"
    )]
    SecretShort {
        /// How many it has.
        found: usize,
        /// How many it needs.
        least: usize,
    },

    /// A text too long to be a cluster's secret.
    #[error("the cluster's secret has more than {most} bytes: is it the right one?")]
    SecretLong {
        /// How many it may have.
        most: usize,
    },

    /// A cluster's secret from two sources, of which none is the obvious one.
    #[error(
        "the cluster's secret is given twice, in NANO_CLUSTER_SECRET and in the file {}: give one of them",
        file.display()
    )]
    SecretTwice {
        /// The file.
        file: PathBuf,
    },

    /// An authority is never overwritten.
    #[error(
        "{path} already exists: all that trust this authority would be cut off; choose another folder, or move this one away first",
        path = path.display()
    )]
    AuthorityExists {
        /// The file that is in the way.
        path: PathBuf,
    },

    /// The authority can issue nothing more.
    #[error(
        "the authority of {trust_domain} has expired: make a new one and issue all bundles anew"
    )]
    AuthorityExpired {
        /// Its trust domain.
        trust_domain: String,
    },

    /// A revocation list that cannot be used.
    #[error("not a usable revocation list: {0}")]
    RevocationList(String),

    /// A certificate that is not valid at this time.
    #[error("the certificate of {identity} is not valid {when}: issue another one")]
    NotValid {
        /// Whose it is.
        identity: Identity,
        /// `yet` or `any more`.
        when: &'static str,
    },

    /// Files that were replaced by another party's.
    #[error(
        "the certificate is that of {found} now, and this process is {own}: put a certificate of \
         {own} there, or start anew"
    )]
    OtherIdentity {
        /// Whose it is.
        found: String,
        /// Whose it was.
        own: String,
    },

    /// A line in an authority's list of what it has issued that is none.
    #[error("{path}: the line {line:?} is not of the form SERIAL END IDENTITY: remove it", path = path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// The line.
        line: String,
    },

    /// An identity of which an authority knows no certificate.
    #[error(
        "the authority has no valid certificate of {identity} on record: name the file of the \
         certificate that is to be revoked"
    )]
    NotIssued {
        /// The identity.
        identity: Identity,
    },

    /// A certificate that another authority issued.
    #[error("{path} was not issued by this authority", path = path.display())]
    NotOurs {
        /// The certificate's file.
        path: PathBuf,
    },

    /// A certificate could not be made.
    #[error("cannot make the certificate: {0}")]
    Issue(#[from] rcgen::Error),

    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,

    /// rustls refused a configuration.
    #[error("cannot configure TLS: {0}")]
    Config(String),
}

impl Error {
    /// The same, in the file it was found in, with what to do about it.
    pub(crate) fn in_file(self, path: impl Into<PathBuf>, fix: &'static str) -> Self {
        Self::File {
            path: path.into(),
            cause: Box::new(self),
            fix,
        }
    }

    /// What the system answered when something was tried on a path.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}
