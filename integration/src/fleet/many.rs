//! Many patterns: a node and how they are named come in, the services that serve them go out.

use std::time::Duration;

use nano_client::Service;
use nano_integration::Node;

use crate::Result;

/// Patterns of one service.
const EACH: usize = 10_000;

/// Longest wait for the patterns of one to be registered.
const REGISTERING: Duration = Duration::from_secs(300);

/// Registers so many patterns, each named by its number. They answer with what they are given.
pub(crate) async fn register(
    node: &Node,
    patterns: usize,
    pattern: impl Fn(usize) -> String,
) -> Result<Vec<Service>> {
    let mut services = Vec::new();
    for first in (0..patterns).step_by(EACH) {
        let mut service = Service::builder();
        for number in first..patterns.min(first + EACH) {
            service = service.on_raw(&pattern(number), |_, body| async move { Ok(body) });
        }
        let options = node.options().connect_timeout(REGISTERING);
        services.push(service.start(options).await?);
    }
    Ok(services)
}
