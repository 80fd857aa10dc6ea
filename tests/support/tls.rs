//! A client over TLS that trusts any certificate: one was made for a server of the test. Blocks, and tells of a connection what
//! ready-made clients keep to themselves: which certificate was shown, whether a session was resumed, how it ended.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::http1::ANSWER_DEADLINE_MS;

/// A connection after its handshake.
pub type TlsConnection = StreamOwned<ClientConnection, TcpStream>;

/// A client that remembers its sessions.
#[derive(Debug, Clone)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// One that offers these protocols (ALPN), or does not offer any.
    #[must_use]
    pub fn offering(protocols: &[&str]) -> Self {
        // Another test of this process may have installed the same.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Any));
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Connects, and shakes hands. No read takes longer than an answer may.
    ///
    /// # Errors
    /// When nobody listens, or it comes to no session.
    pub fn connect(&self, address: SocketAddr) -> Result<TlsConnection> {
        let name = ServerName::try_from("localhost").context("a name")?;
        let mut connection = ClientConnection::new(Arc::clone(&self.0), name)?;
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(ANSWER_DEADLINE_MS)))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }
}

/// Trusts anybody: who is connected to is not the question here.
#[derive(Debug)]
struct Any;

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
