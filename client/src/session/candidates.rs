//! Which addresses of which nodes are tried in one round of attempts: names come in,
//! addresses come out in random order, each once. Nothing is dialled here.

use std::{collections::HashSet, fmt, future::Future, io, net::SocketAddr, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{net::lookup_host, time::timeout};

/// Names that are resolved in a round, and addresses that are tried; which ones, if there
/// are more, is drawn anew for each.
const MOST: usize = 16;

/// Longest wait for a name's addresses. A resolver gives up its first server after 5 s,
/// see resolv.conf(5).
const RESOLUTION: Duration = Duration::from_secs(6);

/// An address of a node, and the name that it was found by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub(super) address: SocketAddr,
    name: String,
}

/// What a name stands for.
pub(super) type Lookup = (String, io::Result<Vec<SocketAddr>>);

/// Those that are still to be tried.
pub(super) struct Candidates {
    /// The one to begin with.
    home: Option<Candidate>,
    lookups: FuturesUnordered<BoxFuture<'static, Lookup>>,
    waiting: Vec<Candidate>,
    /// What has been among them, or is not to be.
    known: HashSet<SocketAddr>,
}

impl Candidates {
    /// Those of a round, without the addresses of nodes that are leaving.
    pub(super) fn new(names: &[String], home: Option<Candidate>, leaving: &[SocketAddr]) -> Self {
        let drawn = fastrand::choose_multiple(names.iter().cloned(), MOST);
        let mut known: HashSet<_> = leaving.iter().copied().collect();
        let home = home.filter(|home| known.insert(home.address));
        Self {
            home,
            lookups: drawn
                .into_iter()
                .map(|name| look_up(name).boxed())
                .collect(),
            waiting: Vec::new(),
            known,
        }
    }

    /// Waits for the next name to be resolved, if any still is to be.
    pub(super) fn resolved(&mut self) -> impl Future<Output = Option<Lookup>> {
        self.lookups.next()
    }

    /// Whether further names are being resolved.
    pub(super) fn is_resolving(&self) -> bool {
        !self.lookups.is_empty()
    }

    /// Adds the addresses of a name.
    pub(super) fn add(&mut self, name: &str, mut addresses: Vec<SocketAddr>) {
        fastrand::shuffle(&mut addresses);
        for address in addresses {
            if self.known.len() < MOST && self.known.insert(address) {
                let name = name.to_owned();
                self.waiting.push(Candidate { address, name });
            }
        }
    }

    /// Adds one that was taken, but not tried to the end.
    pub(super) fn put_back(&mut self, candidate: Candidate) {
        self.waiting.push(candidate);
    }

    /// Whether one is left now.
    pub(super) fn has_next(&self) -> bool {
        self.home.is_some() || !self.waiting.is_empty()
    }

    /// Takes one: that to begin with, then any.
    pub(super) fn next(&mut self) -> Option<Candidate> {
        self.home.take().or_else(|| {
            let last = self.waiting.len().checked_sub(1)?;
            Some(self.waiting.swap_remove(fastrand::usize(..=last)))
        })
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        if self.name == address {
            return f.write_str(&address);
        }
        write!(f, "{} ({address})", self.name)
    }
}

async fn look_up(name: String) -> Lookup {
    let found = timeout(RESOLUTION, lookup_host(&name)).await;
    let found = found.unwrap_or_else(|_| {
        let message = format!("no answer of the resolver for {RESOLUTION:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    });
    let addresses = found.map(|addresses| addresses.collect());
    (name, addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], number))
    }

    fn candidate(number: u16) -> Candidate {
        let address = address(number);
        let name = address.to_string();
        Candidate { address, name }
    }

    fn drain(mut candidates: Candidates) -> Vec<u16> {
        std::iter::from_fn(|| candidates.next())
            .map(|candidate| candidate.address.port())
            .collect()
    }

    fn sorted(mut ports: Vec<u16>) -> Vec<u16> {
        ports.sort_unstable();
        ports
    }

    #[test]
    fn each_address_comes_once_whatever_its_names() {
        let mut candidates = Candidates::new(&[], None, &[]);
        candidates.add("one", vec![address(1), address(2)]);
        candidates.add("other", vec![address(2), address(3)]);
        assert_eq!(sorted(drain(candidates)), [1, 2, 3]);
    }

    #[test]
    fn home_comes_first_and_what_leaves_not_at_all() {
        let mut candidates = Candidates::new(&[], Some(candidate(3)), &[address(2)]);
        candidates.add("all", (1..=4).map(address).collect());
        let order = drain(candidates);
        assert_eq!(order[0], 3);
        assert_eq!(sorted(order), [1, 3, 4]);
    }

    #[test]
    fn a_home_that_leaves_is_none() {
        let candidates = Candidates::new(&[], Some(candidate(1)), &[address(1)]);
        assert!(!candidates.has_next());
    }

    #[test]
    fn a_round_is_bounded_and_begins_anywhere() {
        let mut first = HashSet::new();
        for _ in 0..1_000 {
            let mut candidates = Candidates::new(&[], None, &[]);
            candidates.add("many", (0..100).map(address).collect());
            let order = drain(candidates);
            assert_eq!(order.len(), MOST);
            first.insert(order[0]);
        }
        assert!(first.len() > 50, "{first:?}");
    }

    #[test]
    fn a_candidate_is_named_by_name_and_address() {
        assert_eq!(candidate(7).to_string(), "192.0.2.1:7");
        let named = Candidate {
            name: "node.example:7".to_owned(),
            ..candidate(7)
        };
        assert_eq!(named.to_string(), "node.example:7 (192.0.2.1:7)");
    }
}
