//! Upstreams that break off, send nonsense, or answer as two readers could read differently: either lane tells the client the same
//! of it, and bills the same.

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join;

use super::{Case, counted_alike, seen};
use crate::site::Site;
use crate::upstream::FAULTS;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_lanes_take_upstreams_faults_alike() -> Result<()> {
    let (fast, slow) = try_join(Site::start_with("on"), Site::start_with("off")).await?;
    let (mut wrong, mut counted, mut billed) = (Vec::new(), 0, 0);
    for fault in FAULTS {
        // Not one that may be tried again: what broke is then asked for once.
        let made = |site: &Site| Case {
            pieces: vec![post(site, fault.name).into_bytes()],
            methods: vec!["POST"],
            slow: false,
        };
        let (at_fast, at_slow) =
            try_join(seen(&fast, made(&fast)), seen(&slow, made(&slow))).await.with_context(|| fault.name)?;
        let last = at_fast.0.last();
        let status = last.and_then(|answer| answer.line.get(9..12)?.parse().ok()).unwrap_or(0u16);
        let whole = last.is_none_or(|answer| answer.whole);
        // Pingora's lane has its head with the client when it finds that the body is none.
        let alike = at_fast == at_slow || (fault.counted && fault.status == 502);
        let framing = last.map_or(0, |answer| answer.count(&["content-length", "transfer-encoding"]));
        let framed = framing == usize::from(!matches!(status, 0 | 204));
        if status != fault.status || whole != fault.whole || !alike || !framed {
            wrong.push(format!("{}: fast {at_fast:#?}\nslow {at_slow:#?}", fault.name));
        }
        counted += u64::from(fault.counted);
        billed += u64::from(fault.billed);
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), FAULTS.len(), wrong.join("\n"));
    let total = counted_alike(&fast, &slow, counted + 1).await?;
    ensure!(total["billable_calls"] == billed + 1, "{total}, not {} billed", billed + 1);
    Ok(())
}

fn post(site: &Site, fault: &str) -> String {
    let head = site.head("POST", &format!("/files/fault?{fault}"));
    format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n")
}
