//! A scrape: what the parts of the node count is put together as text. Nothing is counted for it but
//! how the routes stand, and nothing waits for it. docs/metrics.md lists what is in it.

mod calls;
mod links;
mod state;

use super::{
    AdminContext,
    exposition::{Exposition, Format},
};

/// All metrics of this moment.
pub(super) fn scrape(context: &AdminContext, format: Format) -> String {
    let mut text = Exposition::new(format);
    calls::write(&mut text, context);
    calls::write_http(&mut text, context);
    state::write_routes(&mut text, context);
    links::write(&mut text, context);
    state::write_cluster(&mut text, context);
    state::write_node(&mut text, context);
    state::write_process(&mut text);
    text.end()
}
