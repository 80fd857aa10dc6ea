//! Bodies that come piece by piece, and what may happen on the way: either lane tells the client and the upstream the same, and bills
//! the same.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join;

use super::{Seen, answers, counted_alike, forwarded};
use crate::site::{BODY_MAX_BYTES, Site};

/// Long enough that what was sent before is with the upstream, and its answer with the client.
const PAUSE: Duration = Duration::from_millis(100);
const CHUNKED: &str = "Transfer-Encoding: chunked";
/// A client that stops in the middle is let go within this: `APICLAY_GATEWAY_KEEPALIVE_TIMEOUT_MS`, and some more.
const SILENT_MAX: Duration = Duration::from_secs(20);

/// A POST whose body comes in these pieces, the first with the head, with a pause between.
struct Upload {
    name: &'static str,
    path: &'static str,
    framing: &'static str,
    pieces: Vec<String>,
    /// The client goes after the last piece, once this has come; else it waits for the end.
    leaves: Option<&'static str>,
    /// What is answered, in this order; whether the last one came whole.
    statuses: &'static [u16],
    whole: bool,
    /// How many requests the upstream got whole.
    forwarded: usize,
    counted: u64,
    billed: u64,
}

impl Upload {
    fn of(name: &'static str, path: &'static str, framing: &'static str, pieces: &[&str]) -> Self {
        let pieces = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        let (leaves, statuses, whole) = (None, &[][..], true);
        Self { name, path, framing, pieces, leaves, statuses, whole, forwarded: 0, counted: 0, billed: 0 }
    }

    /// Refused, or failed for both.
    fn refused(self, status: &'static [u16]) -> Self {
        Self { statuses: status, ..self }
    }

    /// Served, and the request behind it.
    fn served_with_the_next(self) -> Self {
        Self { statuses: &[200, 200], forwarded: 2, counted: 2, billed: 2, ..self }
    }

    /// Answered before its body's end, which comes all the same.
    fn answered(self, statuses: &'static [u16], forwarded: usize, billed: u64) -> Self {
        Self { statuses, forwarded, counted: 1, billed, ..self }
    }

    fn cut(self) -> Self {
        Self { whole: false, ..self }
    }

    fn leaves(self, after: &'static str) -> Self {
        Self { leaves: Some(after), ..self }
    }

    async fn seen(&self, site: &Site) -> Result<(Vec<Seen>, String)> {
        let mut wire = site.wire().await?;
        let head = format!("{}{}\r\n\r\n", site.head("POST", self.path), self.framing);
        for (at, piece) in self.pieces.iter().enumerate() {
            let first = if at == 0 { &*head } else { "" };
            let piece = piece.replace("NEXT", &next(site));
            // Refused meanwhile.
            if wire.send(format!("{first}{piece}")).await.is_err() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let came = match self.leaves {
            Some("") => Vec::new(),
            Some(after) => wire.seen(after.as_bytes()).await?,
            None => wire.closed(SILENT_MAX).await.context("still open")?,
        };
        Ok(answers(&came, &["POST", "GET"]))
    }
}

/// The request behind a body.
fn next(site: &Site) -> String {
    format!("{}Connection: close\r\n\r\n", site.head("GET", "/now/next"))
}

fn uploads() -> Vec<Upload> {
    let max = format!("{BODY_MAX_BYTES:x}\r\n{}\r\n", "x".repeat(BODY_MAX_BYTES));
    let too_large = ["2\r\nab\r\n", &*max, "5\r\nhello\r\n"];
    let one_chunk = format!("{:x}\r\n{}", BODY_MAX_BYTES + 5, "x".repeat(BODY_MAX_BYTES));
    let too_large_at_its_end = [&*one_chunk, "hello\r\n0\r\n\r\n"];
    let of = Upload::of;
    vec![
        of("a length", "/orders", "Content-Length: 9", &["abc", "def", "ghiNEXT"]).served_with_the_next(),
        of("all after the head", "/orders", "Content-Length: 3", &["", "abcNEXT"]).served_with_the_next(),
        of("chunks at once", "/orders", CHUNKED, &["2\r\nab\r\n0\r\n\r\nNEXT"]).served_with_the_next(),
        of(
            "chunks",
            "/orders",
            CHUNKED,
            &["4\r\nwi", "ki\r", "\n00", "a\r\n0123456789\r\n0\r\n", "\r\nNEXT"],
        )
        .served_with_the_next(),
        of(
            "one byte",
            "/orders",
            CHUNKED,
            &["", "1", "\r", "\n", "a", "\r", "\n", "0", "\r", "\n", "\r", "\n", "NEXT"],
        )
        .served_with_the_next(),
        of("no chunk", "/orders", CHUNKED, &["", "0\r\n\r\nNEXT"]).served_with_the_next(),
        of("both ways at once", "/early?echoes", "Content-Length: 9", &["abc", "def", "ghi"]).answered(
            &[200],
            1,
            1,
        ),
        of("an early answer", "/early", "Content-Length: 9", &["abc", "def", "ghi"]).answered(&[200], 1, 1),
        of("an early answer to chunks", "/early", CHUNKED, &["3\r\nabc\r\n", "2\r\nde\r\n0\r\n", "\r\n"])
            .answered(&[200], 1, 1),
        of("an early refusal", "/early?refuses", "Content-Length: 9", &["abc", "def", "ghi"]).answered(
            &[413],
            0,
            1,
        ),
        of("a bad chunk", "/orders", CHUNKED, &["2\r\nab\r\n", "2 \r\nab\r\n0\r\n\r\n"]).refused(&[400]),
        of("an extension", "/orders", CHUNKED, &["2\r\nab\r\n", "2;x=y\r\nab\r\n0\r\n\r\n"]).refused(&[400]),
        of("a trailer", "/orders", CHUNKED, &["2\r\nab\r\n0\r\n", "X: y\r\n\r\n"]).refused(&[400]),
        of("no CRLF", "/orders", CHUNKED, &["2\r\n", "abX"]).refused(&[400]),
        of("too large", "/orders", CHUNKED, &too_large).refused(&[413]),
        of("too large at its end", "/orders", CHUNKED, &too_large_at_its_end).refused(&[413]),
        of("too large to begin with", "/orders", "Content-Length: 1048577", &["abc"]).refused(&[413]),
        of("a silent client", "/orders", CHUNKED, &["2\r\nab\r\n"]).refused(&[408]),
        of("an upstream that hangs up", "/early?hangs-up", "Content-Length: 9", &["abc"]).refused(&[502]),
        of("an upstream that resets", "/early?resets", "Content-Length: 9", &["abc"]).refused(&[502]),
        of("a client that leaves", "/orders", "Content-Length: 9", &["abc", "def"]).leaves(""),
        of("a client that leaves a chunk", "/orders", CHUNKED, &["3\r\nabc\r\n", "0\r\n"]).leaves(""),
        of("one that leaves after its answer", "/early", "Content-Length: 9", &["abc"])
            .answered(&[200], 0, 1)
            .leaves("saw POST /early"),
        of("one that leaves within its answer", "/stall", "Content-Length: 9", &["abc"])
            .answered(&[200], 0, 1)
            .cut()
            .leaves("begun"),
        of("a bad chunk within an answer", "/stall", CHUNKED, &["2\r\nab\r\n", "x\r\n"])
            .answered(&[200], 0, 1)
            .cut(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_lanes_take_bodies_alike_that_come_piece_by_piece() -> Result<()> {
    let (fast, slow) = try_join(Site::start_with("on"), Site::start_with("off")).await?;
    let (mut wrong, mut asked, mut counted, mut billed) = (Vec::new(), 0, 0, 0);
    let uploads = uploads();
    for upload in &uploads {
        let (at_fast, at_slow) =
            try_join(upload.seen(&fast), upload.seen(&slow)).await.with_context(|| upload.name)?;
        let status = |answer: &Seen| answer.line.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
        let statuses: Vec<u16> = at_fast.0.iter().map(status).collect();
        let whole = at_fast.0.last().is_none_or(|answer| answer.whole);
        let (fast_asked, slow_asked) = (forwarded(&fast, asked), forwarded(&slow, asked));
        let alike = at_fast == at_slow && fast_asked == slow_asked;
        let as_told =
            statuses == upload.statuses && whole == upload.whole && fast_asked.len() == upload.forwarded;
        if !alike || !as_told {
            wrong.push(format!(
                "{}: fast {at_fast:#?}\nforwarded {fast_asked:#?}\nslow {at_slow:#?}\nforwarded {slow_asked:#?}",
                upload.name
            ));
        }
        asked += fast_asked.len();
        counted += upload.counted;
        billed += upload.billed;
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), uploads.len(), wrong.join("\n"));
    let total = counted_alike(&fast, &slow, counted + 1).await?;
    ensure!(total["billable_calls"] == billed + 1, "{total}, not {} billed", billed + 1);
    Ok(())
}
