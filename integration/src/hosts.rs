//! Hosts of a network of their own, as containers have: each is a network namespace with one address,
//! and all are on one switch. Made with iproute2, which only root may.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::PathBuf,
    process::Command as StdCommand,
    thread,
};

use tokio::process::Command;

use crate::namespaces::{enter, ip, within};

/// The network; gone when dropped.
pub struct Hosts {
    switch: String,
    first: Ipv4Addr,
    names: Vec<String>,
}

impl Hosts {
    /// A network of 256 addresses from that one on, without hosts yet; `None`, and a word about it, if
    /// that is not allowed.
    ///
    /// # Panics
    ///
    /// If root cannot make it.
    #[must_use]
    pub fn new(first: Ipv4Addr) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root may make network namespaces");
            return None;
        }
        let switch = format!("nano-{}", std::process::id());
        ip(&format!("netns add {switch}"));
        let hosts = Self {
            switch,
            first,
            names: Vec::new(),
        };
        let (switch, gateway) = (&hosts.switch, hosts.gateway());
        ip(&format!("-n {switch} link add switch type bridge"));
        ip(&format!("-n {switch} address add {gateway}/24 dev switch"));
        ip(&format!("-n {switch} link set switch up"));
        Some(hosts)
    }

    /// One more host; its address.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn add(&mut self, name: &str) -> Ipv4Addr {
        self.names.push(name.to_owned());
        let (switch, host, address) = (&self.switch, self.namespace(name), self.address(name));
        let port = format!("port{}", self.names.len());
        ip(&format!("netns add {host}"));
        ip(&format!(
            "-n {switch} link add {port} type veth peer name wire netns {host}"
        ));
        ip(&format!("-n {switch} link set {port} master switch up"));
        ip(&format!("-n {host} address add {address}/24 dev wire"));
        ip(&format!("-n {host} link set wire up"));
        ip(&format!("-n {host} link set lo up"));
        address
    }

    /// Where a host is.
    ///
    /// # Panics
    ///
    /// If there is no such host.
    #[must_use]
    pub fn address(&self, name: &str) -> Ipv4Addr {
        let number = self.names.iter().position(|other| other == name);
        let number = number.unwrap_or_else(|| panic!("{name} was added"));
        self.nth(number as u32 + 2)
    }

    /// Where the switch itself is, as a gateway would be.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.nth(1)
    }

    /// The file that stands for a host's network.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.namespace(name)))
    }

    /// A command that is run on a host.
    #[must_use]
    pub fn on(&self, name: &str, command: &Command) -> Command {
        within(&self.namespace(name), command)
    }

    /// A socket of the switch itself.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    #[must_use]
    pub fn socket(&self, port: u16) -> UdpSocket {
        let namespace = self.switch.clone();
        let address = SocketAddr::from((self.gateway(), port));
        let bound = thread::spawn(move || {
            enter(&namespace);
            UdpSocket::bind(address)
        });
        let bound = bound.join().expect("root may enter");
        bound.expect("nobody else is in this network")
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.switch)
    }

    fn nth(&self, number: u32) -> Ipv4Addr {
        (u32::from(self.first) + number).into()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let hosts = self.names.iter().map(|name| self.namespace(name));
        for namespace in hosts.chain([self.switch.clone()]) {
            let _ = StdCommand::new("ip")
                .args(["netns", "del", &namespace])
                .status();
        }
    }
}
