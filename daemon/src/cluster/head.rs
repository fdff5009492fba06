//! What a boot says of its set.

use bincode::{Decode, Encode};
use nano_wire::InstanceId;

use super::digest::Sum;

/// Names an authority: the SHA-256 of its certificate.
pub type Fingerprint = [u8; 32];

/// What a boot says of its set at one version, and where the boot is found.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Head {
    /// Rises with each change.
    pub version: u64,
    /// Of the set at this version.
    pub sum: Sum,
    /// The node's process, as it greets.
    pub node: InstanceId,
    /// Where other nodes dial it.
    pub address: String,
}
