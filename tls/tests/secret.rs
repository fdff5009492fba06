//! What follows from a shared secret, and what is no secret.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nano_tls::{Bundle, Error, LEAF_LIFETIME, SECRET_VARIABLE, Secret, SecretSource};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

#[test]
fn the_same_secret_makes_the_same_authority_and_key() {
    let (one, other) = (secret(SECRET), secret(SECRET));
    let (authority, again) = (one.authority().unwrap(), other.authority().unwrap());
    assert_eq!(authority.ca_pem(), again.ca_pem());
    assert_eq!(authority.fingerprint(), again.fingerprint());
    assert_eq!(one.cluster_key().as_bytes(), other.cluster_key().as_bytes());
}

#[test]
fn another_secret_makes_another_authority_and_key() {
    let (one, other) = (secret(SECRET), secret("0123456789abcdef0123456789abcdeF"));
    let (authority, another) = (one.authority().unwrap(), other.authority().unwrap());
    assert_ne!(authority.ca_pem(), another.ca_pem());
    assert_ne!(authority.fingerprint(), another.fingerprint());
    assert_ne!(one.cluster_key().as_bytes(), other.cluster_key().as_bytes());
}

/// Whoever changes these cuts off a cluster's new members from its old ones.
#[test]
fn what_follows_from_a_secret_never_changes() {
    let secret = secret(SECRET);
    let authority = secret.authority().unwrap();
    assert_eq!(authority.trust_domain(), "nano.local");
    assert_eq!(
        authority.fingerprint().to_string(),
        "9a4586e4845b0656b07aded1afb7eea469d0f2adebe942d259dbf100a81d883c"
    );
    let key: String = secret.cluster_key().as_bytes()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(key, "54739acb708e46fd");
}

#[test]
fn an_authority_and_its_bundles_have_one_fingerprint() {
    let secret = secret(SECRET);
    let authority = secret.authority().unwrap();
    let own = secret
        .bundle(&"node/a".parse().unwrap(), LEAF_LIFETIME)
        .unwrap();
    assert_eq!(own.identity().to_string(), "spiffe://nano.local/node/a");
    assert_eq!(own.fingerprint(), authority.fingerprint());

    let dir = tempfile::tempdir().unwrap();
    let issued = authority.issue(&"client/c".parse().unwrap(), LEAF_LIFETIME);
    issued.unwrap().write(dir.path()).unwrap();
    let ca = dir.path().join("ca.pem");
    let loaded = Bundle::load(dir.path()).unwrap();
    assert_eq!(loaded.fingerprint(), authority.fingerprint());

    let coming = nano_tls::Authority::create("nano.local").unwrap();
    fs::write(&ca, authority.ca_pem().to_owned() + coming.ca_pem()).unwrap();
    let loaded = Bundle::load(dir.path()).unwrap();
    assert_eq!(
        loaded.fingerprints(),
        [authority.fingerprint(), coming.fingerprint()]
    );
}

#[test]
fn a_line_break_at_the_end_is_no_part_of_a_secret() {
    for end in ["\n", "\r\n"] {
        assert_eq!(secret(&format!("{SECRET}{end}")), secret(SECRET));
    }
    for other in [" ", "\n\n", "\n "] {
        assert_ne!(secret(&format!("{SECRET}{other}")), secret(SECRET));
    }
}

#[test]
fn a_secret_has_16_to_4096_bytes() {
    for short in ["", "\n", "fifteen bytes..", "fifteen bytes..\n"] {
        let error = Secret::new(short).unwrap_err();
        assert!(
            matches!(error, Error::SecretShort { least: 16, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("openssl rand"), "{error}");
    }
    secret("sixteen bytes...");
    secret(&"x".repeat(4096));
    let error = Secret::new("x".repeat(4097)).unwrap_err();
    assert!(matches!(error, Error::SecretLong { most: 4096 }), "{error}");
}

#[test]
fn a_secret_shows_itself_nowhere() {
    let shown = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        secret(SECRET),
        SecretSource::Given(secret(SECRET)),
        secret(SECRET).cluster_key(),
        secret(SECRET).authority().unwrap(),
        secret(SECRET)
            .bundle(&"node/a".parse().unwrap(), LEAF_LIFETIME)
            .unwrap(),
    );
    assert!(!shown.contains(SECRET), "{shown}");
    let as_list = format!("{:?}", secret(SECRET).cluster_key().as_bytes());
    assert!(!shown.contains(as_list.trim_matches(['[', ']'])), "{shown}");
    let error = Secret::new("too short hush").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"));
}

#[test]
fn a_secret_is_read_from_a_file_that_others_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    write(&path, &format!("{SECRET}\n"), 0o600);
    assert_eq!(Secret::read(&path).unwrap(), secret(SECRET));
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(Secret::read(&link).unwrap(), secret(SECRET));

    for exposed in [0o604, 0o644, 0o660] {
        write(&path, SECRET, exposed);
        let error = Secret::read(&link).unwrap_err();
        assert!(matches!(error, Error::KeyExposed { .. }), "{error}");
        assert!(error.to_string().contains("0440"), "{error}");
    }
}

#[test]
fn a_file_that_holds_no_secret_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let named = |error: Error| {
        let said = error.to_string();
        assert!(said.contains(&path.display().to_string()), "{said}");
        said
    };
    assert!(named(Secret::read(&path).unwrap_err()).contains("missing"));
    write(&path, "short", 0o600);
    assert!(named(Secret::read(&path).unwrap_err()).contains("needs at least 16"));
    write(&path, &"x".repeat(4096), 0o600);
    Secret::read(&path).unwrap();
    write(&path, &"x".repeat(1 << 20), 0o600);
    assert!(named(Secret::read(&path).unwrap_err()).contains("more than 4096"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    assert!(named(Secret::read(&path).unwrap_err()).contains("cannot read"));
}

#[test]
fn a_secret_comes_from_the_variable_or_from_a_file() {
    let file = || Some("/run/secret".into());
    let choose = |text: Option<&str>, file| SecretSource::choose(text.map(Into::into), file);
    assert_eq!(choose(None, None).unwrap(), None);
    let given = choose(Some(SECRET), None).unwrap().unwrap();
    assert_eq!(given.load().unwrap(), secret(SECRET));
    assert_eq!(
        choose(None, file()).unwrap(),
        Some(SecretSource::File("/run/secret".into()))
    );
    let error = choose(Some(SECRET), file()).unwrap_err().to_string();
    assert!(
        error.contains(SECRET_VARIABLE) && error.contains("/run/secret"),
        "{error}"
    );
    assert!(!error.contains(SECRET), "{error}");
    let empty = choose(Some(""), None).unwrap_err();
    assert!(matches!(empty, Error::SecretShort { found: 0, .. }));
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
