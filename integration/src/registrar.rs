//! An instance that registers pattern after pattern and knows which were acknowledged, for
//! tests that end its node in the middle.

use std::{collections::BTreeSet, sync::Arc};

use nano_tls::{Bundle, Expect, Kind};
use nano_wire::{
    InstanceId,
    control::{self, ControlReceiver, ControlSender},
    message::{Control, Hello, Limits, OLDEST_VERSION, Policy, Register, VERSION},
    transport,
};
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};

use crate::{Node, any_address};

/// Requests that are sent before the first answer is awaited.
const AHEAD: u64 = 32;

/// A session that only registers.
pub struct Registrar {
    sender: ControlSender,
    receiver: ControlReceiver,
    _endpoint: Endpoint,
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
        let bundle = Bundle::load(&node.state().join("tls/client"));
        let tls = bundle.and_then(|own| own.client_config(Expect::Kind(Kind::Node)));
        let tls = tls.expect("the node made a bundle for clients");
        let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3 suits QUIC");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport::config());
        let endpoint = Endpoint::client(any_address()).expect("loopback has a free port");
        let connecting = endpoint.connect_with(config, node.quic, "nanod");
        let connection = connecting.expect("the address is valid").await;
        let connection = connection.expect("the node lets its own clients in");
        let opened = control::open(&connection).await;
        let (mut sender, mut receiver) = opened.expect("the node takes a control stream");
        let hello = Hello {
            version: VERSION,
            oldest: OLDEST_VERSION,
            instance: InstanceId::random(),
            limits: Limits {
                max_in_flight: 1,
                max_body: 1,
            },
            agent: "registrar".to_owned(),
        };
        let greeted = sender.send(0, &Control::Hello(hello)).await;
        greeted.expect("the node reads the greeting");
        let welcome = receiver
            .recv()
            .await
            .expect("the node answers the greeting");
        assert!(matches!(welcome, (_, Control::Welcome(_))), "{welcome:?}");
        Self {
            sender,
            receiver,
            _endpoint: endpoint,
        }
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
            if asked - done < AHEAD {
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
