//! The command line of `nanod tls`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Form;

const REVOKE_HELP: &str = "\
The list is written into the authority's folder. It takes effect where it is copied to, beside
cert.pem, under the name crl.pem: at nodes first, which close the sessions of who is revoked within
seconds and remove their routes; and at services and clients, which do the same with calls that
come and go without a node.";

/// `nanod tls`
#[derive(Subcommand)]
pub enum Tls {
    /// Make an authority: ca.pem and ca-key.pem
    Init {
        /// The folder to make it in
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The trust domain that its identities begin with: spiffe://NAME/...
        #[arg(long, default_value = nano_tls::TRUST_DOMAIN, value_name = "NAME")]
        trust_domain: String,
    },
    /// Say what a certificate says: whose it is, its authority, how long it is valid
    Show {
        /// A folder with ca.pem, cert.pem and key.pem, an authority's folder, or a certificate in PEM
        #[arg(value_name = "FOLDER|CERT")]
        path: PathBuf,
        /// In which form to print it
        #[command(flatten)]
        form: Form,
    },
    /// Issue a new certificate, with a new key, in the place of the one in a folder
    Renew {
        /// The folder with the three files; nodes and services that run take the new ones over
        folder: PathBuf,
        /// The authority's folder, with ca.pem and ca-key.pem
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// How long it is valid, in days [default: as long as the old one was]
        #[arg(long, value_name = "DAYS")]
        days: Option<u64>,
    },
    /// Put certificates on the authority's revocation list, crl.pem
    #[command(after_help = REVOKE_HELP)]
    Revoke {
        /// The authority's folder, with ca.pem and ca-key.pem
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// A party, as service/math: all of its certificates that the authority has on record and
        /// that are valid yet. Or the file of one certificate
        #[arg(value_name = "IDENTITY|CERT")]
        whose: PathBuf,
    },
    /// Issue a certificate: ca.pem, cert.pem and key.pem
    Issue {
        /// Whose it is: node/NAME, service/NAME or client/NAME
        name: String,
        /// The authority's folder, with ca.pem and ca-key.pem
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// The folder to put the three files in
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How long it is valid, in days
        #[arg(long, default_value_t = nano_tls::LEAF_LIFETIME.as_secs() / 86_400, value_name = "DAYS")]
        days: u64,
    },
}
