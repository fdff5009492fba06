//! The file descriptors that the process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for all that is no connection: sockets that listen, the store, threads.
const OTHERS: u64 = 256;

/// Takes as many as the system grants, which starts a process with fewer: a thousand, most
/// often. Warns if HTTP connections can take all of them, of which callers and services may each
/// have so many, since no further one is then accepted.
pub fn raise(http_connections: usize) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let granted = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, granted) {
        tracing::warn!(%error, "the limit of file descriptors cannot be raised");
    }
    let current = getrlimit(Resource::Nofile).current;
    let needed = 2 * http_connections as u64 + OTHERS;
    if let Some(current) = current.filter(|current| *current < needed) {
        tracing::warn!(
            "the system grants {current} file descriptors, and {http_connections} HTTP connections \
             from callers and as many to services need {needed}: raise its limit (LimitNOFILE, \
             ulimit -n) or lower max_connections"
        );
    }
}
