//! Two networks with a wire between them, as two machines have: one for a node, and one for who
//! comes from elsewhere. Made with iproute2, which only root may.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
    process::Command as StdCommand,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::process::Command;

/// The networks; gone when dropped.
pub struct Namespaces {
    near: String,
    far: String,
}

/// Where those in the near network are found from the far one.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

impl Namespaces {
    /// Two new ones; `None`, and a word about it, if that is not allowed.
    ///
    /// # Panics
    ///
    /// If root cannot make them.
    #[must_use]
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root may make network namespaces");
            return None;
        }
        let name = |end| format!("nano-{}-{end}", std::process::id());
        let these = Self {
            near: name("near"),
            far: name("far"),
        };
        let (near, far) = (&these.near, &these.far);
        ip(&format!("netns add {near}"));
        ip(&format!("netns add {far}"));
        ip(&format!(
            "-n {near} link add wire type veth peer name wire netns {far}"
        ));
        for (name, address) in [(near, NEAR), (far, Ipv4Addr::new(198, 18, 0, 2))] {
            ip(&format!("-n {name} address add {address}/24 dev wire"));
            ip(&format!("-n {name} link set wire up"));
            ip(&format!("-n {name} link set lo up"));
        }
        Some(these)
    }

    /// An address in the near network, with any free port.
    #[must_use]
    pub fn near_address(&self) -> String {
        format!("{}:0", IpAddr::from(NEAR))
    }

    /// A command that is run in the near network.
    #[must_use]
    pub fn near(&self, command: &Command) -> Command {
        within(&self.near, command)
    }

    /// A command that is run in the far network.
    #[must_use]
    pub fn far(&self, command: &Command) -> Command {
        within(&self.far, command)
    }

    /// Has the wire lose such a share of its packets, from 0 to 1, in either direction. None of
    /// them carries several, as they may between namespaces, so that each is one on a real wire.
    /// `false`, and a word about it, if the kernel or iptables cannot do that.
    #[must_use]
    pub fn lose(&self, share: f64) -> bool {
        let rule =
            format!("-A INPUT -i wire -m statistic --mode random --probability {share} -j DROP");
        let loses = [&self.near, &self.far].into_iter().all(|name| {
            try_ip(&format!("-n {name} link set dev wire gso_max_segs 1"))
                && try_ip(&format!("netns exec {name} iptables {rule}"))
        });
        if !loses {
            eprintln!("skipped: the kernel or iptables cannot lose packets (see above)");
        }
        loses
    }

    /// Does something from the far network: every socket that it opens is of that one.
    ///
    /// # Panics
    ///
    /// If it does, or the thread cannot enter.
    pub async fn from_far<T: Send + 'static>(
        &self,
        what: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> T {
        let namespace = self.far.clone();
        let thread = thread::spawn(move || {
            enter(&namespace);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime can be made").block_on(what())
        });
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
        ended
            .expect("the wait does not panic")
            .expect("what is done from far does not panic")
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _ = StdCommand::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A command that is run in a namespace.
pub(crate) fn within(namespace: &str, command: &Command) -> Command {
    let command = command.as_std();
    let mut within = Command::new("ip");
    within
        .args(["netns", "exec", namespace])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => within.env(name, value),
            None => within.env_remove(name),
        };
    }
    within
}

/// Moves this thread into a namespace: every socket that it opens from then on is of that one.
pub(crate) fn enter(namespace: &str) {
    let namespace = File::open(format!("/run/netns/{namespace}"));
    let namespace = namespace.expect("the namespace was made");
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), network).expect("root may enter");
}

pub(crate) fn ip(arguments: &str) {
    assert!(try_ip(arguments), "ip {arguments}");
}

/// Whether it succeeded.
fn try_ip(arguments: &str) -> bool {
    let status = StdCommand::new("ip").args(arguments.split(' ')).status();
    let status = status.expect("iproute2 is installed, as test.sh does");
    status.success()
}
