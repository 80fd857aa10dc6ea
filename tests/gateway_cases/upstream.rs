//! A vendor's server of the tests' own: keeps every byte it received, and answers by the path it was asked for.
//!
//! What a gateway forwarded is known only here, so this server interprets as little as it can: it finds where a request
//! ends, to answer it, and tests look at the bytes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

mod faults;

pub use faults::FAULTS;

/// More than sockets and buffers on the way can hold, so that a client who does not read is felt here.
const FLOOD_BYTES: usize = 256 * 1024 * 1024;
const FLOOD_PIECE_BYTES: usize = 64 * 1024;
/// What `/files/slow` takes before its answer, and `/files/pause` in the midst of it.
pub const SLOW: Duration = Duration::from_millis(400);
const READ_BYTES: usize = 16 * 1024;

/// A request that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Request line and headers, as they came.
    pub head: String,
    /// The body with its framing.
    pub body: Vec<u8>,
}

impl Request {
    /// Method and target.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1")
    }

    /// Values of a header (named in lower case).
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// Target of the request line.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Record {
    bytes: Mutex<Vec<u8>>,
    whole: Mutex<Vec<Request>>,
    flood_cut: AtomicBool,
}

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    record: Arc<Record>,
}

impl Upstream {
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening as upstream")?;
        let address = listener.local_addr()?;
        let record = Arc::new(Record::default());
        let kept = Arc::clone(&record);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks is the gateway's right; what it sent until then is on record.
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Ok(Self { address, record })
    }

    /// Everything that any connection brought, in the order of arrival.
    pub fn bytes(&self) -> String {
        String::from_utf8_lossy(&locked(&self.record.bytes)).into_owned()
    }

    /// The requests that arrived whole.
    pub fn whole(&self) -> Vec<Request> {
        locked(&self.record.whole).clone()
    }

    /// Whether writing an endless answer came to an end because the gateway left.
    pub fn flood_was_cut(&self) -> bool {
        self.record.flood_cut.load(Ordering::Relaxed)
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, record: Arc<Record>) -> std::io::Result<()> {
    let mut unread = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            read_more(&mut stream, &mut unread, &record).await?;
        };
        let head: Vec<u8> = unread.drain(..head_end).collect();
        let mut request = Request { head: String::from_utf8_lossy(&head).into_owned(), body: Vec::new() };
        if request.target() == "/early?echoes" {
            echo(&mut stream, &request, &mut unread, &record).await?;
            continue;
        }
        let early = ["/early", "/stall"].iter().any(|path| request.target().starts_with(path));
        if early {
            answer(&mut stream, &request, &record).await?;
        }
        loop {
            if let Some(length) = body_length(&request, &unread) {
                request.body = unread.drain(..length).collect();
                break;
            }
            read_more(&mut stream, &mut unread, &record).await?;
        }
        locked(&record.whole).push(request.clone());
        if !early {
            answer(&mut stream, &request, &record).await?;
        }
    }
}

/// Gives each piece of a body back as it comes.
async fn echo(
    stream: &mut TcpStream,
    request: &Request,
    unread: &mut Vec<u8>,
    record: &Record,
) -> std::io::Result<()> {
    let length = request.headers("content-length").first().and_then(|length| length.parse().ok());
    let length: usize = length.ok_or(std::io::ErrorKind::InvalidData)?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut body = Vec::new();
    while body.len() < length {
        if unread.is_empty() {
            read_more(stream, unread, record).await?;
        }
        let piece: Vec<u8> = unread.drain(..unread.len().min(length - body.len())).collect();
        stream.write_all(&piece).await?;
        body.extend_from_slice(&piece);
    }
    locked(&record.whole).push(Request { body, ..request.clone() });
    Ok(())
}

async fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>, record: &Record) -> std::io::Result<()> {
    let mut some = vec![0; READ_BYTES];
    let count = stream.read(&mut some).await?;
    if count == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    locked(&record.bytes).extend_from_slice(&some[..count]);
    unread.extend_from_slice(&some[..count]);
    Ok(())
}

/// Reads until the other side leaves.
async fn hold(stream: &mut TcpStream, record: &Record) -> std::io::Result<()> {
    let mut unread = Vec::new();
    loop {
        read_more(stream, &mut unread, record).await?;
        unread.clear();
    }
}

/// Bytes of the body with its framing; `None` while it is not all there.
fn body_length(request: &Request, unread: &[u8]) -> Option<usize> {
    if let Some(length) = request.headers("content-length").first() {
        let length = length.parse().ok()?;
        return (unread.len() >= length).then_some(length);
    }
    if request.headers("transfer-encoding").is_empty() {
        return Some(0);
    }
    let last = b"0\r\n\r\n";
    unread.windows(last.len()).position(|window| window == last).map(|at| at + last.len())
}

async fn answer(stream: &mut TcpStream, request: &Request, record: &Record) -> std::io::Result<()> {
    let target = request.target();
    if let Some(location) = target.strip_prefix("/redirect?to=") {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        return stream.write_all(head.as_bytes()).await;
    }
    if let Some(how) = target.strip_prefix("/early?") {
        // As servers do that want no body: they say so, or not, and are gone.
        if how == "refuses" {
            stream.write_all(b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno").await?;
        } else if how == "resets" {
            stream.set_zero_linger()?;
        }
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    if target.starts_with("/stall") {
        // An answer that begins and does not go on; what the client still sends is read, until the gateway leaves.
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun").await?;
        return hold(stream, record).await;
    }
    if target.starts_with("/socket") && request.headers("upgrade") == ["websocket"] {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        return hold(stream, record).await;
    }
    if target.starts_with("/hints") {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: apiclay_session=theirs\r\n\
             RateLimit: \"x\";r=1\r\nX-Request-Id: theirs\r\n\r\n";
        if target.ends_with("?slow") {
            // The second one finds a client gone that had left before the first.
            tokio::time::sleep(SLOW / 4).await;
            stream.write_all(early.as_bytes()).await?;
            tokio::time::sleep(SLOW / 4).await;
        }
        stream.write_all(early.as_bytes()).await?;
    }
    if let Some(shape) = target.strip_prefix("/files/shape?") {
        return shaped(stream, request, shape).await;
    }
    if let Some(name) = target.strip_prefix("/files/fault?") {
        return faults::answer(stream, name).await;
    }
    if target == "/files/slow" {
        tokio::time::sleep(SLOW).await;
    }
    if target == "/files/pause" {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nbegun").await?;
        tokio::time::sleep(SLOW).await;
        return stream.write_all(b" and ended").await;
    }
    if target.starts_with("/zeros") {
        return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 00\r\n\r\n").await;
    }
    if target.starts_with("/flood") {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {FLOOD_BYTES}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let piece = vec![b'f'; FLOOD_PIECE_BYTES];
        for _ in 0..FLOOD_BYTES / FLOOD_PIECE_BYTES {
            if let Err(reason) = stream.write_all(&piece).await {
                record.flood_cut.store(true, Ordering::Relaxed);
                return Err(reason);
            }
        }
        return Ok(());
    }
    let body = format!("saw {}", request.line());
    let vary = "Vary: Accept\r\nVary: Accept-Language\r\n";
    let head = format!("HTTP/1.1 200 OK\r\n{vary}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await
}

/// Header lines of an answer, whatever they are good for.
const SHAPES: [&str; 8] = [
    "",
    "Set-Cookie: a=1; Path=/; Domain=theirs.test; HttpOnly\r\n",
    "Set-Cookie: apiclay_session=theirs\r\nSet-Cookie: b=2\r\n",
    "Connection: X-Hop\r\nX-Hop: 1\r\nX-Stays: 1\r\n",
    "RateLimit: \"x\";r=1\r\nX-Request-Id: theirs\r\nKeep-Alive: timeout=9\r\n",
    "Connection: close\r\n",
    "Trailer: X-After\r\nTE: gzip\r\nx_under: 1\r\nServer: theirs\r\n",
    "Proxy-Authenticate: Basic\r\nETag: \"a\"\r\nX-Empty:\r\n",
];

/// An answer as the query wants it: `status`, `bytes` of body in this `frame`, and which `head` lines.
async fn shaped(stream: &mut TcpStream, request: &Request, query: &str) -> std::io::Result<()> {
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(own, _)| *own == name).map(|(_, value)| value).next().unwrap_or_default()
    };
    let (status, frame) = (value("status"), value("frame"));
    let lines = SHAPES[value("head").parse::<usize>().unwrap_or(0) % SHAPES.len()];
    let data: Vec<u8> =
        (0..value("bytes").parse().unwrap_or(0)).map(|at: usize| b'a' + (at % 26) as u8).collect();
    let mut body = Vec::new();
    let framing = match frame {
        "chunks" | "odd-chunks" | "both" => {
            let odd = frame == "odd-chunks";
            for piece in data.chunks(7_000) {
                body.extend_from_slice(
                    format!("{:X}{}\r\n", piece.len(), if odd { ";of=7 000" } else { "" }).as_bytes(),
                );
                body.extend_from_slice(piece);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(if odd { b"00\r\nX-After: 1\r\n\r\n" } else { b"0\r\n\r\n" });
            let length = if frame == "both" { "Content-Length: 3\r\n" } else { "" };
            format!("{length}Transfer-Encoding: chunked\r\n")
        }
        "close" => {
            body = data;
            String::new()
        }
        _ => {
            body = data;
            format!("Content-Length: {}\r\n", body.len())
        }
    };
    let bodiless = request.line().starts_with("HEAD ") || ["204", "304"].contains(&status);
    // Without a body nothing else says that the connection ends.
    let closes = if bodiless && frame == "close" { "Connection: close\r\n" } else { "" };
    let mut answer = format!("HTTP/1.1 {status} Because\r\n{closes}{lines}{framing}\r\n").into_bytes();
    if !bodiless {
        answer.extend_from_slice(&body);
    }
    stream.write_all(&answer).await?;
    if frame == "close" || lines.starts_with("Connection: close") {
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}
