//! The training run of `make release`: `apiclay serve`, built with counters, under load as a marketplace has it, so that the
//! compiler learns which ways are taken often. Its mix is not that of `make bench`, or what is released would be made for what
//! it is judged by: several listings, methods, statuses, bodies both ways, chunks, refusals, headers few and many; in the clear
//! and over TLS, HTTP/1.1 and HTTP/2. `vendor` is the upstream, `shop` what is sold, `mix` the calls. Where the programs are,
//! `APICLAY_TEST_BINARIES` says.

mod mix;
mod shop;
mod vendor;

use anyhow::{Context as _, Result, ensure};
use apiclay_tests::{Certificate, Marketplace};

#[tokio::main]
async fn main() -> Result<()> {
    let vendor = vendor::start().await?;
    let folder = tempfile::TempDir::with_prefix("apiclay-train-").context("making a folder")?;
    let Certificate { cert, key } = Certificate::make(folder.path())?;
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let tls =
        [("APICLAY_GATEWAY_TLS_CERT_FILE", cert.as_str()), ("APICLAY_GATEWAY_TLS_KEY_FILE", key.as_str())];
    for (scheme, settings) in [("http", &[][..]), ("https", &tls[..])] {
        let mut market = Marketplace::embedded(settings).await?;
        let shop = shop::open(&market, vendor).await?;
        mix::run(scheme, &market, &shop, folder.path()).await?;
        // Counts are written as a process ends by itself; one that is killed leaves none.
        let ended = market.gateway.sigterm().await?;
        ensure!(ended.success(), "apiclay ended badly ({ended})");
    }
    Ok(())
}
