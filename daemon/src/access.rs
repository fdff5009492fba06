//! Who may do what at this node: files of rules and tokens come in, and then identities with what
//! they ask for; out goes whether they may, or a failure that says which rule refuses it.
//!
//! [`Access`] owns what is in force. It is read anew by [`Access::reload`]; what is wrong with a
//! file then leaves all as it was. Readers see either the old or the new, and are told of a change
//! by a number.

mod file;
mod networks;
mod tokens;

use std::{
    borrow::Cow,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::{ArcSwap, Guard};
use nano_routing::{
    Pattern,
    rules::{Deed, Rules},
};
use nano_tls::short_name;
use nano_wire::{Code, Failure, Hop};
use tokio::sync::watch;

use crate::{config::Config, upstream::HttpAddress};

pub use file::{FileError, Mistake};
pub use networks::{Networks, NotNetworks, PRIVATE_NETWORKS};
use tokens::Tokens;
pub use tokens::{TOKENS_VARIABLE, TokenError, TokenSource};

/// The identity of callers over HTTP on loopback who show no token.
pub const HTTP_LOCAL: &str = "client/http-local";

/// Who is served over HTTP without a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HttpCallers {
    /// Those on loopback.
    #[default]
    Token,
    /// Everybody.
    Anyone,
}

/// The rules and tokens that are in force; by default none.
#[derive(Default)]
pub struct Access {
    settings: ArcSwap<Settings>,
    rules: ArcSwap<Rules>,
    tokens: ArcSwap<Tokens>,
    revision: watch::Sender<u64>,
}

/// What the configuration says of it.
#[derive(Default)]
struct Settings {
    rules_file: Option<PathBuf>,
    tokens_from: Option<TokenSource>,
    http_callers: HttpCallers,
    register_from: Networks,
    targets: Networks,
}

/// Why rules or tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The rules.
    #[error(transparent)]
    Rules(#[from] FileError),
    /// The tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
}

/// Who asks over HTTP. It shows itself nowhere, as it may hold a token.
#[derive(Clone, Copy)]
pub struct HttpPeer<'h> {
    /// Where the request comes from.
    pub ip: IpAddr,
    /// The listener is on loopback.
    pub is_on_loopback: bool,
    /// What stands in its `Authorization` header, if it has one.
    pub authorization: Option<&'h [u8]>,
}

impl<'h> HttpPeer<'h> {
    /// What it shows that is to be a token. What stands there by another scheme is for others, and
    /// not looked at.
    fn bearer(self) -> Option<&'h [u8]> {
        self.authorization.filter(|shown| tokens::is_bearer(shown))
    }
}

impl Settings {
    fn of(config: &Config) -> Self {
        Self {
            rules_file: config.rules.clone(),
            tokens_from: config.tokens.clone(),
            http_callers: config.http_callers,
            register_from: config.register_from.clone(),
            targets: config.allowed_targets.clone(),
        }
    }

    /// The rules and tokens that they name.
    fn read(&self) -> (Result<Rules, FileError>, Result<Tokens, TokenError>) {
        let rules = self.rules_file.as_deref().map(file::read);
        let tokens = self.tokens_from.as_ref().map(Tokens::load);
        (
            rules.unwrap_or_else(|| Ok(Rules::default())),
            tokens.unwrap_or_else(|| Ok(Tokens::default())),
        )
    }
}

/// All that is wrong with the rules and tokens that a configuration names.
pub fn mistakes(config: &Config) -> Vec<AccessError> {
    let (rules, tokens) = Settings::of(config).read();
    let rules = rules.err().map(AccessError::from);
    rules
        .into_iter()
        .chain(tokens.err().map(AccessError::from))
        .collect()
}

impl Access {
    /// As the configuration says.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or is not right; all that is wrong with it.
    pub fn load(config: &Config) -> Result<Arc<Self>, AccessError> {
        let access = Self::default();
        access.replace(config)?;
        Ok(Arc::new(access))
    }

    /// Reads rules and tokens anew.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). All stays as it was.
    pub fn reload(&self) -> Result<(), AccessError> {
        self.read(self.settings.load_full())
    }

    /// Does as another configuration says from now on, and reads its rules and tokens.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load). All stays as it was, which includes the settings.
    pub fn replace(&self, config: &Config) -> Result<(), AccessError> {
        self.read(Arc::new(Settings::of(config)))
    }

    fn read(&self, settings: Arc<Settings>) -> Result<(), AccessError> {
        let (rules, tokens) = settings.read();
        let (rules, tokens) = (rules?, tokens?);
        self.settings.store(settings);
        self.rules.store(Arc::new(rules));
        self.tokens.store(Arc::new(tokens));
        self.revision.send_modify(|revision| *revision += 1);
        Ok(())
    }

    /// The files that [`reload`](Self::reload) reads.
    pub fn files(&self) -> Vec<PathBuf> {
        let settings = self.settings.load();
        let tokens = settings.tokens_from.as_ref().and_then(TokenSource::file);
        let rules = settings.rules_file.as_deref();
        rules
            .into_iter()
            .chain(tokens)
            .map(Path::to_owned)
            .collect()
    }

    /// The rules that are in force.
    pub fn rules(&self) -> Guard<Arc<Rules>> {
        self.rules.load()
    }

    /// The same, to be kept.
    pub fn rules_whole(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Another number with each change.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Whether an identity may call a subject, which is in its one form.
    ///
    /// # Errors
    ///
    /// The rule that refuses it.
    pub fn may_call(&self, identity: &str, subject: &str) -> Result<(), Failure> {
        let rules = self.rules.load();
        match rules.let_all_call() {
            true => Ok(()),
            false => judge(&rules, Deed::Call, identity, subject),
        }
    }

    /// Whether an identity may register a pattern.
    ///
    /// # Errors
    ///
    /// The rule that refuses it.
    pub fn may_register(&self, identity: &str, pattern: &str) -> Result<(), Failure> {
        judge(&self.rules.load(), Deed::Register, identity, pattern)
    }

    /// The identity of who calls over HTTP.
    ///
    /// # Errors
    ///
    /// If the token is none, or there is none where one is needed.
    pub fn http_caller(&self, peer: HttpPeer<'_>) -> Result<Arc<str>, Failure> {
        match peer.bearer() {
            Some(authorization) => self.by_token(authorization),
            None if peer.is_on_loopback
                || self.settings.load().http_callers == HttpCallers::Anyone =>
            {
                Ok(HTTP_LOCAL.into())
            }
            None => Err(unauthenticated(
                "this listener is not on loopback, and serves those who show a token: \
                 Authorization: Bearer TOKEN",
            )),
        }
    }

    /// The identity of who registers over HTTP: as for [calls](Self::http_caller), and besides
    /// those in the networks that may do so without a token.
    ///
    /// # Errors
    ///
    /// If there is neither token nor network.
    pub fn http_registrar(&self, peer: HttpPeer<'_>) -> Result<Arc<str>, Failure> {
        match peer.bearer() {
            Some(authorization) => self.by_token(authorization),
            None if peer.is_on_loopback || self.lets_register_from(peer.ip) => {
                Ok(HTTP_LOCAL.into())
            }
            None => Err(forbidden(format!(
                "{} may not register here without a token: show one, or have its network added to \
                 register_from of the node",
                peer.ip.to_canonical()
            ))),
        }
    }

    /// Whether an address may be one that was registered over HTTP, and be dialled for that: when
    /// it is registered, `by` whoever does, and each time that it is resolved.
    ///
    /// # Errors
    ///
    /// If it lies outside of the allowed networks, or is of this machine and they are on another, or
    /// the name is none of this machine's.
    pub fn may_dial(
        &self,
        target: IpAddr,
        address: &HttpAddress,
        by: Option<IpAddr>,
    ) -> Result<(), Failure> {
        let target = target.to_canonical();
        if !self.settings.load().targets.contains(target) {
            return Err(forbidden(format!(
                "{target} is in none of the networks that allowed_targets of the node has"
            )));
        }
        let is_here = target.is_loopback() || target.is_unspecified();
        if is_here && !address.may_be_here() {
            return Err(forbidden(format!(
                "{address} leads to {target}, and is no name of this machine: register the IP \
                 address or localhost"
            )));
        }
        let is_far = by.is_some_and(|by| !by.to_canonical().is_loopback());
        if is_here && is_far {
            return Err(forbidden(format!(
                "{target} is of this machine, and who registers it is on another"
            )));
        }
        Ok(())
    }

    /// The identity of who reads or changes the node by its admin listener: on loopback as for
    /// [calls](Self::http_caller), elsewhere always by a token.
    ///
    /// # Errors
    ///
    /// If the token is none, or there is none where one is needed.
    pub fn operator(&self, peer: HttpPeer<'_>) -> Result<Arc<str>, Failure> {
        match peer.bearer() {
            Some(authorization) => self.by_token(authorization),
            None if peer.is_on_loopback => Ok(HTTP_LOCAL.into()),
            None => Err(unauthenticated(
                "the admin listener is not on loopback, and serves its API to those who show a \
                 token: Authorization: Bearer TOKEN",
            )),
        }
    }

    fn lets_register_from(&self, ip: IpAddr) -> bool {
        self.settings.load().register_from.contains(ip)
    }

    fn by_token(&self, authorization: &[u8]) -> Result<Arc<str>, Failure> {
        let identity = self.tokens.load().identity_of(authorization);
        identity.ok_or_else(|| {
            unauthenticated(
                "the Authorization header holds no token that this node knows: it has to be \
                 Bearer TOKEN",
            )
        })
    }
}

/// Whom the rules take an identity for. A service over HTTP can show none, whoever has registered
/// it.
fn party(identity: &str) -> &str {
    match HttpAddress::of_identity(identity) {
        Some(_) => HTTP_LOCAL,
        None => short_name(identity),
    }
}

/// Whether an identity may register a pattern, if only that is asked.
pub fn lets_register(rules: &Rules, identity: &str, pattern: &Pattern) -> bool {
    rules.let_all_register() || {
        let verdict = rules.judge(Deed::Register, party(identity), pattern.as_str());
        verdict.is_allowed
    }
}

fn judge(rules: &Rules, deed: Deed, identity: &str, pattern: &str) -> Result<(), Failure> {
    let identity = party(identity);
    let verdict = rules.judge(deed, identity, pattern);
    match verdict.is_allowed {
        true => Ok(()),
        false => Err(forbidden(verdict.refusal(deed, identity, pattern))),
    }
}

fn forbidden(message: impl Into<Cow<'static, str>>) -> Failure {
    Failure::not_sent(Code::Forbidden, Hop::Node, message)
}

fn unauthenticated(message: &'static str) -> Failure {
    Failure::not_sent(Code::Unauthenticated, Hop::Node, message)
}

#[cfg(test)]
mod tests;
