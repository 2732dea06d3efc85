//! Whose certificates are believed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;

use super::WireError;
use crate::capture::schema::ErrorKind;

/// Whose certificates of servers are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system trusts.
    #[default]
    System,
    /// Those that these authorities signed, and no others: certificates in PEM.
    Authorities(Arc<[u8]>),
    /// Whoever answers.
    Anyone,
}

impl Trust {
    /// Makes what a connection over TLS needs, for HTTP/1.1 alone.
    ///
    /// # Errors
    ///
    /// [`WireError`] where the certificates can't be read.
    pub(super) fn config(&self) -> Result<ClientConfig, WireError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| WireError::new(ErrorKind::Tls, &error))?;
        let builder = match self {
            Self::System => builder
                .with_platform_verifier()
                .map_err(|error| WireError::new(ErrorKind::Tls, &error))?,
            Self::Authorities(pem) => builder.with_root_certificates(roots(pem)?),
            Self::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Believing(provider))),
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Has a client of reqwest believe the same.
    pub(super) fn apply(
        &self,
        builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, WireError> {
        match self {
            Self::System => Ok(builder),
            Self::Authorities(pem) => {
                let authorities = reqwest::Certificate::from_pem_bundle(pem)
                    .map_err(|error| WireError::new(ErrorKind::Tls, &error))?;
                Ok(builder.tls_certs_only(authorities))
            }
            Self::Anyone => Ok(builder.tls_danger_accept_invalid_certs(true)),
        }
    }

    /// Reads the certificates of authorities.
    ///
    /// # Errors
    ///
    /// [`WireError`] where there is none, or one that is broken.
    pub fn authorities(pem: Vec<u8>) -> Result<Self, WireError> {
        roots(&pem)?;
        Ok(Self::Authorities(pem.into()))
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, WireError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| WireError::new(ErrorKind::Tls, &error))?;
        roots
            .add(certificate)
            .map_err(|error| WireError::new(ErrorKind::Tls, &error))?;
    }
    if roots.is_empty() {
        return Err(WireError {
            kind: ErrorKind::Tls,
            message: "it has no certificate in PEM".to_owned(),
        });
    }
    Ok(roots)
}

/// Believes every certificate. What is signed with it is checked all the same.
#[derive(Debug)]
struct Believing(Arc<CryptoProvider>);

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
