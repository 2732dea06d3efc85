//! Whose certificates are believed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
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
    /// Makes what a connection over TLS needs, for these protocols above it.
    ///
    /// # Errors
    ///
    /// [`WireError`] where the certificates can't be read.
    pub(super) fn config(&self, protocols: &[&str]) -> Result<ClientConfig, WireError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| WireError::new(ErrorKind::Tls, &error))?;
        let builder = match self {
            Self::System => builder
                .with_platform_verifier()
                .map_err(|error| WireError::new(ErrorKind::Tls, &error))?,
            Self::Authorities(pem) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Authorities::new(pem, provider)?)),
            Self::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Believing(provider))),
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Ok(config)
    }

    /// Has a client of reqwest believe the same.
    pub(super) fn apply(
        &self,
        builder: reqwest::ClientBuilder,
        protocols: &[&str],
    ) -> Result<reqwest::ClientBuilder, WireError> {
        match self {
            Self::System => Ok(builder),
            Self::Authorities(_) => Ok(builder.tls_backend_preconfigured(self.config(protocols)?)),
            Self::Anyone => Ok(builder.tls_danger_accept_invalid_certs(true)),
        }
    }

    /// Reads the certificates of authorities.
    ///
    /// # Errors
    ///
    /// [`WireError`] where there is none, or one that is broken.
    pub fn authorities(pem: Vec<u8>) -> Result<Self, WireError> {
        Authorities::new(&pem, Arc::new(rustls::crypto::ring::default_provider()))?;
        Ok(Self::Authorities(pem.into()))
    }
}

/// Believes what these authorities signed, and their own certificates where servers show them: one
/// that somebody made for a server of theirs is its own authority.
#[derive(Debug)]
struct Authorities {
    chains: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn new(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, WireError> {
        let failed = |error: &dyn std::fmt::Display| WireError {
            kind: ErrorKind::Tls,
            message: error.to_string(),
        };
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| failed(&error))?;
        if certificates.is_empty() {
            return Err(failed(&"it has no certificate in PEM"));
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let added = roots.add(certificate.clone());
            added.map_err(|error| failed(&error))?;
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self {
            chains: chains.build().map_err(|error| failed(&error))?,
            certificates,
        })
    }
}

/// Says whether a certificate was refused for being that of an authority, and for nothing else: its
/// dates have been looked at before.
fn is_of_an_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = (self.chains).verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(error) if is_of_an_authority(&error) && self.certificates.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        (self.chains).verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        (self.chains).verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
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
