//! A file of rules, or of tokens, that changes while nodes run.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use tempfile::TempDir;

/// The file; gone when dropped.
pub struct RulesFile(TempDir);

impl RulesFile {
    /// With a text.
    ///
    /// # Panics
    ///
    /// If the system has no place for temporary files.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().expect("a temporary folder can be made"));
        file.write(text);
        file
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.path().join("rules.toml")
    }

    /// Puts another text in its place, whole, for its owner only.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, text: &str) {
        let staged = self.0.path().join("staged");
        fs::write(&staged, text).expect("the test's folder can be written");
        let owners = fs::set_permissions(&staged, fs::Permissions::from_mode(0o600));
        owners.expect("the test's file is its own");
        fs::rename(&staged, self.path()).expect("the test's folder can be written");
    }
}
