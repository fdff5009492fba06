//! What is in use while files change: taken over, refused, renewed, revoked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nano_tls::{
    Authority, Bundle, Credentials, Distrust, Error, LEAF_LIFETIME, Revoke, Role, Secret,
    SecretSource, Source, Summary,
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(60 * 60);

#[test]
fn files_that_change_are_taken_over_and_others_are_not_read() {
    let site = Site::new();
    let folder = site.issue("node/a");
    let credentials = open(&folder);
    let first = credentials.current();
    assert!(!look(&credentials));

    site.issue("node/a");
    assert!(look(&credentials));
    assert_ne!(credentials.current().serial(), first.serial());
    assert!(!look(&credentials));
    assert!(!credentials.reload(SystemTime::now()), "the same again");
}

#[test]
fn what_cannot_be_used_leaves_the_old_in_place() {
    let site = Site::new();
    let folder = site.issue("node/a");
    let credentials = open(&folder);
    let serial = credentials.current().serial().to_vec();
    let other = site.issue("node/b");
    let over = site
        .authority()
        .issue(&"node/a".parse().unwrap(), Duration::ZERO);
    let changes: [&dyn Fn(); 5] = [
        &|| fs::write(folder.join("ca.pem"), "none").unwrap(),
        &|| fs::remove_file(folder.join("cert.pem")).unwrap(),
        &|| fs::set_permissions(folder.join("key.pem"), Permissions::from_mode(0o644)).unwrap(),
        &|| copy(&other, &folder),
        &|| over.as_ref().unwrap().write(&folder).unwrap(),
    ];
    let good = Bundle::load(&folder).unwrap();
    for (turn, change) in changes.iter().enumerate() {
        change();
        assert!(!look(&credentials), "{turn}");
        assert_eq!(credentials.current().serial(), serial, "{turn}");
        good.write(&folder).unwrap();
        assert!(!look(&credentials), "{turn}");
    }
    site.issue("node/a");
    assert!(look(&credentials));
}

#[test]
fn a_party_that_issues_its_own_certificate_renews_it_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let sources = [
        Source::Own {
            folder: dir.path().to_owned(),
            lifetime: HOUR,
        },
        Source::Secret {
            secret: SecretSource::Given(Secret::new("0123456789abcdef").unwrap()),
            name: "node/a".parse().unwrap(),
            lifetime: HOUR,
        },
    ];
    for source in sources {
        let credentials = Credentials::open(source.clone()).unwrap();
        let first = credentials.current();
        // One more look sees what opening has written.
        look(&credentials);
        assert_eq!(credentials.current().serial(), first.serial());
        let now = SystemTime::now();
        assert!(!credentials.look(now + HOUR / 2), "{source:?}");
        if let Source::Secret { .. } = source {
            assert!(credentials.look(now + HOUR * 9 / 10 - Duration::from_secs(60)));
            assert_ne!(credentials.current().serial(), first.serial());
            assert_eq!(credentials.current().identity(), first.identity());
        }
    }
}

#[test]
fn configurations_that_were_made_before_follow() {
    let (site, next) = (Site::new(), Site::new());
    let (node, client) = (site.issue("node/a"), site.issue("client/c"));
    let node = open(&node);
    let server = Arc::new(node.server_config().unwrap());
    let connect = |folder: &Path| {
        let own = Bundle::load(folder).unwrap();
        shake_hands(&server, &own)
    };
    connect(&client).unwrap();
    let stranger = next.issue("client/d");
    let both = site.ca() + &next.ca();
    fs::write(stranger.join("ca.pem"), &both).unwrap();
    assert!(connect(&stranger).unwrap_err().contains("UnknownIssuer"));

    fs::write(site.folder("node/a").join("ca.pem"), &both).unwrap();
    assert!(look(&node));
    connect(&stranger).unwrap();
    connect(&client).unwrap();

    site.revoke("client/c");
    copy_list(&site, "node/a");
    assert!(look(&node));
    assert!(connect(&client).unwrap_err().contains("Revoked"));
    // The other authority has no list, and need not.
    connect(&stranger).unwrap();
    let renewed = site.issue("client/c");
    connect(&renewed).unwrap();
}

#[test]
fn a_client_refuses_a_server_that_is_revoked() {
    let site = Site::new();
    let (node, client) = (site.issue("node/a"), site.issue("client/c"));
    let server = Arc::new(open(&node).server_config().unwrap());
    shake_hands(&server, &Bundle::load(&client).unwrap()).unwrap();
    site.revoke("node/a");
    copy_list(&site, "client/c");
    let refused = shake_hands(&server, &Bundle::load(&client).unwrap());
    assert!(refused.unwrap_err().contains("Revoked"));
}

#[test]
fn a_list_is_refused_that_is_none_is_foreign_or_past_its_time() {
    let (site, other) = (Site::new(), Site::new());
    let folder = site.issue("node/a");
    other.issue("client/c");
    other.revoke("client/c");
    let foreign = fs::read_to_string(other.dir.path().join("ca/crl.pem")).unwrap();
    for (text, reason) in [
        ("", "there is none in it"),
        (foreign.as_str(), "none of the authorities in ca.pem"),
        (
            &site.list_until(SystemTime::now() - HOUR),
            "was to come by now",
        ),
    ] {
        fs::write(folder.join("crl.pem"), text).unwrap();
        let error = Bundle::load(&folder).unwrap_err().to_string();
        assert!(
            error.contains(reason) && error.contains("crl.pem"),
            "{error}"
        );
    }
    fs::write(
        folder.join("crl.pem"),
        site.list_until(SystemTime::now() + HOUR),
    )
    .unwrap();
    let bundle = Bundle::load(&folder).unwrap();
    assert!(bundle.next_revocations().unwrap() > SystemTime::now());
}

#[test]
fn an_authority_revokes_what_it_has_issued_and_nothing_else() {
    let site = Site::new();
    let first = site.issue("client/c");
    let saved = site.folder("saved");
    fs::create_dir(&saved).unwrap();
    copy(&first, &saved);
    site.issue("client/c");
    let revoke = |whose| site.authority().revoke(&whose);
    let named = |name: &str| Revoke::Name(name.parse().unwrap());
    assert_eq!(revoke(named("client/c")).unwrap(), 2, "the old one too");
    assert_eq!(revoke(named("client/c")).unwrap(), 0);
    assert_eq!(
        revoke(Revoke::Certificate(saved.join("cert.pem"))).unwrap(),
        0
    );
    let error = revoke(named("client/nobody")).unwrap_err();
    assert!(matches!(error, Error::NotIssued { .. }), "{error}");

    let other = Site::new()
        .authority()
        .issue(&"client/c".parse().unwrap(), HOUR);
    other.unwrap().write(&saved).unwrap();
    let error = revoke(Revoke::Certificate(saved.join("cert.pem"))).unwrap_err();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");

    // What was not issued into a folder is not on record.
    let unknown = site.authority().issue(&"client/d".parse().unwrap(), HOUR);
    unknown.unwrap().write(&saved).unwrap();
    assert_eq!(
        revoke(Revoke::Certificate(saved.join("cert.pem"))).unwrap(),
        1
    );
    // Whoever is issued a certificate now is told of all of them.
    let told = site.issue("client/e");
    assert!(told.join("crl.pem").exists());
    let issued = fs::metadata(site.dir.path().join("ca/issued")).unwrap();
    assert_eq!(issued.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_renewed_folder_has_the_same_party_another_key_and_the_same_authorities() {
    let (site, next) = (Site::new(), Site::new());
    let folder = site.issue("service/math");
    let both = site.ca() + &next.ca();
    fs::write(folder.join("ca.pem"), &both).unwrap();
    let (old, key) = (
        Bundle::load(&folder).unwrap(),
        fs::read(folder.join("key.pem")).unwrap(),
    );
    let new = site.authority().renew(&folder, Some(HOUR)).unwrap();
    assert_eq!(new.identity(), old.identity());
    assert_ne!(new.serial(), old.serial());
    assert_ne!(fs::read(folder.join("key.pem")).unwrap(), key);
    assert_eq!(fs::read_to_string(folder.join("ca.pem")).unwrap(), both);
    assert!(new.validity().left(SystemTime::now()) <= HOUR);
    let as_long = site.authority().renew(&folder, None).unwrap();
    assert!(as_long.validity().length() < HOUR * 2);
    let moved = next.authority().renew(&folder, None).unwrap();
    assert_eq!(moved.fingerprints().len(), 2);
}

#[test]
fn a_summary_says_what_is_there() {
    let site = Site::new();
    let folder = site.issue("node/a");
    let bundle = Bundle::load(&folder).unwrap();
    let of_folder = Summary::of(&folder).unwrap();
    assert_eq!(of_folder.identity, "spiffe://nano.local/node/a");
    assert_eq!(of_folder.validity, bundle.validity());
    assert_eq!(of_folder.authorities, [bundle.fingerprint()]);
    let of_file = Summary::of(&folder.join("cert.pem")).unwrap();
    assert_eq!(of_file.serial, of_folder.serial);
    assert!(of_file.authorities.is_empty());
    let of_authority = Summary::of(&site.dir.path().join("ca")).unwrap();
    assert_eq!(of_authority.identity, "spiffe://nano.local");
    assert_eq!(of_authority.authorities, [bundle.fingerprint()]);
    let error = Summary::of(&folder.join("key.pem"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("key.pem") && error.contains("name a certificate"),
        "{error}"
    );
}

/// A site's own: an intermediate authority, and a key as `openssl ecparam -genkey` writes it.
#[test]
fn chains_with_intermediates_and_sec1_keys_work() {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name
        .push(rcgen::DnType::CommonName, "root");
    let root_certificate = root.self_signed(&root_key).unwrap();
    let root = Issuer::new(root, root_key);
    let middle_key = KeyPair::generate().unwrap();
    let mut middle = CertificateParams::default();
    middle.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    middle.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    middle
        .distinguished_name
        .push(rcgen::DnType::CommonName, "middle");
    let middle_certificate = middle.signed_by(&middle_key, &root).unwrap();
    let middle = Issuer::new(middle, middle_key);

    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str, text: &str| {
        let key = KeyPair::from_pem(PKCS8).unwrap();
        let mut leaf = CertificateParams::default();
        let uri = format!("spiffe://example.org/{name}");
        leaf.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let leaf = leaf.signed_by(&key, &middle).unwrap();
        let folder = dir.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ca.pem"), root_certificate.pem()).unwrap();
        fs::write(
            folder.join("cert.pem"),
            leaf.pem() + &middle_certificate.pem(),
        )
        .unwrap();
        fs::write(folder.join("key.pem"), text).unwrap();
        fs::set_permissions(folder.join("key.pem"), Permissions::from_mode(0o600)).unwrap();
        folder
    };
    let server = Arc::new(open(&folder("node/a", SEC1)).server_config().unwrap());
    shake_hands(&server, &Bundle::load(&folder("client/c", PKCS8)).unwrap()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_distrusted_at_the_end_of_its_certificate_and_when_it_is_revoked() {
    let site = Site::new();
    let node = open(&site.issue("node/a"));
    let chain = |name: &str, lifetime| {
        let folder = site.issue_for(name, lifetime);
        let text = fs::read(folder.join("cert.pem")).unwrap();
        vec![CertificateDer::from_pem_slice(&text).unwrap()]
    };
    let distrusts = |chain, role| Arc::clone(&node).distrusts(chain, role);
    let over = distrusts(chain("client/over", Duration::ZERO), Role::Client).await;
    assert_eq!(over, Distrust::Expired);

    let mut good = Box::pin(distrusts(chain("client/good", HOUR * 24), Role::Client));
    let mut evil = Box::pin(distrusts(chain("client/evil", HOUR * 24), Role::Client));
    let brief = Duration::from_secs(600);
    assert!(tokio::time::timeout(brief, &mut good).await.is_err());
    assert!(tokio::time::timeout(brief, &mut evil).await.is_err());
    site.revoke("client/evil");
    copy_list(&site, "node/a");
    assert!(look(&node));
    match evil.await {
        Distrust::Refused(reason) => assert!(reason.contains("Revoked"), "{reason}"),
        Distrust::Expired => panic!("it has not ended"),
    }
    assert!(tokio::time::timeout(brief, &mut good).await.is_err());
    // One that was revoked before anybody waited for it is found as well.
    let late = distrusts(chain("client/late", HOUR), Role::Client);
    site.revoke("client/late");
    copy_list(&site, "node/a");
    assert!(look(&node));
    assert!(matches!(late.await, Distrust::Refused(_)));
}

/// An authority with its files, and what it has issued.
struct Site {
    dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create("nano.local").unwrap();
        authority.write(&dir.path().join("ca")).unwrap();
        Self { dir }
    }

    fn authority(&self) -> Authority {
        Authority::load(&self.dir.path().join("ca")).unwrap()
    }

    fn ca(&self) -> String {
        self.authority().ca_pem().to_owned()
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn issue(&self, name: &str) -> PathBuf {
        self.issue_for(name, LEAF_LIFETIME)
    }

    fn issue_for(&self, name: &str, lifetime: Duration) -> PathBuf {
        let folder = self.folder(name);
        let issued = self
            .authority()
            .issue_into(&folder, &name.parse().unwrap(), lifetime);
        issued.unwrap();
        folder
    }

    fn revoke(&self, name: &str) {
        let whose = Revoke::Name(name.parse().unwrap());
        self.authority().revoke(&whose).unwrap();
    }

    /// A list that is good until then, as a site's own tools write it.
    fn list_until(&self, end: SystemTime) -> String {
        let read = |name| fs::read_to_string(self.dir.path().join("ca").join(name)).unwrap();
        let key = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
        let params = rcgen::CertificateRevocationListParams {
            this_update: (end - HOUR * 2).into(),
            next_update: end.into(),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&issuer).unwrap().pem().unwrap()
    }
}

fn open(folder: &Path) -> Arc<Credentials> {
    Credentials::open(Source::Folder(folder.to_owned())).unwrap()
}

fn look(credentials: &Credentials) -> bool {
    credentials.look(SystemTime::now())
}

fn copy(from: &Path, to: &Path) {
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn copy_list(site: &Site, name: &str) {
    let list = site.dir.path().join("ca/crl.pem");
    fs::copy(list, site.folder(name).join("crl.pem")).unwrap();
}

/// A key as `openssl ecparam -genkey` writes it, and the same as PKCS#8; of use nowhere else.
const SEC1: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIOK5wPWJ77uD1TNt4zRVG647UdT8hQg+Ott0wAZEyC7LoAoGCCqGSM49
AwEHoUQDQgAEoU0oUDlcLbZV6ouha7tCLW1IVzxA1EdArYIne3ujLgD+EDEtYzFw
iSik0DLEQpfH8AlyLupGyXxSz6HBz4D9wA==
-----END EC PRIVATE KEY-----
";
const PKCS8: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4rnA9Ynvu4PVM23j
NFUbrjtR1PyFCD4623TABkTILsuhRANCAAShTShQOVwttlXqi6Fru0ItbUhXPEDU
R0Ctgid7e6MuAP4QMS1jMXCJKKTQMsRCl8fwCXIu6kbJfFLPocHPgP3A
-----END PRIVATE KEY-----
";

/// Carries a handshake from one side to the other until both are done, or why they are not.
fn shake_hands(server: &Arc<rustls::ServerConfig>, own: &Bundle) -> Result<(), String> {
    let expect = nano_tls::Expect::Kind(nano_tls::Kind::Node);
    let client = own.client_config(expect).unwrap();
    let name = ServerName::try_from("not.looked.at").unwrap();
    let mut client = rustls::ClientConnection::new(client.into(), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::clone(server)).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        while !bytes.is_empty() {
            let read = server.read_tls(&mut &bytes[..]).unwrap();
            bytes.drain(..read);
            server
                .process_new_packets()
                .map_err(|error| error.to_string())?;
        }
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        while !bytes.is_empty() {
            let read = client.read_tls(&mut &bytes[..]).unwrap();
            bytes.drain(..read);
            client
                .process_new_packets()
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
