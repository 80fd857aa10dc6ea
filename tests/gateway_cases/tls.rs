//! Connections over TLS: who may resume a session, and who is let go before there is one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
};

use tempfile::TempDir;

use crate::site::Site;

/// More than the library remembers by itself: 256 sessions, two a client.
const OTHERS: usize = 150;
/// A head's time in these tests is three seconds; a busy machine adds to it.
const LET_GO_WITHIN: Duration = Duration::from_secs(20);

/// A connection after its handshake.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

/// A site whose gateway speaks TLS, with further settings; and where its certificate is.
pub async fn site(settings: &[(&str, &str)]) -> Result<(Site, TempDir)> {
    let folder = tempfile::tempdir()?;
    let Certificate { cert, key } = Certificate::make(folder.path())?;
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let files = [("APICLAY_GATEWAY_TLS_CERT_FILE", &*cert), ("APICLAY_GATEWAY_TLS_KEY_FILE", &*key)];
    let site = Site::start_under(&[settings, &files].concat()).await?;
    Ok((site, folder))
}

/// A client that remembers its sessions.
pub fn client() -> Arc<ClientConfig> {
    // Another test of this process may have installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Any));
    Arc::new(config.with_no_client_auth())
}

/// Connects, and shakes hands.
pub fn connect(client: &Arc<ClientConfig>, address: SocketAddr) -> Result<Connection> {
    let name = ServerName::try_from("localhost").context("a name")?;
    let mut connection = ClientConnection::new(Arc::clone(client), name)?;
    let mut socket = TcpStream::connect(address)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// One call; says whether the session was resumed.
fn resumes(client: &Arc<ClientConfig>, address: SocketAddr, request: &str) -> Result<bool> {
    let mut connection = connect(client, address)?;
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(connection.conn.handshake_kind() == Some(HandshakeKind::Resumed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_resumes_its_session_however_many_came_after_it() -> Result<()> {
    let (site, _certificate) = site(&[]).await?;
    let request = site.head("GET", "/now/pune") + "connection: close\r\n\r\n";
    let address = site.market.gateway_address;
    let calls = tokio::task::spawn_blocking(move || {
        let first = client();
        ensure!(!resumes(&first, address, &request)?, "there was nothing to resume");
        for _ in 0..OTHERS {
            ensure!(!resumes(&client(), address, &request)?, "another's session was resumed");
        }
        ensure!(resumes(&first, address, &request)?, "a whole handshake again");
        Ok(())
    });
    calls.await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_to_no_session_is_let_go_in_a_heads_time() -> Result<()> {
    let (site, _certificate) = site(&[]).await?;
    let address = site.market.gateway_address;
    // Nothing, the beginning of a record, and what is no TLS.
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let ended = tokio::task::spawn_blocking(move || {
            let mut socket = TcpStream::connect(address)?;
            socket.set_read_timeout(Some(LET_GO_WITHIN))?;
            socket.write_all(sent)?;
            socket.read_to_end(&mut Vec::new())
        });
        ended.await?.with_context(|| format!("not let go after {:?}", sent.escape_ascii().to_string()))?;
    }
    Ok(())
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
