//! How a session begins: a connection comes in, and goes out as a session once its peer has said who
//! it is and heard who we are.

use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use nano_client::identity_of;
use nano_tls::Kind;
use nano_wire::{
    Hop, control,
    lane::{Link, LinkConfig},
    message::{Control, Hello, OLDEST_VERSION, VERSION, Welcome},
};
use quinn::Connection;
use tokio::time::Instant;

use super::{Session, SessionContext, Standing, ToldRules};
use crate::{
    quota::Resource,
    status::AGENT,
    switch::Switch,
    watch::{MayCall, Watches},
};

/// Learns who the peer is and tells it who we are.
pub(super) async fn greet(
    connection: &Connection,
    context: &Arc<SessionContext>,
) -> Result<Session, String> {
    let identity = identity_of(connection)?;
    let usage = context.quotas.of(&identity.to_string());
    let permit = usage.take(Resource::Sessions).map_err(text)?;
    let (mut sender, mut receiver) = control::accept(connection).await.map_err(text)?;
    let hello = match receiver.recv().await.map_err(text)? {
        (_, Control::Hello(hello)) => hello,
        _ => return Err("its first message is no hello".to_owned()),
    };
    let version = common_version(&hello)?;
    let welcome = Welcome {
        version,
        instance: context.node,
        limits: context.limits,
        agent: AGENT.to_owned(),
    };
    sender
        .send(0, &Control::Welcome(welcome))
        .await
        .map_err(text)?;
    let config = LinkConfig {
        own: context.limits,
        peer: hello.limits,
        as_caller: Hop::Node,
        as_callee: Hop::Node,
        tasks: context.tasks.clone(),
    };
    let table = Arc::clone(context.registry.table());
    let switch = match identity.kind() {
        Kind::Node => Switch::for_node(table, Arc::clone(&usage)),
        _ => {
            let (access, go_nano) = (Arc::clone(&context.access), context.go_nano.clone());
            Switch::new(table, access, go_nano, Arc::clone(&usage))
        }
    };
    let switch = switch.observed(context.observer.clone());
    let may_call: MayCall = match identity.kind() {
        Kind::Node => Box::new(|_| true),
        _ => {
            let (access, caller) = (Arc::clone(&context.access), identity.short());
            Box::new(move |subject| access.may_call(&caller, subject).is_ok())
        }
    };
    let link = Link::start(connection.clone(), config, switch);
    let place = context.sessions.enter(Arc::clone(&link));
    let is_node = identity.kind() == Kind::Node;
    if is_node {
        place.is_instance();
        place.has_moved();
    }
    Ok(Session {
        place,
        is_node,
        link,
        sender,
        receiver,
        id: hello.instance,
        usage,
        _permit: permit,
        agent: hello.agent,
        instance: None,
        requests: FuturesUnordered::new(),
        watches: FuturesUnordered::new(),
        is_leaving: false,
        leaving: None,
        warned: false,
        told: false,
        has_listened: false,
        reaching: None,
        told_routes: Watches::new(connection.remote_address().ip(), may_call),
        told_rules: ToldRules::default(),
        rules: context.access.revisions(),
        next_news: Instant::now(),
        changes: None,
        standing: Standing::new(&context.credentials, connection),
    })
}

fn common_version(hello: &Hello) -> Result<u16, String> {
    if hello.oldest > VERSION || hello.version < OLDEST_VERSION {
        return Err(format!(
            "it speaks versions {} to {} of the protocol, this node {OLDEST_VERSION} to {VERSION}",
            hello.oldest, hello.version
        ));
    }
    Ok(hello.version.min(VERSION))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
