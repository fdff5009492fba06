//! An instance that registers pattern after pattern and knows which were acknowledged, for
//! tests that end its node in the middle.

use std::collections::BTreeSet;

use nano_wire::{
    control::{ControlReceiver, ControlSender},
    message::{Control, Policy, Register},
};

use crate::{Node, Peer};

/// Requests that are sent before the first answer is awaited, unless it is told otherwise.
const AHEAD: u64 = 32;

/// A session that only registers.
pub struct Registrar {
    sender: ControlSender,
    receiver: ControlReceiver,
    ahead: u64,
    _peer: Peer,
}

/// What came of registering.
#[derive(Default)]
pub struct Registered {
    /// Patterns that were asked for.
    pub asked: BTreeSet<String>,
    /// Those of them that were acknowledged.
    pub acknowledged: BTreeSet<String>,
}

impl Registrar {
    /// Connects and greets.
    ///
    /// # Panics
    ///
    /// If the node does not let it in.
    pub async fn connect(node: &Node) -> Self {
        let peer = Peer::connect(node).await;
        let (sender, receiver) = peer.greet().await;
        Self {
            sender,
            receiver,
            ahead: AHEAD,
            _peer: peer,
        }
    }

    /// Sends so many requests before it awaits the first answer.
    #[must_use]
    pub fn ahead(mut self, requests: u64) -> Self {
        self.ahead = requests;
        self
    }

    /// Registers `PREFIX:0`, `PREFIX:1` and so on until the node is gone.
    ///
    /// # Panics
    ///
    /// If the node refuses one.
    pub async fn register_until_the_end(mut self, prefix: String) -> Registered {
        let pattern = |number| format!("{prefix}:{number}");
        let mut registered = Registered::default();
        let (mut asked, mut done) = (0, 0);
        loop {
            if asked - done < self.ahead {
                let register = Control::Register(Register {
                    pattern: pattern(asked),
                    incarnation: 1,
                    policy: Policy::default(),
                });
                registered.asked.insert(pattern(asked));
                let sent = self.sender.send(asked, &register).await;
                asked += 1;
                if sent.is_err() {
                    return registered;
                }
                continue;
            }
            match self.receiver.recv().await {
                Ok((number, Control::Done)) => {
                    registered.acknowledged.insert(pattern(number));
                    done += 1;
                }
                Ok((_, message)) => panic!("a registration was answered with {message:?}"),
                Err(_) => return registered,
            }
        }
    }
}
