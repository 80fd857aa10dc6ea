//! Connections over TLS: who may resume a session, who is let go before there is one, and how one ends. `tls/certificates.rs` renews
//! the certificate.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Certificate, TlsClient};
use rustls::HandshakeKind;
use tempfile::TempDir;

use crate::frames::PREFACE;
use crate::site::Site;

mod certificates;

/// More than the library remembers by itself: 256 sessions, two a client.
const OTHERS: usize = 150;
/// A head's time in these tests is three seconds; a busy machine adds to it.
const LET_GO_WITHIN: Duration = Duration::from_secs(20);

/// What a client may offer (ALPN) that is not HTTP/2.
const NO_HTTP2: [&[&str]; 2] = [&["http/1.1"], &[]];

/// A site whose gateway speaks TLS, with further settings; and where its certificate is.
pub async fn site(settings: &[(&str, &str)]) -> Result<(Site, TempDir)> {
    let folder = tempfile::tempdir()?;
    let Certificate { cert, key } = Certificate::make(folder.path())?;
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let files = [("APICLAY_GATEWAY_TLS_CERT_FILE", &*cert), ("APICLAY_GATEWAY_TLS_KEY_FILE", &*key)];
    let site = Site::start_under(&[settings, &files].concat()).await?;
    Ok((site, folder))
}

/// One call; says whether the session was resumed.
fn resumes(client: &TlsClient, address: SocketAddr, request: &str) -> Result<bool> {
    let mut connection = client.connect(address)?;
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
        let first = TlsClient::offering(&[]);
        ensure!(!resumes(&first, address, &request)?, "there was nothing to resume");
        for _ in 0..OTHERS {
            ensure!(!resumes(&TlsClient::offering(&[]), address, &request)?, "another's session was resumed");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_ended_in_the_manner_of_tls() -> Result<()> {
    let (site, _certificate) = site(&[("APICLAY_GATEWAY_KEEPALIVE_TIMEOUT_MS", "1500")]).await?;
    let address = site.market.gateway_address;
    // One that has made a call, and one that has not.
    for (call, answered) in [(site.head("GET", "/now/pune") + "\r\n", "HTTP/1.1 200"), (String::new(), "")] {
        let came = tokio::task::spawn_blocking(move || {
            let mut connection = TlsClient::offering(&["http/1.1"]).connect(address)?;
            connection.write_all(call.as_bytes())?;
            let mut came = String::new();
            // An end without close_notify is an error: anybody on the way may have cut off what was to come.
            connection.read_to_string(&mut came)?;
            anyhow::Ok(came)
        });
        let came = came.await?.with_context(|| format!("the end after {answered:?}"))?;
        ensure!(came.starts_with(answered) && came.is_empty() == answered.is_empty(), "{came}");
    }
    Ok(())
}

/// In the clear it may be the first that a client sends, and over TLS where that was agreed on: nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preface_of_http2_is_refused_where_tls_agreed_on_no_http2() -> Result<()> {
    let (site, _certificate) = site(&[]).await?;
    let address = site.market.gateway_address;
    for offered in NO_HTTP2 {
        let answer = tokio::task::spawn_blocking(move || {
            let mut connection = TlsClient::offering(offered).connect(address)?;
            connection.write_all(PREFACE)?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            anyhow::Ok(answer)
        });
        let answer = answer.await?.with_context(|| format!("no answer where {offered:?} was offered"))?;
        let refused = answer.starts_with("HTTP/1.1 400 ");
        ensure!(refused && answer.contains("content-type: application/problem+json\r\n"), "{answer}");
    }
    Ok(())
}
