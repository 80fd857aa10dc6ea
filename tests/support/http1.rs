//! HTTP/1.1 as bytes: what a test sends is exactly what is on the wire, and what came back is told without kindness.
//!
//! Ready-made clients repair, retry and pool; a test of a gateway needs to know which byte was answered by which. The
//! load generator of the main job and the gateway's cases stand on this.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long one answer may take, head and body.
pub const ANSWER_DEADLINE_MS: u64 = 60_000;
const HEAD_MAX_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// One answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The final status.
    pub status: u16,
    /// Interim statuses that came before it.
    pub interim: Vec<u16>,
    /// Names in lower case, values as they came, in order.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the server said that it closes.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// `code` of a problem that the gateway or the control plane answered; `None` where it is no problem.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        if !self.header("content-type")?.starts_with("application/problem+json") {
            return None;
        }
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        problem["code"].as_str().map(str::to_owned)
    }
}

/// One connection, with the bytes that came and were not used yet.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Sends no more, and reads on.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn sent_all(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Waits until something has come, and leaves it unread.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn something_came(&self) -> io::Result<()> {
        self.stream.peek(&mut [0]).await.map(drop)
    }

    /// Reads the next answer to a request that was no HEAD.
    ///
    /// # Errors
    /// When the connection ends before the answer does, the answer is not HTTP/1.1, or it takes too long.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        match timeout(Duration::from_millis(ANSWER_DEADLINE_MS), self.read_answer()).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(io::Error::other(format!("no whole answer in {ANSWER_DEADLINE_MS} ms"))),
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// As for [`Wire::send`] and [`Wire::answer`].
    pub async fn call(&mut self, request: impl AsRef<[u8]>) -> io::Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    /// Reads up to and with `end`, for a test that looks into the middle of an answer.
    ///
    /// # Errors
    /// As for [`Wire::answer`].
    pub async fn seen(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        match timeout(Duration::from_millis(ANSWER_DEADLINE_MS), self.until(end, HEAD_MAX_BYTES)).await {
            Ok(seen) => seen,
            Err(_elapsed) => Err(io::Error::other(format!("no {end:?} in {ANSWER_DEADLINE_MS} ms"))),
        }
    }

    /// Reads until the other side closes, by FIN or by reset, and gives what came before; `None` where it is still open
    /// after `within`.
    pub async fn closed(&mut self, within: Duration) -> Option<Vec<u8>> {
        let mut came = std::mem::take(&mut self.unread);
        let to_the_end = async {
            let mut some = vec![0; READ_BYTES];
            while let Ok(count @ 1..) = self.stream.read(&mut some).await {
                came.extend_from_slice(&some[..count]);
            }
        };
        timeout(within, to_the_end).await.ok()?;
        Some(came)
    }

    async fn read_answer(&mut self) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let (status, headers) = self.head().await?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let mut answer = Answer { status, interim, headers, body: Vec::new() };
            answer.body = self.body(&answer).await?;
            return Ok(answer);
        }
    }

    async fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let head = self.until(b"\r\n\r\n", HEAD_MAX_BYTES).await?;
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status line: {first:?}")))?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Ok((status, headers.collect()))
    }

    async fn body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        if matches!(answer.status, 101 | 204 | 304) {
            return Ok(Vec::new());
        }
        if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.chunks().await;
        }
        if let Some(length) = answer.header("content-length") {
            return self.exactly(length.parse().map_err(io::Error::other)?).await;
        }
        let mut body = std::mem::take(&mut self.unread);
        self.stream.read_to_end(&mut body).await?;
        Ok(body)
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line =
                String::from_utf8(self.until(b"\r\n", HEAD_MAX_BYTES).await?).map_err(io::Error::other)?;
            let size = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            if size == 0 {
                while self.until(b"\r\n", HEAD_MAX_BYTES).await? != b"\r\n" {}
                return Ok(body);
            }
            body.extend(self.exactly(size).await?);
            self.exactly(2).await?;
        }
    }

    async fn until(&mut self, end: &[u8], max_bytes: usize) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Ok(self.unread.drain(..at + end.len()).collect());
            }
            if self.unread.len() > max_bytes {
                return Err(io::Error::other(format!("more than {max_bytes} bytes without {end:?}")));
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.more().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn more(&mut self) -> io::Result<()> {
        let before = self.unread.len();
        self.unread.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.unread).await?;
        if self.unread.len() == before { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}
