//! The answer to a go-nano program that would know where its subject is served, to call the service
//! itself from then on: the service's answer comes in, it goes out with the service's address.

use hyper::HeaderMap;
use nano_http::{Answer, Ends, JSON, ServiceAddress};

use super::call::Answered;

/// Puts the service's answer into one that says where the service is: at the HTTP port that it
/// has told of, or else where this node is, as its caller has reached it. One that is called over
/// HTTP has been asked the same, and says it itself.
pub(super) fn with_service(answered: Answered, headers: &HeaderMap, ends: Ends) -> Answer {
    let Answered { answer, member } = answered;
    let Some(member) = member.filter(|member| member.instance.upstream().is_none()) else {
        return answer;
    };
    let own = nano_http::reached_by(headers, ends.own);
    let is_here = ends.from.ip().is_loopback();
    let told = member.instance.http();
    let told = told.filter(|name| is_here || !name.is_local);
    let address = ServiceAddress {
        pattern: member.pattern.as_str(),
        service: told.map_or(&own, |name| &name.address),
        server: &own,
    };
    Answer {
        content_type: Some(JSON),
        body: address.wrap(&answer.body),
        ..answer
    }
}
