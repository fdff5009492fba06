//! Who may write what in Redis: content goes in, out comes the content followed by an
//! HMAC-SHA256 over all that it stands for. Whoever writes to Redis without the cluster's
//! key can neither make a record nor move one to another place.
//!
//! Authenticated, in this order: `nano-cluster-1`, the namespace, what the content is
//! ([`Sealed`], 1 byte), the boot (16 bytes), the key, the content; namespace and key each
//! after its length (4 bytes, little endian).

use aws_lc_rs::hmac;

use super::record::Boot;

/// Bytes of a seal.
pub(super) const SEAL: usize = 32;

const DOMAIN: &[u8] = b"nano-cluster-1";

/// What is sealed. Numbers are never given twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sealed {
    /// A record of a set; the key is its field.
    Record = 1,
    /// What a boot says of its set.
    Head = 2,
    /// A boot's counter.
    Counter = 3,
    /// An entry of the log.
    Delta = 4,
}

/// Seals and opens for one namespace.
#[derive(Clone)]
pub(super) struct Sealer {
    key: hmac::Key,
    namespace: Box<str>,
}

impl Sealer {
    pub(super) fn new(key: &[u8; 32], namespace: &str) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            namespace: namespace.into(),
        }
    }

    /// Appends the seal of what stands in `bytes` from `content` on.
    pub(super) fn seal(
        &self,
        what: Sealed,
        boot: Boot,
        key: &[u8],
        bytes: &mut Vec<u8>,
        content: usize,
    ) {
        let mut context = hmac::Context::with_key(&self.key);
        for part in self.before(what, boot, key) {
            context.update(part.as_ref());
        }
        context.update(&bytes[content..]);
        bytes.extend_from_slice(context.sign().as_ref());
    }

    /// The content, if the seal is right.
    pub(super) fn open<'a>(
        &self,
        what: Sealed,
        boot: Boot,
        key: &[u8],
        sealed: &'a [u8],
    ) -> Option<&'a [u8]> {
        let (content, seal) = sealed.split_at_checked(sealed.len().checked_sub(SEAL)?)?;
        let mut message = Vec::with_capacity(128 + key.len() + content.len());
        for part in self.before(what, boot, key) {
            message.extend_from_slice(part.as_ref());
        }
        message.extend_from_slice(content);
        // Compares in constant time.
        hmac::verify(&self.key, &message, seal).ok()?;
        Some(content)
    }

    fn before<'a>(&'a self, what: Sealed, boot: Boot, key: &'a [u8]) -> [Part<'a>; 7] {
        let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
        let namespace = self.namespace.as_bytes();
        [
            Part::Lent(DOMAIN),
            Part::Length(length(namespace)),
            Part::Lent(namespace),
            Part::Kind([what as u8]),
            Part::Boot(boot.0),
            Part::Length(length(key)),
            Part::Lent(key),
        ]
    }
}

enum Part<'a> {
    Lent(&'a [u8]),
    Length([u8; 4]),
    Kind([u8; 1]),
    Boot([u8; 16]),
}

impl AsRef<[u8]> for Part<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Length(bytes) => bytes,
            Self::Kind(bytes) => bytes,
            Self::Boot(bytes) => bytes,
        }
    }
}
