//! Calls to instances that are reached over HTTP: a call is handed to whoever waits for its answer,
//! which is an HTTP request's own task, or one that is made for a call that came in on a link.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use nano_http::Answer;
use nano_routing::Candidate;
use nano_wire::{
    CallId, Certainty, Code, Encoding, Failure, Hop, ReplyHeader,
    lane::{OutBody, Reason},
};

use super::{
    Given, Job, NodeLink, ReplyTo,
    attempt::{Attempt, NotForwarded, refusal},
    fail,
    refusals::not_sent,
};
use crate::{
    listen::Routed,
    observe::Observed,
    table::Member,
    upstream::{Payload, Upstream, UpstreamCall, headers, with_pattern},
};

impl Attempt<'_, '_, '_> {
    /// As [`forward`](Self::forward), to an HTTP service.
    pub(super) fn forward_over_http(
        mut self,
        upstream: &Arc<Upstream>,
        member: &Arc<Member>,
        now: Duration,
    ) -> Result<Option<Job>, NotForwarded<Self>> {
        let is_relayed = matches!(self.body, OutBody::Relay(_));
        if !member.called().figures.begin(member.limit(), now) {
            return Err((Box::new(self), refusal(Reason::Full, member)));
        }
        if let Err(message) = self.fit_body() {
            member.called().figures.withdraw();
            let failure = not_sent(Code::BadRequest, message)
                .at_instance(member.instance.id)
                .of_pattern(member.pattern.as_str());
            return Err((Box::new(self), Some(failure)));
        }
        let given = Given {
            is_relayed,
            patience: self.header.remaining(),
            member: Arc::clone(member),
            permit: self.permit,
            begun: self.now,
        };
        let payload = match self.body {
            OutBody::Relay(body) => Payload::Coming(body, self.header.subject.to_owned()),
            OutBody::Bytes(bytes) => Payload::Whole(bytes),
            OutBody::Slice(slice) => Payload::Whole(Bytes::copy_from_slice(slice)),
        };
        let headers = headers(&self.header, upstream.address());
        let deadline = self.now + self.header.remaining();
        let call = UpstreamCall::new(given, self.table, upstream, headers, payload, deadline);
        Ok(match self.reply_to {
            ReplyTo::Http(request) => {
                // A request whose client has left needs no answer: the call is dropped.
                let _ = request.send(Routed::Given(Box::new(call)));
                None
            }
            ReplyTo::Link(link, id, observed) => {
                Some(Job::Task(answer_on(link, id, observed, call)))
            }
        })
    }

    /// Makes of a body that came on a link what an HTTP service takes; one that is still coming is
    /// looked at when it is there. What came over HTTP is that already.
    fn fit_body(&mut self) -> Result<(), String> {
        if self.header.encoding != Encoding::Json {
            return Err("the instance is an HTTP service, which takes JSON only".to_owned());
        }
        if let OutBody::Slice(slice) = self.body {
            self.body = OutBody::Bytes(with_pattern(slice, self.header.subject)?);
        }
        Ok(())
    }
}

fn answer_on(
    link: Arc<NodeLink>,
    id: CallId,
    observed: Option<Observed>,
    call: UpstreamCall,
) -> tokio::task::AbortHandle {
    let answering = Arc::clone(&link);
    link.spawn(async move {
        match call.run().await {
            Ok((reply, member)) => answer(&answering, id, observed, reply, &member),
            Err(failed) => fail(&answering, id, observed, &failed.failure),
        }
    })
}

/// Whoever calls by a link expects an answer that is none of HTTP's: a success, or a failure.
fn answer(
    link: &Arc<NodeLink>,
    id: CallId,
    observed: Option<Observed>,
    reply: Answer,
    member: &Member,
) {
    if reply.status.is_success() {
        if let Some(observed) = observed {
            observed.answered(reply.body.len() as u64);
        }
        let header = ReplyHeader {
            encoding: Encoding::Json,
            ..ReplyHeader::default()
        };
        return link.reply(id, header, OutBody::Bytes(reply.body));
    }
    let failure = unsuccessful(&reply)
        .at_instance(member.instance.id)
        .of_pattern(member.pattern.as_str());
    fail(link, id, observed, &failure);
}

/// The service's own failure; its body is the data, as it is if that is JSON, else as text.
pub(crate) fn unsuccessful(reply: &Answer) -> Failure {
    let body = &reply.body;
    let message = format!("the service answered {}", reply.status);
    let told = reply.failed;
    let (code, certainty) = told.unwrap_or((Code::HandlerFailed, Certainty::Executed));
    let failure = Failure::new(code, certainty, Hop::Instance, message);
    if body.is_empty() {
        return failure;
    }
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let data = match is_json {
        true => body.to_vec(),
        false => serde_json::Value::from(String::from_utf8_lossy(body))
            .to_string()
            .into_bytes(),
    };
    failure.with_data(Encoding::Json, data)
}
