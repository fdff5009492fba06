//! The body of a registration over HTTP: what is read of it is what its JSON says, and an address
//! that is taken is a host and a port.
//!
//! An input is a body.

use nano_http::Registration;
use nanod::upstream::HttpAddress;
use serde_json::json;

/// Reads the input as a node does.
pub fn register_body(input: &[u8]) {
    let Ok(registration) = Registration::parse(input) else {
        return;
    };
    let Registration { pattern, address } = &registration;
    assert!(!pattern.is_empty() && !address.is_empty());
    if let Ok(address) = address.parse::<HttpAddress>() {
        is_host_and_port(&address);
    }
    let body = json!({"PATTERN": pattern, "serviceaddress": address});
    assert_eq!(
        Registration::parse(body.to_string().as_bytes()),
        Ok(registration)
    );
}

/// It stands in an address of HTTP, and must end nothing there.
fn is_host_and_port(address: &HttpAddress) {
    let text = address.as_str();
    let (host, port) = text.rsplit_once(':').expect("a host and a port");
    assert!(!host.is_empty() && port.parse() == Ok(address.port()));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!text.contains(['/', '?', '#', '@', '\\', '%']));
    assert_eq!(text.parse().as_ref(), Ok(address));
    assert_eq!(
        HttpAddress::of_identity(&address.identity()).as_ref(),
        Some(address)
    );
}
