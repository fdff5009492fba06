//! What a certificate says: DER comes in, its identity, validity and number go out.
//!
//! Nothing here is proof. Peers' certificates are read only after their chain has been verified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::{Error, Identity, Result, Validity};

/// What a party's own certificate says.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) identity: Identity,
    pub(crate) validity: Validity,
    pub(crate) serial: Vec<u8>,
}

impl Leaf {
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self> {
        let certificate = parse(der)?;
        Ok(Self {
            identity: Identity::parse_uri(only_uri(&certificate)?)?,
            validity: validity_of(&certificate),
            serial: certificate.raw_serial().to_vec(),
        })
    }
}

/// From when to when a certificate is valid, whoever has it.
pub(crate) fn validity(der: &CertificateDer<'_>) -> Result<Validity> {
    Ok(validity_of(&parse(der)?))
}

fn validity_of(certificate: &X509Certificate<'_>) -> Validity {
    Validity {
        not_before: system_time(certificate.validity().not_before),
        not_after: system_time(certificate.validity().not_after),
    }
}

/// The certificate, whole: nothing may follow it.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(Error::Certificate("bytes follow its end".into())),
        Err(error) => Err(Error::Certificate(error.to_string())),
    }
}

/// The one URI that the certificate names. An alternative name that cannot be read spoils the
/// certificate: it might be another URI.
pub(crate) fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| Error::Certificate(format!("alternative names: {error}")))?;
    let mut uris = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::Invalid(..) => {
                return Err(Error::Certificate(
                    "it has an alternative name that cannot be read".into(),
                ));
            }
            _ => {}
        }
    }
    match uris[..] {
        [uri] => Ok(uri),
        _ => Err(Error::UriCount { found: uris.len() }),
    }
}

/// Times before 1970 become 1970: such a certificate is over either way.
pub(crate) fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds)
}
