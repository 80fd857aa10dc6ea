//! Answers as no server should give them: what is sent, with pauses between, and how the connection ends.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Long enough that what was sent before is read by itself.
const PAUSE: Duration = Duration::from_millis(60);

/// An answer that breaks, or that two readers could take differently.
#[derive(Debug)]
pub struct Fault {
    pub name: &'static str,
    /// Sent one after another, with a pause between.
    pieces: &'static [&'static str],
    /// The last one is sent so often, and then this.
    times: usize,
    then: &'static str,
    end: End,
    /// What the client is told: the status, and whether it comes whole.
    pub status: u16,
    pub whole: bool,
    /// In the usage, where the answer began.
    pub counted: bool,
    pub billed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stays,
    Closes,
    Resets,
}
use End::{Closes, Resets, Stays};

const fn fault(name: &'static str, pieces: &'static [&'static str], end: End) -> Fault {
    Fault { name, pieces, times: 1, then: "", end, status: 502, whole: true, counted: false, billed: false }
}

impl Fault {
    const fn times(self, times: usize, then: &'static str) -> Self {
        Self { times, then, ..self }
    }

    /// It is served for all that.
    const fn served(self, status: u16) -> Self {
        Self { status, counted: true, billed: true, ..self }
    }

    /// It is known to have begun, and the client is told nothing of that.
    const fn counted(self) -> Self {
        Self { counted: true, ..self }
    }

    /// Its head is with the client when it breaks.
    const fn cut(self) -> Self {
        Self { status: 200, whole: false, counted: true, ..self }
    }
}

const LONG: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890";

/// All of them.
pub const FAULTS: &[Fault] = &[
    fault("nothing", &[], Closes),
    fault("nothing-reset", &[], Resets),
    fault("half-a-head", &["HTTP/1.1 200 OK\r\nContent-Le"], Closes),
    fault("no-head", &["SSH-2.0-OpenSSH_9\r\n\r\n"], Closes),
    fault("short", &["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "begun"], Closes).cut(),
    fault("short-reset", &["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "begun"], Resets).cut(),
    fault("short-chunks", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nbegun\r\n"], Closes).cut(),
    fault("chunks-reset", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nbegun\r\n"], Resets).cut(),
    fault("until-close", &["HTTP/1.1 200 OK\r\n\r\n", "all"], Closes).served(200),
    fault("until-reset", &["HTTP/1.1 200 OK\r\n\r\n", "begun"], Resets).cut(),
    fault("broken-chunk-at-once", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"], Closes).counted(),
    fault("broken-chunk-later", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nbegun\r\n", "nonsense\r\n"], Closes).cut(),
    fault("interim", &["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 Processing\r\nX-A: 1\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], Stays).served(200),
    fault("interim-without-end", &["HTTP/1.1 102 Processing\r\n\r\n"], Closes).times(100, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    fault("status-below-100", &["HTTP/1.1 099 Odd\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], Stays),
    fault("slow", &["HTTP/1.1 20", "0 OK\r\nContent-Le", "ngth: 4\r\n", "\r\n", "s", "low", ""], Stays).served(200),
    fault("encoding-unknown", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"], Closes),
    fault("encoding-before-chunks", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"], Stays),
    fault("chunked-in-chunked", &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], Stays),
    fault("chunks-of-http-1.0", &["HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"], Closes).served(200),
    fault("lengths-beside-chunks", &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"], Stays).served(200),
    fault("lengths-that-differ", &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"], Stays),
    fault("lengths-alike", &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"], Stays).served(200),
    fault("lengths-in-a-list", &["HTTP/1.1 200 OK\r\nContent-Length: 2, 02\r\n\r\nok"], Stays).served(200),
    fault("length-with-a-sign", &["HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"], Stays),
    fault("204-with-chunks", &["HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"], Stays).served(204),
    fault("204-with-a-length", &["HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"], Stays).served(204),
    fault("200-headers", &["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "X-Many: 1\r\n"], Stays).served(200).times(200, "\r\n"),
    fault("head-of-80-kb", &["HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Long: ", LONG], Stays).times(800, "\r\n\r\n"),
];

/// Sends the fault of that name.
pub async fn answer(stream: &mut TcpStream, name: &str) -> std::io::Result<()> {
    let fault = FAULTS.iter().find(|fault| fault.name == name).ok_or(std::io::ErrorKind::NotFound)?;
    let last = fault.pieces.len().saturating_sub(1);
    for (at, piece) in fault.pieces.iter().enumerate() {
        let times = if at == last { fault.times } else { 1 };
        stream.write_all(piece.repeat(times).as_bytes()).await?;
        tokio::time::sleep(PAUSE).await;
    }
    stream.write_all(fault.then.as_bytes()).await?;
    match fault.end {
        Stays => return Ok(()),
        Closes => {}
        Resets => stream.set_zero_linger()?,
    }
    Err(std::io::ErrorKind::ConnectionAborted.into())
}
