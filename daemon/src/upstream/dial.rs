//! A connection to an HTTP service: its name is resolved each time, and each address that is found
//! is looked at before it is dialled.

use std::{borrow::Cow, io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::HttpAddress;
use crate::access::Access;

/// Longest wait for a name's addresses and a connection to one of them.
pub(super) const DIAL: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The fault is this node's own, e.g. that it has no descriptor left; it says nothing of the
    /// service.
    #[error("this node cannot make connections: {0}")]
    Own(io::Error),
    /// The service may not be called there.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
}

/// Connects to one of the addresses that a service has now.
pub(super) async fn dial(address: &HttpAddress, access: &Access) -> Result<TcpStream, DialError> {
    let dialled = timeout(DIAL, dial_in_turn(address, access)).await;
    dialled.unwrap_or_else(|_| {
        let message = format!("no connection to {address} within {DIAL:?}");
        Err(DialError::Unreachable(message))
    })
}

async fn dial_in_turn(address: &HttpAddress, access: &Access) -> Result<TcpStream, DialError> {
    let unreachable = |error: io::Error| match is_own(&error) {
        true => DialError::Own(error),
        false => DialError::Unreachable(format!("no connection to {address}: {error}")),
    };
    let found = lookup_host(address.as_str()).await.map_err(unreachable)?;
    let mut last = DialError::Unreachable(format!("{address} has no address"));
    for target in found {
        if let Err(reason) = may_be_dialled(target, address, access) {
            last = DialError::Forbidden(format!("{address} may not be called: {reason}"));
            continue;
        }
        match TcpStream::connect(target).await {
            Ok(stream) => {
                // Without it a request may wait for the acknowledgement of the one before.
                stream.set_nodelay(true).map_err(unreachable)?;
                return Ok(stream);
            }
            Err(error) => last = unreachable(error),
        }
    }
    Err(last)
}

/// Whether an address that a service's name has now may be dialled.
fn may_be_dialled(
    target: SocketAddr,
    address: &HttpAddress,
    access: &Access,
) -> Result<(), Cow<'static, str>> {
    if target.ip().is_multicast() {
        return Err("its address is one of many machines".into());
    }
    let allowed = access.may_dial(target.ip(), address, None);
    allowed.map_err(|failure| failure.message)
}

/// Whether an error is for want of something that this node, or its machine, has too little of.
fn is_own(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    let code = error.raw_os_error();
    own.iter().any(|own| Some(own.raw_os_error()) == code)
}
