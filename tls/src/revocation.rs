//! Revocation lists: the text of `crl.pem` comes in, checked lists go out; and an authority makes a
//! new one of the last one and what is to be revoked. The file owns the state.

use std::time::SystemTime;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason,
    RevokedCertParams, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};
use x509_parser::prelude::CertificateRevocationList;

use crate::config::provider;
use crate::leaf::{self, system_time};
use crate::{Error, Result};

/// What authorities have revoked; nothing by default.
#[derive(Default)]
pub(crate) struct Revocations {
    ders: Vec<CertificateRevocationListDer<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    next_update: Option<SystemTime>,
}

impl Revocations {
    /// The lists in a text, each of which one of `issuers` has to have signed, and none of which
    /// may be past its time.
    pub(crate) fn parse(
        pem: &str,
        issuers: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<Self> {
        let ders: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| Error::RevocationList(error.to_string()))?;
        let mut revocations = Self::default();
        for der in ders {
            revocations.add(der, issuers, now)?;
        }
        match revocations.lists.is_empty() {
            true => Err(Error::RevocationList("there is none in it".into())),
            false => Ok(revocations),
        }
    }

    /// As webpki wants them.
    pub(crate) fn lists(&self) -> &[CertRevocationList<'static>] {
        &self.lists
    }

    /// When the first of them is past its time.
    pub(crate) fn next_update(&self) -> Option<SystemTime> {
        self.next_update
    }

    fn add(
        &mut self,
        der: CertificateRevocationListDer<'static>,
        issuers: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<()> {
        let list = parse(&der)?;
        if !issuers.iter().any(|issuer| is_signed_by(&list, issuer)) {
            let issuer = list.issuer();
            return Err(Error::RevocationList(format!(
                "none of the authorities in ca.pem has signed that of \"{issuer}\""
            )));
        }
        if let Some(next_update) = list.next_update().map(system_time) {
            if next_update <= now {
                return Err(Error::RevocationList(
                    "a newer one was to come by now".into(),
                ));
            }
            let sooner = self.next_update.is_none_or(|earlier| next_update < earlier);
            self.next_update = Some(next_update).filter(|_| sooner).or(self.next_update);
        }
        let owned = OwnedCertRevocationList::from_der(&der)
            .map_err(|error| Error::RevocationList(error.to_string()))?;
        self.lists.push(owned.into());
        self.ders.push(der);
        Ok(())
    }
}

/// By their bytes.
impl PartialEq for Revocations {
    fn eq(&self, other: &Self) -> bool {
        self.ders == other.ders
    }
}

/// A list of one authority, as it grows.
pub(crate) struct List {
    number: u64,
    revoked: Vec<RevokedCertParams>,
}

impl List {
    /// What the last one had.
    pub(crate) fn after(pem: Option<&str>) -> Result<Self> {
        let mut list = Self {
            number: 0,
            revoked: Vec::new(),
        };
        let Some(pem) = pem else {
            return Ok(list);
        };
        let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| Error::RevocationList(error.to_string()))?;
        let last = parse(&der)?;
        let number = last.crl_number().and_then(|it| it.try_into().ok());
        list.number = number.unwrap_or_default();
        for entry in last.iter_revoked_certificates() {
            list.revoked.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(entry.raw_serial()),
                revocation_time: system_time(entry.revocation_date).into(),
                reason_code: entry.reason_code().and_then(|(_, code)| reason(code.0)),
                invalidity_date: None,
            });
        }
        Ok(list)
    }

    /// Adds a certificate; false if it was there.
    pub(crate) fn revoke(&mut self, serial: &[u8], now: SystemTime) -> bool {
        let known = |entry: &RevokedCertParams| entry.serial_number.as_ref() == serial;
        if self.revoked.iter().any(known) {
            return false;
        }
        self.revoked.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        });
        true
    }

    /// The next list. It holds until the authority's own end: nobody signs it anew meanwhile.
    pub(crate) fn sign(
        self,
        issuer: &Issuer<'_, KeyPair>,
        now: SystemTime,
        end: SystemTime,
    ) -> Result<String> {
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: end.into(),
            crl_number: SerialNumber::from(self.number + 1),
            issuing_distribution_point: None,
            revoked_certs: self.revoked,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(issuer)?.pem()?)
    }
}

fn parse<'a>(der: &'a CertificateRevocationListDer<'_>) -> Result<CertificateRevocationList<'a>> {
    match x509_parser::parse_x509_crl(der) {
        Ok(([], list)) => Ok(list),
        Ok(_) => Err(Error::RevocationList("bytes follow its end".into())),
        Err(error) => Err(Error::RevocationList(error.to_string())),
    }
}

/// A list that somebody else signed in the authority's name would keep everybody out.
fn is_signed_by(list: &CertificateRevocationList<'_>, issuer: &CertificateDer<'_>) -> bool {
    let Ok(parsed) = leaf::parse(issuer) else {
        return false;
    };
    let Ok(key) = EndEntityCert::try_from(issuer) else {
        return false;
    };
    let signed = list.tbs_cert_list.as_ref();
    let is_signature_by = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
        key.verify_signature(*algorithm, signed, &list.signature_value.data)
            .is_ok()
    };
    parsed.subject().as_raw() == list.issuer().as_raw()
        && provider()
            .signature_verification_algorithms
            .all
            .iter()
            .any(is_signature_by)
}

/// By its number in RFC 5280, section 5.3.1.
fn reason(code: u8) -> Option<RevocationReason> {
    use RevocationReason as Reason;
    [
        Reason::KeyCompromise,
        Reason::CaCompromise,
        Reason::AffiliationChanged,
        Reason::Superseded,
        Reason::CessationOfOperation,
        Reason::CertificateHold,
        Reason::PrivilegeWithdrawn,
        Reason::AaCompromise,
    ]
    .into_iter()
    .find(|reason| *reason as u8 == code)
}
