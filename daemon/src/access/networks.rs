//! Lists of networks: text with commas comes in, whether an address lies in one of them goes out.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// Some networks, each an address or one with the length of its prefix: `10.0.0.0/8`, `::1`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks(Vec<IpNet>);

/// A text that is no list of networks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no list of networks")]
pub struct NotNetworks;

/// Loopback, and what no one else on the internet has: private, shared and unique local addresses
/// (RFC 1918, 6598 and 4193). Not link-local ones, where clouds keep credentials.
pub const PRIVATE_NETWORKS: &str = "127.0.0.0/8, ::1, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, \
                       100.64.0.0/10, fc00::/7";

impl Networks {
    /// Those that a node dials for HTTP registrations unless told otherwise.
    #[must_use]
    pub fn private() -> Self {
        PRIVATE_NETWORKS.parse().expect("they are written rightly")
    }

    /// Whether an address lies in one of them.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }
}

impl FromStr for Networks {
    type Err = NotNetworks;

    /// `none` is none of them.
    fn from_str(text: &str) -> Result<Self, NotNetworks> {
        if text == "none" {
            return Ok(Self::default());
        }
        let network = |text: &str| {
            let text = text.trim();
            let address = || text.parse().map(|address: IpAddr| address.into());
            text.parse().or_else(|_| address()).map_err(|_| NotNetworks)
        };
        text.split(',')
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let networks: Vec<_> = self.0.iter().map(IpNet::to_string).collect();
        f.write_str(&networks.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

    use super::*;

    fn contains(networks: &str, ip: &str) -> bool {
        let networks: Networks = networks.parse().unwrap();
        networks.contains(ip.parse().unwrap())
    }

    #[test]
    fn an_address_lies_in_one_of_them_in_whichever_form() {
        assert!(contains("10.0.0.0/8, ::1", "10.1.2.3"));
        assert!(contains("10.0.0.0/8, ::1", "::ffff:10.1.2.3"));
        assert!(contains("10.0.0.0/8,::1", "::1"));
        assert!(contains("192.0.2.7", "192.0.2.7"));
        assert!(!contains("192.0.2.7", "192.0.2.8"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1") && !contains("none", "127.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused_and_what_is_shows_itself_as_it_is_read() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.0/8,", "all"] {
            assert_eq!(text.parse::<Networks>(), Err(NotNetworks), "{text}");
        }
        for networks in [Networks::default(), Networks::private()] {
            assert_eq!(networks.to_string().parse(), Ok(networks));
        }
    }

    #[test]
    fn a_clouds_credentials_are_not_private() {
        let private = Networks::private();
        assert!(!private.contains([169, 254, 169, 254].into()));
        assert!(!private.contains([1, 1, 1, 1].into()) && !private.contains([0, 0, 0, 0].into()));
        assert!(private.contains([172, 17, 0, 2].into()));
    }
}
