//! Folders of PEM files: what is written, with which modes, and what is refused when it is read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use nano_tls::{
    Authority, Bundle, Error, LEAF_LIFETIME, OWN_LIFETIME, authority_dir, client_dir, node_dir,
    set_up,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

#[test]
fn an_authority_comes_back_from_its_files_and_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("deep/authority");
    let authority = Authority::create("example.org").unwrap();
    authority.write(dir).unwrap();
    assert_eq!(mode(dir), 0o700);
    assert_eq!(mode(&dir.join("ca-key.pem")), 0o600);
    assert_eq!(mode(&dir.join("ca.pem")), 0o644);

    let loaded = Authority::load(dir).unwrap();
    assert_eq!(loaded.trust_domain(), "example.org");
    assert_eq!(loaded.ca_pem(), authority.ca_pem());
    let bundle = loaded.issue(&"service/math".parse().unwrap(), LEAF_LIFETIME);
    assert_eq!(
        bundle.unwrap().identity().to_string(),
        "spiffe://example.org/service/math"
    );

    let error = Authority::create("example.org")
        .unwrap()
        .write(dir)
        .unwrap_err();
    assert!(matches!(error, Error::AuthorityExists { .. }), "{error}");
    assert_eq!(Authority::load(dir).unwrap().ca_pem(), authority.ca_pem());
}

#[test]
fn an_authority_with_broken_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let authority = Authority::create("example.org").unwrap();
    authority.write(dir).unwrap();
    let other = tempfile::tempdir().unwrap();
    Authority::create("example.org")
        .unwrap()
        .write(other.path())
        .unwrap();

    fs::copy(other.path().join("ca.pem"), dir.join("ca.pem")).unwrap();
    let error = Authority::load(dir).unwrap_err();
    assert!(matches!(error, Error::KeyMismatch { .. }), "{error}");

    let leaf = authority
        .issue(&"node/a".parse().unwrap(), LEAF_LIFETIME)
        .unwrap();
    leaf.write(other.path()).unwrap();
    fs::copy(other.path().join("cert.pem"), dir.join("ca.pem")).unwrap();
    let error = Authority::load(dir).unwrap_err().to_string();
    assert!(error.contains("it is not an authority's"), "{error}");

    chmod(&dir.join("ca-key.pem"), 0o644);
    let error = Authority::load(dir).unwrap_err();
    assert!(
        matches!(error, Error::KeyExposed { mode: 0o644, .. }),
        "{error}"
    );
}

#[test]
fn a_trust_domain_is_checked() {
    assert!(matches!(
        Authority::create("Example.org"),
        Err(Error::TrustDomain { .. })
    ));
}

#[test]
fn a_certificate_says_what_it_should() {
    let authority = Authority::create("nano.local").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bundle = authority
        .issue(&"service/math".parse().unwrap(), LEAF_LIFETIME)
        .unwrap();
    bundle.write(dir.path()).unwrap();

    let der = CertificateDer::from_pem_file(dir.path().join("cert.pem")).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert_eq!(leaf.subject().to_string(), "CN=service/math");
    assert!(leaf.raw_serial().len() == 16 && leaf.raw_serial()[0] < 0x80);
    assert!(!leaf.is_ca());
    assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 1);
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    let names = leaf.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names.len(), 1);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let (begin, end) = (leaf.validity().not_before, leaf.validity().not_after);
    assert!((now - 303..=now - 299).contains(&begin.timestamp()));
    assert!((now + 397 * 86_400 - 3..=now + 397 * 86_400).contains(&end.timestamp()));

    let der = CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap();
    let (_, ca) = x509_parser::parse_x509_certificate(&der).unwrap();
    let constraints = ca.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = ca.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert_eq!(leaf.issuer(), ca.subject());
    assert_ne!(leaf.raw_serial(), ca.raw_serial());

    let eternal = authority
        .issue(&"node/a".parse().unwrap(), Duration::MAX)
        .unwrap();
    let ca_end = u64::try_from(ca.validity().not_after.timestamp()).unwrap();
    let ca_end = SystemTime::UNIX_EPOCH + Duration::from_secs(ca_end);
    assert_eq!(eternal.validity().not_after, ca_end);
}

#[test]
fn a_bundle_is_written_with_exact_modes_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("bundle");
    let authority = Authority::create("nano.local").unwrap();
    for name in ["node/a", "node/b"] {
        let bundle = authority
            .issue(&name.parse().unwrap(), LEAF_LIFETIME)
            .unwrap();
        bundle.write(dir).unwrap();
        assert_eq!(Bundle::load(dir).unwrap().identity().short(), name);
        assert_eq!(mode(dir), 0o700);
        assert_eq!(mode(&dir.join("key.pem")), 0o600);
        assert_eq!(mode(&dir.join("cert.pem")), 0o644);
        assert_eq!(mode(&dir.join("ca.pem")), 0o644);
    }
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, [".lock", "ca.pem", "cert.pem", "key.pem"]);
}

#[test]
fn debug_text_leaves_keys_out() {
    let authority = Authority::create("nano.local").unwrap();
    let name = "node/a".parse().unwrap();
    let bundle = authority.issue(&name, LEAF_LIFETIME).unwrap();
    for shown in [format!("{authority:?}"), format!("{bundle:?}")] {
        assert!(
            !shown.contains("PRIVATE") && !shown.contains("serialized_der"),
            "{shown}"
        );
    }
}

#[test]
fn a_bundle_with_broken_files_names_the_file_and_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let authority = Authority::create("nano.local").unwrap();
    let write = || {
        let name = "node/a".parse().unwrap();
        let bundle = authority.issue(&name, LEAF_LIFETIME).unwrap();
        bundle.write(dir).unwrap();
    };
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        let path = dir.join(file);
        let shown = path.display().to_string();

        write();
        fs::remove_file(&path).unwrap();
        let error = Bundle::load(dir).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
        assert!(error.to_string().starts_with(&shown), "{error}");

        for rubbish in [
            "",
            "-----BEGIN CERTIFICATE-----\n!",
            "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
        ] {
            write();
            fs::write(&path, rubbish).unwrap();
            let error = Bundle::load(dir).unwrap_err();
            assert!(matches!(error, Error::File { .. }), "{error}");
            assert!(error.to_string().starts_with(&shown), "{error}");
            assert!(error.to_string().contains("nanod tls issue"), "{error}");
        }
    }
    for exposed in [0o604, 0o660, 0o620, 0o644] {
        write();
        chmod(&dir.join("key.pem"), exposed);
        let error = Bundle::load(dir).unwrap_err();
        assert!(matches!(error, Error::KeyExposed { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    chmod(&dir.join("key.pem"), 0o400);
    Bundle::load(dir).unwrap();

    let old_key = fs::read(dir.join("key.pem")).unwrap();
    write();
    fs::write(dir.join("key.pem"), old_key).unwrap();
    let error = Bundle::load(dir).unwrap_err();
    assert!(matches!(error, Error::KeyMismatch { .. }), "{error}");
}

#[test]
fn a_site_may_bring_a_chain_and_several_authorities() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (ours, next) = (
        Authority::create("nano.local").unwrap(),
        Authority::create("nano.local").unwrap(),
    );
    let bundle = ours
        .issue(&"node/a".parse().unwrap(), LEAF_LIFETIME)
        .unwrap();
    bundle.write(dir).unwrap();
    let cert = fs::read_to_string(dir.join("cert.pem")).unwrap();
    fs::write(
        dir.join("cert.pem"),
        format!("a comment\n{cert}{}", ours.ca_pem()),
    )
    .unwrap();
    fs::write(
        dir.join("ca.pem"),
        format!("{}{}", next.ca_pem(), ours.ca_pem()),
    )
    .unwrap();
    assert_eq!(Bundle::load(dir).unwrap().identity().short(), "node/a");

    fs::write(dir.join("cert.pem"), ours.ca_pem()).unwrap();
    let error = Bundle::load(dir).unwrap_err().to_string();
    assert!(
        error.contains("cert.pem") && error.contains("it has no path"),
        "{error}"
    );
}

#[test]
fn a_reader_never_sees_a_mix() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let bundles = ["node/a", "node/b"].map(|name| {
        let authority = Authority::create("nano.local").unwrap();
        authority
            .issue(&name.parse().unwrap(), LEAF_LIFETIME)
            .unwrap()
    });
    bundles[0].write(dir).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for bundle in bundles.iter().cycle().take(60) {
                bundle.write(dir).unwrap();
                thread::sleep(Duration::from_millis(10));
            }
        });
        while !writer.is_finished() {
            let loaded = Bundle::load(dir).unwrap();
            // Its key, its certificate and its authority have to agree for that.
            assert_talks(&loaded, &loaded);
        }
    });
}

#[test]
fn set_up_is_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("state/tls");
    let node = set_up(dir, OWN_LIFETIME).unwrap().node;
    assert_eq!(
        node.identity().to_string(),
        "spiffe://nano.local/node/local"
    );
    let client = Bundle::load(&client_dir(dir)).unwrap();
    assert_eq!(
        client.identity().to_string(),
        "spiffe://nano.local/client/local"
    );
    for folder in [
        dir.clone(),
        authority_dir(dir),
        node_dir(dir),
        client_dir(dir),
    ] {
        assert_eq!(mode(&folder), 0o700);
    }

    let before = contents(dir);
    set_up(dir, OWN_LIFETIME).unwrap();
    assert_eq!(contents(dir), before);
}

#[test]
fn set_up_makes_whatever_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    set_up(dir, OWN_LIFETIME).unwrap();
    let bundle_files = ["node", "client"]
        .iter()
        .flat_map(|party| ["ca.pem", "cert.pem", "key.pem"].map(|file| format!("{party}/{file}")));
    for file in bundle_files.chain(["authority/ca.pem".into()]) {
        let old_client = Bundle::load(&client_dir(dir)).unwrap();
        fs::remove_file(dir.join(&file)).unwrap();
        let node = set_up(dir, OWN_LIFETIME).unwrap().node;
        assert_all_agree(dir);
        // What was issued before the loss is still good: the authority's key is the same.
        assert_talks(&old_client, &node);
    }
    for folder in ["node", "client", "authority"] {
        fs::remove_dir_all(dir.join(folder)).unwrap();
        set_up(dir, OWN_LIFETIME).unwrap();
        assert_all_agree(dir);
    }
}

#[test]
fn set_up_completes_what_a_kill_interrupted() {
    let whole = tempfile::tempdir().unwrap();
    set_up(whole.path(), OWN_LIFETIME).unwrap();
    // In the order of writing: a kill leaves any beginning of it, with stages of the rest.
    let order = [
        "authority/ca-key.pem",
        "authority/ca.pem",
        "node/key.pem",
        "node/cert.pem",
        "node/ca.pem",
        "client/key.pem",
        "client/cert.pem",
        "client/ca.pem",
    ];
    for done in 0..=order.len() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for (index, file) in order.iter().enumerate() {
            let path = dir.join(file);
            let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap());
            fs::create_dir_all(folder).unwrap();
            if index < done {
                fs::copy(whole.path().join(file), &path).unwrap();
            } else {
                let stage = format!(".{}.new", name.to_str().unwrap());
                fs::write(folder.join(stage), "half a fi").unwrap();
            }
        }
        set_up(dir, OWN_LIFETIME).unwrap();
        assert_all_agree(dir);
    }
}

#[test]
fn set_up_completes_an_interrupted_renewal() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    set_up(dir, OWN_LIFETIME).unwrap();
    let authority = Authority::load(&authority_dir(dir)).unwrap();
    let cert = fs::read(node_dir(dir).join("cert.pem")).unwrap();
    let renewed = authority
        .issue(&"node/local".parse().unwrap(), LEAF_LIFETIME)
        .unwrap();
    renewed.write(&node_dir(dir)).unwrap();
    // The new key was in place, the new certificate not yet.
    fs::write(node_dir(dir).join("cert.pem"), cert).unwrap();
    set_up(dir, OWN_LIFETIME).unwrap();
    assert_all_agree(dir);
}

#[test]
fn set_up_renews_what_is_past_three_fifths_of_its_life_or_lives_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    set_up(dir, OWN_LIFETIME).unwrap();
    let authority = Authority::load(&authority_dir(dir)).unwrap();
    let write = |lifetime| {
        let old = authority.issue(&"node/local".parse().unwrap(), lifetime);
        let old = old.unwrap();
        old.write(&node_dir(dir)).unwrap();
        old
    };
    let is_kept = |old: &Bundle, lifetime| {
        let node = set_up(dir, lifetime).unwrap().node;
        node.serial() == old.serial()
    };
    let hour = Duration::from_secs(3600);
    assert!(is_kept(&write(hour), hour));
    assert!(!is_kept(&write(hour), hour / 2), "it lives for too long");
    let short = write(Duration::from_secs(5));
    assert!(is_kept(&short, hour));
    while SystemTime::now() < short.validity().not_after - Duration::from_secs(1) {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(!is_kept(&short, hour), "it is about to end");
}

#[test]
fn set_up_leaves_broken_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for file in [
        "authority/ca.pem",
        "authority/ca-key.pem",
        "node/cert.pem",
        "client/key.pem",
    ] {
        set_up(dir, OWN_LIFETIME).unwrap();
        let path = dir.join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, "rubbish").unwrap();
        let error = set_up(dir, OWN_LIFETIME).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
        assert!(
            error.to_string().starts_with(&path.display().to_string()),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"rubbish");
        fs::write(&path, good).unwrap();
    }

    fs::remove_file(dir.join("authority/ca-key.pem")).unwrap();
    let error = set_up(dir, OWN_LIFETIME).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(
        error.to_string().contains("restore it from a backup"),
        "{error}"
    );
}

#[test]
fn set_up_by_many_at_once_makes_one_authority() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let nodes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| set_up(dir, OWN_LIFETIME).unwrap().node))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_all_agree(dir);
    let ends: Vec<_> = nodes.iter().map(|node| node.validity().not_after).collect();
    assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "{ends:?}");
}

/// Every file is there and of the same authority, with its mode, and nothing lies about.
fn assert_all_agree(dir: &Path) {
    let authority = Authority::load(&authority_dir(dir)).unwrap();
    for folder in [node_dir(dir), client_dir(dir)] {
        Bundle::load(&folder).unwrap();
        let ca = fs::read_to_string(folder.join("ca.pem")).unwrap();
        assert_eq!(ca, authority.ca_pem());
        assert_eq!(mode(&folder.join("key.pem")), 0o600);
    }
    for (path, _) in contents(dir) {
        assert!(!path.ends_with(".new"), "{path}");
    }
    let node = Bundle::load(&node_dir(dir)).unwrap();
    assert_talks(&Bundle::load(&client_dir(dir)).unwrap(), &node);
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in [authority_dir(dir), node_dir(dir), client_dir(dir)] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// The two can shake hands.
fn assert_talks(client: &Bundle, server: &Bundle) {
    let expect = nano_tls::Expect::Identity(server.identity().clone());
    let name = "x".try_into().unwrap();
    let client = client.client_config(expect).unwrap();
    let mut client = rustls::ClientConnection::new(client.into(), name).unwrap();
    let mut server = rustls::ServerConnection::new(server.server_config().unwrap().into()).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
