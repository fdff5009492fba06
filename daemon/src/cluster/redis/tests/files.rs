//! What is wrong with a file is said with its setting, its path and what belongs there.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{super::RedisFiles, network::certificates};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its owner's");
        path
    }
}

fn refused(files: &RedisFiles) -> String {
    let url = "rediss+sentinel://h/s".parse().expect("a URL");
    match files.load(&url) {
        Ok(_) => panic!("{files:?} is no good"),
        Err(error) => error.to_string(),
    }
}

fn password(path: &Path) -> RedisFiles {
    RedisFiles {
        password: Some(path.to_owned()),
        ..RedisFiles::default()
    }
}

#[test]
fn passwords_are_read_without_the_line_break() {
    let folder = Folder::new();
    let url = "redis+sentinel://u@h/s".parse().expect("a URL");
    for text in ["p ss", "p ss\n", "p ss\r\n"] {
        let files = RedisFiles {
            sentinel_password: Some(folder.file("sentinel", "s\n")),
            ..password(&folder.file("password", text))
        };
        let Ok(access) = files.load(&url) else {
            panic!("{text:?} is a password");
        };
        assert_eq!(access.url.password.as_deref(), Some("p ss"));
        assert_eq!(access.url.user.as_deref(), Some("u"));
        assert_eq!(access.sentinel_password.as_deref(), Some("s"));
    }
}

#[test]
fn a_file_without_a_password_is_refused() {
    let folder = Folder::new();
    for (text, what) in [
        (b"".as_slice(), "is empty; put the password there"),
        (b"\n", "is empty; put the password there"),
        (b"\xff", "is not UTF-8; put the password there"),
        (
            &[b'p'; 5000],
            "has more than 4096 bytes; is it the right file?",
        ),
    ] {
        let path = folder.file("password", text);
        let expected = format!("redis_password_file: {} {what}", path.display());
        assert_eq!(refused(&password(&path)), expected);
    }
    let gone = folder.0.path().join("gone");
    assert_eq!(
        refused(&password(&gone)),
        format!(
            "redis_password_file: {} is missing: put the password there",
            gone.display()
        )
    );
    let open = folder.file("password", "hunter2");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("everybody's");
    let said = refused(&password(&open));
    assert!(
        said.contains(open.to_str().expect("text")) && said.contains("open to other users"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn certificates_and_keys_are_looked_at_before_they_are_used() {
    let folder = Folder::new();
    let (authority, cert, key) = certificates();
    let (.., other) = certificates();
    let (cert, key) = (folder.file("cert", cert), folder.file("key", key));
    let client = |cert: &Path, key: &Path| RedisFiles {
        ca: Some(folder.file("ca", &authority)),
        cert: Some(cert.to_owned()),
        key: Some(key.to_owned()),
        ..RedisFiles::default()
    };
    let url = "rediss://h".parse().expect("a URL");
    assert!(client(&cert, &key).load(&url).is_ok());

    let empty = folder.file("empty", "");
    let at = |path: &Path| path.display().to_string();
    let other = folder.file("other", other);
    let ca = |path: &Path| RedisFiles {
        ca: Some(path.to_owned()),
        ..RedisFiles::default()
    };
    let gone = folder.0.path().join("gone");
    for (files, expected) in [
        (
            ca(&empty),
            format!("redis_ca: {} holds no certificate in PEM", at(&empty)),
        ),
        (
            ca(&gone),
            format!(
                "redis_ca: cannot read {}: No such file or directory (os error 2)",
                at(&gone)
            ),
        ),
        (
            client(&empty, &key),
            format!("redis_cert: {} holds no certificate in PEM", at(&empty)),
        ),
        (
            client(&cert, &cert),
            format!("redis_key: {} holds no private key in PEM", at(&cert)),
        ),
        (
            client(&cert, &other),
            format!(
                "redis_key: {} is not the key of the certificate in redis_cert",
                at(&other)
            ),
        ),
    ] {
        assert_eq!(refused(&files), expected);
    }
}
