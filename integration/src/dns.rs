//! A name server as a network of containers has: it knows the addresses of the hosts by their names, and
//! no others. RFC 1035 has the form of a message.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use parking_lot::Mutex;
use tokio::{net::UdpSocket, task::JoinHandle};

use crate::Hosts;

/// The port of name servers.
const PORT: u16 = 53;

/// Bytes of a message's header.
const HEADER: usize = 12;

/// A query's class and type that ask for an IPv4 address.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// It answers until it is dropped.
pub struct Dns {
    answered: Arc<Mutex<BTreeMap<String, usize>>>,
    server: JoinHandle<()>,
}

impl Dns {
    /// Answers at the network's gateway for those hosts.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    #[must_use]
    pub fn start(hosts: &Hosts, known: BTreeMap<String, Ipv4Addr>) -> Self {
        let socket = hosts.socket(PORT);
        let asynchronous = socket.set_nonblocking(true);
        asynchronous.expect("a socket can be asynchronous");
        let socket = UdpSocket::from_std(socket).expect("a socket was bound");
        let answered = Arc::new(Mutex::new(BTreeMap::new()));
        let server = tokio::spawn(serve(socket, known, Arc::clone(&answered)));
        Self { answered, server }
    }

    /// How often the address of a host was told.
    #[must_use]
    pub fn answered(&self, name: &str) -> usize {
        self.answered.lock().get(name).copied().unwrap_or(0)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    socket: UdpSocket,
    known: BTreeMap<String, Ipv4Addr>,
    answered: Arc<Mutex<BTreeMap<String, usize>>>,
) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some((name, end)) = question(&buffer[..length]) else {
            continue;
        };
        let asks_for_address = buffer[end - 4..end] == ADDRESS;
        let address = known.get(&name).copied();
        let told = address.filter(|_| asks_for_address);
        if told.is_some() {
            *answered.lock().entry(name).or_default() += 1;
        }
        let answer = answer(&buffer[..end], address.is_some(), told);
        // Whoever asked may be gone.
        let _ = socket.send_to(&answer, from).await;
    }
}

/// The name that is asked for, and where the question ends.
fn question(message: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    // Type and class.
    let end = at + 4;
    (end <= message.len()).then(|| (labels.join("."), end))
}

fn answer(query: &[u8], is_known: bool, told: Option<Ipv4Addr>) -> Vec<u8> {
    let mut answer = query.to_vec();
    // A response of who may be asked for anything; no such name is code 3.
    answer[2] = 0x81;
    answer[3] = if is_known { 0x80 } else { 0x83 };
    let counts = [0, 1, 0, u8::from(told.is_some()), 0, 0, 0, 0];
    answer[4..HEADER].copy_from_slice(&counts);
    if let Some(address) = told {
        // The name as in the question, type and class, a time to live of no second, four bytes.
        answer.extend_from_slice(&[0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend_from_slice(&address.octets());
    }
    answer
}
