//! The keys of a namespace, all under one hash tag so that a cluster of Redis keeps them on
//! one shard.

use super::super::record::Boot;

/// Names keys.
#[derive(Clone, Debug)]
pub(super) struct Names {
    tag: String,
}

impl Names {
    /// What the keys of every namespace begin with.
    pub(super) const PREFIX: &str = "{nano:";

    pub(super) fn new(namespace: &str) -> Self {
        Self {
            tag: format!("{}{namespace}}}", Self::PREFIX),
        }
    }

    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.tag)
    }

    pub(super) fn authority(&self) -> String {
        format!("{}:authority", self.tag)
    }

    pub(super) fn go_nano(&self) -> String {
        format!("{}:go-nano", self.tag)
    }

    pub(super) fn go_nano_read(&self) -> String {
        format!("{}:go-nano-read", self.tag)
    }

    pub(super) fn log(&self) -> String {
        format!("{}:log", self.tag)
    }

    pub(super) fn set(&self, boot: Boot) -> String {
        format!("{}:set:{boot}", self.tag)
    }

    pub(super) fn staged(&self, boot: Boot, attempt: u64) -> String {
        format!("{}:set:{boot}:{attempt}", self.tag)
    }
}
