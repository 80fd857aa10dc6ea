//! TLS: HTTP/2 is agreed on, a renewed certificate holds without a restart, a broken renewal changes nothing.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use apiclay_config::settings::TlsFiles;
use apiclay_control_plane::serve::serve;

use crate::support::demo;

/// A certificate of its own for localhost, as an operator would make one.
fn make(files: &TlsFiles) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&files.key)
        .arg("-out")
        .arg(&files.cert)
        .output()
        .expect("openssl is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A client that trusts this certificate and no other.
fn trusting(cert: &Path) -> reqwest::Client {
    let cert = reqwest::Certificate::from_pem(&std::fs::read(cert).unwrap()).unwrap();
    reqwest::Client::builder().tls_certs_only([cert]).timeout(Duration::from_secs(5)).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_holds_without_a_restart() {
    let plane = demo().await;
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    make(&files);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/backend/openapi.json", listener.local_addr().unwrap().port());
    let (app, given) = (plane.app.clone(), files.clone());
    tokio::spawn(async move { serve(app, listener, Some(given), std::future::pending()).await });

    let first = trusting(&files.cert);
    let answer = first.get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));

    std::fs::write(&files.cert, "half a renewal").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let again = first.get(&url).header("connection", "close").send().await;
    assert_eq!(again.unwrap().status(), 200);

    make(&files);
    let began = Instant::now();
    while trusting(&files.cert).get(&url).send().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "the renewed certificate is not in use");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_read_is_told_by_its_file() {
    let plane = demo().await;
    let files = TlsFiles { cert: "/nowhere/cert.pem".into(), key: "/nowhere/key.pem".into() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = serve(plane.app.clone(), listener, Some(files), std::future::pending()).await.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("/nowhere/cert.pem"), "{error}: {source}");
}
