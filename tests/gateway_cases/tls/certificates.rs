//! A certificate that is renewed while the gateway runs: new connections are shown it, those that could have resumed an older session
//! among them, and files that cannot be used change nothing until they can.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Certificate, TlsClient, TlsConnection, wait_until};
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{resumes, site};
use crate::site::Site;

/// The files are looked at every five seconds; the rest is for a busy machine.
const SEEN_WITHIN: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() -> Result<()> {
    let (mut site, folder) = site(&[]).await?;
    let (address, used) = (site.market.gateway_address, used_in(folder.path()));
    let first = der(&used.cert)?;
    ensure!(shown(address).await? == first, "not the one of the file is shown");

    fs::write(&used.cert, "-----BEGIN CERTIFICATE-----\nnone\n")?;
    fs::write(&used.key, "none")?;
    until_found_unusable(&mut site).await?;
    ensure!(shown(address).await? == first, "the last good one is not shown any more");

    let renewed = make_another(folder.path())?;
    let second = der(&renewed.cert)?;
    fs::rename(&renewed.cert, &used.cert)?;
    fs::rename(&renewed.key, &used.key)?;
    until_shown(address, &second).await
}

/// A look may come while a file is being written, whose time does not change after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_unusable_at_one_look_is_read_at_a_later_one() -> Result<()> {
    let (mut site, folder) = site(&[]).await?;
    let (address, used) = (site.market.gateway_address, used_in(folder.path()));
    let renewed = make_another(folder.path())?;
    let second = der(&renewed.cert)?;
    fs::write(&used.key, "none yet")?;
    fs::rename(&renewed.cert, &used.cert)?;
    until_found_unusable(&mut site).await?;

    let written_at = fs::metadata(&used.key)?.modified()?;
    File::options().write(true).open(&renewed.key)?.set_modified(written_at)?;
    fs::rename(&renewed.key, &used.key)?;
    until_shown(address, &second).await
}

/// A session that is resumed shows no certificate: its client would go on with the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_from_before_a_renewal_is_resumed() -> Result<()> {
    let (site, folder) = site(&[]).await?;
    let (address, used) = (site.market.gateway_address, used_in(folder.path()));
    let request = site.head("GET", "/now/pune") + "connection: close\r\n\r\n";
    let client = TlsClient::offering(&[]);
    let same_client = client.clone();
    let calls = tokio::task::spawn_blocking(move || {
        ensure!(!resumes(&same_client, address, &request)?, "there was nothing to resume");
        ensure!(resumes(&same_client, address, &request)?, "a whole handshake before the renewal");
        anyhow::Ok(())
    });
    calls.await??;

    let renewed = make_another(folder.path())?;
    let second = der(&renewed.cert)?;
    fs::rename(&renewed.cert, &used.cert)?;
    fs::rename(&renewed.key, &used.key)?;
    until_shown(address, &second).await?;
    let connection = tokio::task::spawn_blocking(move || client.connect(address)).await??;
    let kind = connection.conn.handshake_kind();
    ensure!(kind != Some(HandshakeKind::Resumed), "a session from before the renewal was resumed");
    ensure!(leaf(&connection)? == second, "a client that had a session is shown another certificate");
    Ok(())
}

/// The files that the gateway of [`site`] was told.
fn used_in(folder: &Path) -> Certificate {
    Certificate { cert: folder.join("cert.pem"), key: folder.join("key.pem") }
}

/// Makes another certificate, on the same file system.
fn make_another(folder: &Path) -> Result<Certificate> {
    let beside = folder.join("renewed");
    fs::create_dir(&beside)?;
    Certificate::make(&beside)
}

fn der(file: &Path) -> Result<Vec<u8>> {
    let read = CertificateDer::from_pem_file(file);
    Ok(read.with_context(|| format!("reading {}", file.display()))?.to_vec())
}

/// The certificate that a new client is shown.
async fn shown(address: SocketAddr) -> Result<Vec<u8>> {
    tokio::task::spawn_blocking(move || leaf(&TlsClient::offering(&[]).connect(address)?)).await?
}

fn leaf(connection: &TlsConnection) -> Result<Vec<u8>> {
    let chain = connection.conn.peer_certificates().context("no certificate was shown")?;
    Ok(chain.first().context("an empty chain was shown")?.to_vec())
}

async fn until_shown(address: SocketAddr, wanted: &[u8]) -> Result<()> {
    wait_until("the renewed certificate to be shown", SEEN_WITHIN, async || {
        ensure!(shown(address).await? == wanted, "another one is");
        Ok(())
    })
    .await
}

/// Waits until the gateway has looked at the files, and said that it cannot use them.
async fn until_found_unusable(site: &mut Site) -> Result<()> {
    wait_until("the gateway to look at files that it cannot use", SEEN_WITHIN, async || {
        ensure!(site.log()?.contains("the renewed certificate cannot be used"), "it has not");
        Ok(())
    })
    .await
}
