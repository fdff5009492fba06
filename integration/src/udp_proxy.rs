//! A way over UDP that can be cut, for all or for what some processes send, or lose some of what it
//! carries: datagrams come in at an address that a node advertises, and go on to the node.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    net::UdpSocket,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{ANY, process};

/// Larger than any datagram.
const DATAGRAM: usize = 65_536;

/// A way to a node, from an address of its own. It ends when this is dropped.
pub struct UdpProxy {
    address: SocketAddr,
    node: watch::Sender<Option<SocketAddr>>,
    cut: Arc<Mutex<Cut>>,
    carried: Arc<AtomicUsize>,
    carrying: JoinHandle<()>,
}

/// Whose datagrams do not arrive, in either direction.
#[derive(Default)]
struct Cut {
    all: bool,
    /// One of so many is lost.
    one_of: Option<usize>,
    pids: HashSet<u32>,
    /// Sources that are known, and whether they are of those processes.
    sources: HashMap<SocketAddr, bool>,
}

impl UdpProxy {
    /// A way that leads nowhere yet, since an address is advertised before there is a node.
    ///
    /// # Panics
    ///
    /// If the system has no port left.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind(ANY).await.expect("a port is free");
        let address = socket.local_addr().expect("a bound socket has one");
        let (node, target) = watch::channel(None);
        let cut = Arc::new(Mutex::default());
        let carried = Arc::default();
        let carrying = tokio::spawn(carry(
            Arc::new(socket),
            target,
            Arc::clone(&cut),
            Arc::clone(&carried),
        ));
        Self {
            address,
            node,
            cut,
            carried,
            carrying,
        }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it lead to a node, or whoever else is at an address. Nothing comes any more from where
    /// it led before.
    pub fn lead_to(&self, node: SocketAddr) {
        self.node.send_replace(Some(node));
    }

    /// How many datagrams have gone where it leads.
    #[must_use]
    pub fn carried(&self) -> usize {
        self.carried.load(Ordering::Relaxed)
    }

    /// Cuts it for everybody, or no longer.
    pub fn cut(&self, is_cut: bool) {
        self.cut.lock().all = is_cut;
    }

    /// Has it lose one of so many datagrams, drawn at random, in either direction; `None` for none.
    pub fn lose_one_of(&self, datagrams: Option<usize>) {
        self.cut.lock().one_of = datagrams;
    }

    /// Cuts it for these processes, and for no others.
    pub fn cut_from(&self, pids: impl IntoIterator<Item = u32>) {
        let mut cut = self.cut.lock();
        cut.pids = pids.into_iter().collect();
        cut.sources.clear();
    }
}

impl Drop for UdpProxy {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

impl Cut {
    fn holds_up(&mut self, source: SocketAddr) -> bool {
        if self
            .one_of
            .is_some_and(|datagrams| fastrand::usize(..datagrams) == 0)
        {
            return true;
        }
        if self.all || self.pids.is_empty() {
            return self.all;
        }
        let pids = &self.pids;
        let is_theirs = || {
            pids.iter()
                .any(|pid| process::udp_ports(*pid).contains(&source.port()))
        };
        *self.sources.entry(source).or_insert_with(is_theirs)
    }
}

/// Carries datagrams there, and those of each answer back.
async fn carry(
    front: Arc<UdpSocket>,
    mut node: watch::Receiver<Option<SocketAddr>>,
    cut: Arc<Mutex<Cut>>,
    carried: Arc<AtomicUsize>,
) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answering = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            biased;
            changed = node.changed() => {
                if changed.is_err() {
                    return;
                }
                backs.clear();
                answering.shutdown().await;
                continue;
            }
            received = front.recv_from(&mut datagram) => received,
        };
        let Ok((length, source)) = received else {
            continue;
        };
        if cut.lock().holds_up(source) {
            continue;
        }
        let Some(target) = *node.borrow() else {
            continue;
        };
        let back = match backs.entry(source) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let back = connected(target).await;
                let (front, cut) = (Arc::clone(&front), Arc::clone(&cut));
                answering.spawn(answer(Arc::clone(&back), front, source, cut));
                new.insert(back)
            }
        };
        // Datagrams may get lost: the node may be gone.
        if back.send(&datagram[..length]).await.is_ok() {
            carried.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn answer(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    source: SocketAddr,
    cut: Arc<Mutex<Cut>>,
) {
    let mut datagram = vec![0; DATAGRAM];
    loop {
        // A node that is gone may be back.
        let Ok(length) = back.recv(&mut datagram).await else {
            continue;
        };
        if !cut.lock().holds_up(source) {
            let _ = front.send_to(&datagram[..length], source).await;
        }
    }
}

async fn connected(target: SocketAddr) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind(ANY).await.expect("a port is free");
    let connected = socket.connect(target).await;
    connected.expect("any address can be connected to");
    Arc::new(socket)
}
