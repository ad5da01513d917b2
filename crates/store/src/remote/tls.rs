//! Whom to trust: the authorities that the system knows, and those that the server's option `ca` names.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::shown::shown;

/// Why the authorities cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// How to speak TLS. Without `encrypted` nobody is trusted, and nothing is read.
pub(super) fn config(encrypted: bool, ca: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    if encrypted {
        // What cannot be read there is left out: an authority too few is noticed, and named, when the server is not trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(path) = ca {
        add_file(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let unusable = |why: String| TrustError::File {
        path: path.into(),
        why,
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|error| unusable(format!("is not a PEM file: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(format!("holds no certificate of an authority: {error}")))?;
        added += 1;
    }
    if added == 0 {
        return Err(unusable("holds no certificate in PEM form".into()));
    }
    Ok(())
}

/// What is wrong with the server's certificate, where that is what went wrong, and what to do about it.
pub(super) fn certificate_trouble(error: &(dyn StdError + 'static)) -> Option<String> {
    let tls = find_tls(error)?;
    let rustls::Error::InvalidCertificate(trouble) = tls else {
        return None;
    };
    let text = match trouble {
        // A signature is bad when another authority has the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate was issued by an authority that this machine does not know. If the server is yours, get the authority's \
             certificate from whoever runs it and name it among the server's options: ca = \"PATH\""
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: renew it on the server (or set this machine's clock)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: set the clocks of this machine and of the server".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is another server's: write the name that it was issued for ({})", shown(trouble.to_string()))
        }
        CertificateError::Revoked => "its certificate was revoked: the server needs a new one".to_owned(),
        other => format!("its certificate cannot be used ({})", shown(other.to_string())),
    };
    Some(text)
}

/// The error of the TLS library, wherever it is wrapped.
fn find_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An I/O error tells its cause only by its own method.
        if let Some(inner) = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            && let Some(tls) = find_tls(inner)
        {
            return Some(tls);
        }
        next = error.source();
    }
    None
}
