//! What an instance asks for: to serve patterns, to be called without a node, to leave. Each becomes a
//! command for the registry, which owns the routes.

use std::{net::SocketAddr, sync::Arc};

use nano_client::identity_of;
use nano_routing::Pattern;
use nano_tls::Distrust;
use nano_wire::{
    Code, Failure, Hop,
    control::ControlError,
    message::{ADDRESS_LIMIT, Control, ListenHttp, Register},
};

use super::{Asked, Session, SessionContext, bad_request};
use crate::{
    quota::Resource,
    reach::Listening,
    registry::Command,
    table::{Instance, Member, SocketName},
};

impl Session {
    pub(super) async fn register(
        &mut self,
        id: u64,
        register: Register,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        let member = match self.member(register, context) {
            Ok(member) => member,
            Err(failure) => return self.refuse(id, failure).await,
        };
        let asked = Asked::Register(id, member.pattern.clone());
        let register = |done| Command::Register { member, done };
        self.ask(asked, context, register).await;
        Ok(())
    }

    pub(super) async fn deregister(
        &mut self,
        id: u64,
        pattern: &str,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        let pattern = match parse(pattern) {
            Ok(pattern) => pattern,
            Err(failure) => return self.refuse(id, failure).await,
        };
        let Some(instance) = self.instance.clone() else {
            return self.sender.send(id, &Control::Done).await;
        };
        self.told_rules.serves_no_more(&pattern);
        let deregister = |done| Command::Deregister {
            instance,
            pattern,
            done,
        };
        self.ask(Asked::Change(id), context, deregister).await;
        Ok(())
    }

    /// The peer is to be given no more calls; an instance is taken out of the table first.
    pub(super) async fn drain(&mut self, id: u64, context: &SessionContext) {
        let Some(instance) = self.instance.clone() else {
            return self.end_calls(id);
        };
        self.is_leaving = true;
        let leave = |done| Command::Leave { instance, done };
        self.ask(Asked::Leave(id), context, leave).await;
    }

    /// Finds out whether an instance can be called without a node; once a session, lest a
    /// peer have others dialled again and again.
    pub(super) async fn listen(
        &mut self,
        id: u64,
        advertised: Option<String>,
        context: &Arc<SessionContext>,
    ) -> Result<(), ControlError> {
        let is_instance = self.instance.is_some() && self.reaching.is_none() && !self.has_listened;
        let length = advertised.as_ref().map_or(0, String::len);
        if !is_instance || length > ADDRESS_LIMIT {
            let message = format!(
                "an instance may say once where it listens, when it has registered, in at most \
                 {ADDRESS_LIMIT} bytes"
            );
            return self.refuse(id, bad_request(message)).await;
        }
        self.has_listened = true;
        let listening = Listening {
            identity: identity_of(self.link.connection()).map_err(ControlError::Ended)?,
            instance: self.id,
            seen: self.link.connection().remote_address(),
            advertised,
        };
        let context = Arc::clone(context);
        let confirm = async move { context.reach.confirm(&listening).await };
        self.reaching = Some(Box::pin(confirm));
        Ok(())
    }

    /// Notes where go-nano callers may be sent. It is not dialled: who cannot reach it comes
    /// back to the node.
    pub(super) async fn listen_http(
        &mut self,
        id: u64,
        listen: ListenHttp,
    ) -> Result<(), ControlError> {
        let Some(instance) = &self.instance else {
            let message = "an instance may say where it takes HTTP, when it has registered";
            return self.refuse(id, bad_request(message)).await;
        };
        let seen = self.link.connection().remote_address().ip().to_canonical();
        let is_local = listen.host.is_none() && seen.is_loopback();
        let address = match listen.host {
            Some(host) if host.contains(':') => format!("[{host}]:{}", listen.port),
            Some(host) => format!("{host}:{}", listen.port),
            None => SocketAddr::new(seen, listen.port).to_string(),
        };
        match address.parse() {
            Ok(address) => instance.listens_to_http(SocketName { address, is_local }),
            Err(reason) => {
                let message = format!("{address:?} is no host and port to take HTTP at: {reason}");
                self.refuse(id, bad_request(message)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn on_acknowledged(
        &mut self,
        asked: Asked,
        result: Result<(), Failure>,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        match (asked, result) {
            (Asked::Register(id, pattern), Ok(())) => {
                let rules = context.access.rules_whole();
                let messages = self.told_rules.serves(pattern, rules);
                self.send_all(messages).await?;
                self.sender.send(id, &Control::Done).await
            }
            (Asked::Change(id), Ok(())) => self.sender.send(id, &Control::Done).await,
            (Asked::Register(id, _) | Asked::Change(id), Err(failure)) => {
                self.refuse(id, failure).await
            }
            (Asked::Leave(id), result) => {
                if let Err(error) = result {
                    tracing::warn!(identity = self.usage.identity(), %error, "leaving was not recorded");
                }
                self.end_calls(id);
                Ok(())
            }
            (Asked::Dismissal, result) => {
                if let Err(error) = result {
                    tracing::warn!(identity = self.usage.identity(), %error, "a dismissal was not recorded");
                }
                self.link.drain();
                Ok(())
            }
        }
    }

    /// Has a peer leave that is not to be trusted any more: its routes go at once, what it is
    /// asked and asks is ended.
    pub(super) async fn dismiss(
        &mut self,
        why: &Distrust,
        context: &SessionContext,
    ) -> Result<(), ControlError> {
        let peer = self.link.connection().remote_address();
        tracing::warn!(%peer, identity = self.usage.identity(), %why, "ending a session");
        self.is_leaving = true;
        self.told = true;
        match &self.instance {
            Some(instance) => {
                let instance = Arc::clone(instance);
                let leave = |done| Command::Leave { instance, done };
                self.ask(Asked::Dismissal, context, leave).await;
            }
            None => self.link.drain(),
        }
        self.sender.send(0, &Control::Drain).await
    }

    /// What a registration adds to the table. With the first one the peer becomes an
    /// instance.
    fn member(&mut self, register: Register, context: &SessionContext) -> Result<Member, Failure> {
        let pattern = parse(&register.pattern)?;
        if self.is_leaving || self.link.is_draining() {
            let message = "the instance is leaving";
            return Err(Failure::not_sent(Code::Draining, Hop::Node, message));
        }
        let permit = self.usage.take(Resource::Patterns)?;
        let census = context.registry.table().census();
        let instance = self.instance.get_or_insert_with(|| {
            self.place.is_instance();
            let link = Arc::clone(&self.link);
            let identity = self.usage.identity().to_owned();
            Arc::new(Instance::connected(self.id, identity, link, census))
        });
        let instance = Arc::clone(instance);
        let member = Member::new(instance, pattern, register.policy, register.incarnation);
        Ok(member.holding(Some(permit)))
    }
}

fn parse(pattern: &str) -> Result<Pattern, Failure> {
    Pattern::parse(pattern).map_err(|error| bad_request(format!("the pattern is none: {error}")))
}
