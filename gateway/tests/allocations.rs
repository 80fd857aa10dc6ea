//! What a call in the steady state allocates on the thread that answers it, however its bodies are framed: nothing; and what a
//! connection holds that waits for its next call. A whole gateway with one worker stands between a
//! client and an upstream on threads of their own; key, rate, quota and records are as for any buyer.
#![allow(unsafe_code, reason = "an allocator is unsafe to write")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use apiclay_config::key;
use secrecy::ExposeSecret as _;

mod market;

/// Calls before the measured ones: leases have their size by then, and buffers theirs.
const WARM_UP_CALLS: usize = 20_000;
/// And before those of each shape.
const WARM_UP_CALLS_OF_SHAPE: usize = 500;
const CALLS: usize = 1_000;
/// How often so many are counted.
const WINDOWS: usize = 3;
/// Connections that wait, and what each may hold.
const WAITING: usize = 400;
const WAITING_MAX_BYTES: i64 = 8_192;
/// The threads of the service that answers calls are called so.
const WORKER: &str = "gateway";
const THREADS_MAX: usize = 256;
const WAIT_MAX: Duration = Duration::from_secs(30);

#[global_allocator]
static ALLOCATOR: Counting = Counting;
/// Where the worker's first allocation while it holds is shown.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// What is allocated and not given back, by all threads.
static HELD_BYTES: AtomicI64 = AtomicI64::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
static THREADS: [Thread; THREADS_MAX] =
    [const { Thread { id: AtomicI32::new(0), allocations: AtomicU64::new(0) } }; THREADS_MAX];

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Thread {
    id: AtomicI32,
    allocations: AtomicU64,
}

/// Counts what each thread allocates, be it new or grown.
struct Counting;

// SAFETY: all is the system's; what is counted stands in statics and in a cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        HELD_BYTES.fetch_add(layout.size() as i64, SeqCst);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD_BYTES.fetch_sub(layout.size() as i64, SeqCst);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        HELD_BYTES.fetch_add(size as i64 - layout.size() as i64, SeqCst);
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count() {
    PLACE.with(|place| {
        if place.get() == usize::MAX {
            place.set(NEXT.fetch_add(1, SeqCst).min(THREADS_MAX - 1));
            // SAFETY: asks for nothing.
            THREADS[place.get()].id.store(unsafe { libc::gettid() }, SeqCst);
        }
        let thread = &THREADS[place.get()];
        thread.allocations.fetch_add(1, SeqCst);
        if WATCHED.load(SeqCst) && is_worker(thread.id.load(SeqCst)) && WATCHED.swap(false, SeqCst) {
            let counted = thread.allocations.load(SeqCst);
            eprintln!("allocated here:\n{}", Backtrace::force_capture());
            // What the telling took is not the gateway's.
            thread.allocations.store(counted, SeqCst);
        }
    });
}

/// Known before a worker is watched; looked up without an allocation.
static WORKER_ID: AtomicI32 = AtomicI32::new(0);

fn is_worker(id: i32) -> bool {
    WORKER_ID.load(SeqCst) == id
}

/// The worker, by its thread's name.
fn worker() -> &'static Thread {
    let named = |thread: &&Thread| {
        let path = format!("/proc/self/task/{}/comm", thread.id.load(SeqCst));
        std::fs::read_to_string(path).is_ok_and(|name| name.trim() == WORKER)
    };
    let all: Vec<&Thread> = THREADS.iter().filter(named).collect();
    assert_eq!(all.len(), 1, "one worker");
    WORKER_ID.store(all[0].id.load(SeqCst), SeqCst);
    all[0]
}

/// Answers as vendors do, on one thread a connection.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    address
}

/// A request that ends as one of `SHAPES` does gets an answer in the framing that its query names.
fn answer(mut stream: TcpStream) {
    let (mut some, mut came) = ([0; 4_096], Vec::new());
    while let Ok(count @ 1..) = stream.read(&mut some) {
        came.extend_from_slice(&some[..count]);
        let has = |part: &str| came.windows(part.len()).any(|window| window == part.as_bytes());
        let end = if has("chunked\r\n") {
            "0\r\n\r\n"
        } else if has("POST ") {
            SOME
        } else {
            "\r\n\r\n"
        };
        if came.ends_with(end.as_bytes()) {
            let framed = match () {
                () if has("as=chunks") => {
                    format!("Transfer-Encoding: chunked\r\n\r\n7\r\n{SOME}\r\n0\r\n\r\n")
                }
                () if has("as=nothing") => "\r\n".to_owned(),
                () if has("HEAD ") => format!("Content-Length: {}\r\n\r\n", SOME.len()),
                () => format!("Content-Length: {}\r\n\r\n{SOME}", SOME.len()),
            };
            let status = if has("as=nothing") { "204 No Content" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nServer: theirs\r\n");
            came.clear();
            stream.write_all((head + &framed).as_bytes()).unwrap();
        }
    }
}

/// A body.
const SOME: &str = "{\"a\":1}";

/// A shape of call: what it is called, its method, what its query asks of the upstream, its body as it goes over the wire with the
/// header that frames it, and how its answer ends.
const SHAPES: [(&str, &str, &str, &str, &str); 7] = [
    ("without a body", "GET", "length", "\r\n", SOME),
    ("answered in chunks", "GET", "chunks", "\r\n", "0\r\n\r\n"),
    ("answered by nothing", "GET", "nothing", "\r\n", "\r\n\r\n"),
    ("head", "HEAD", "length", "\r\n", "\r\n\r\n"),
    ("with a body", "POST", "length", "Content-Length: 7\r\n\r\n{\"a\":1}", SOME),
    (
        "with a body in chunks",
        "POST",
        "length",
        "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
        SOME,
    ),
    (
        "with a body and answered in chunks",
        "POST",
        "chunks",
        "Content-Length: 7\r\n\r\n{\"a\":1}",
        "0\r\n\r\n",
    ),
];

/// One call on a connection that stays; its status.
fn call(stream: &mut TcpStream, request: &[u8], end: &str) -> u16 {
    stream.write_all(request).unwrap();
    let (mut some, mut came) = ([0; 4_096], Vec::new());
    while !(came.ends_with(end.as_bytes()) && came.windows(4).any(|window| window == b"\r\n\r\n")) {
        let count = stream.read(&mut some).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&some[..count]);
    }
    String::from_utf8_lossy(&came[9..12]).parse().unwrap()
}

#[test]
fn a_call_allocates_nothing_on_the_thread_that_answers_it_and_a_connection_that_waits_holds_little() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (upstream, key, folder) = (upstream(), key::generate(), tempfile::tempdir().unwrap());
    let gateway = runtime.block_on(market::gateway(upstream, &key, folder.path()));
    let request = |method: &str, asks: &str, body: &str| {
        let key = key.expose_secret();
        format!(
            "{method} /acme/echo/now?as={asks} HTTP/1.1\r\nHost: gateway.test\r\nUser-Agent: test/1\r\nAccept: */*\r\n\
             X-Api-Key: {key}\r\n{body}"
        )
    };
    let first = request("GET", "length", "\r\n");
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_nodelay(true).unwrap();
    let begun = Instant::now();
    // The configuration comes.
    while call(&mut stream, first.as_bytes(), "}") != 200 {
        assert!(begun.elapsed() < WAIT_MAX, "no call was served");
        std::thread::sleep(Duration::from_millis(50));
    }
    for _ in 0..WARM_UP_CALLS {
        assert_eq!(call(&mut stream, first.as_bytes(), SOME), 200);
    }
    let worker = worker();
    let counted = || worker.allocations.load(SeqCst);
    assert!(counted() > 0, "nothing was counted");
    for (shape, method, asks, body, end) in SHAPES {
        let request = request(method, asks, body);
        let status = if asks == "nothing" { 204 } else { 200 };
        let mut calls =
            |count| (0..count).for_each(|_| assert_eq!(call(&mut stream, request.as_bytes(), end), status));
        calls(WARM_UP_CALLS_OF_SHAPE);
        WATCHED.store(true, SeqCst);
        // What the worker does every few seconds beside calls may fall into one of them.
        let allocated = [(); WINDOWS].map(|()| {
            let before = counted();
            calls(CALLS);
            counted() - before
        });
        WATCHED.store(false, SeqCst);
        println!("{CALLS} calls {shape}, {WINDOWS} times: {allocated:?} allocations");
        assert!(allocated.contains(&0), "{CALLS} calls {shape} allocated {allocated:?}; where stands above");
    }
    let before = counted();
    // A refusal is made of strings: what is allocated there is seen.
    let without_key = b"GET /acme/echo/now HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    assert_eq!(call(&mut stream, without_key, "}"), 401);
    assert!(counted() > before, "the worker's allocations are not seen");
    let held = HELD_BYTES.load(SeqCst);
    let waiting: Vec<TcpStream> = (0..WAITING)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.address).unwrap();
            assert_eq!(call(&mut stream, first.as_bytes(), SOME), 200);
            stream
        })
        .collect();
    let each = (HELD_BYTES.load(SeqCst) - held) / WAITING as i64;
    println!("{} connections that wait hold {each} bytes each", waiting.len());
    assert!((1_000..=WAITING_MAX_BYTES).contains(&each), "{each} bytes");
    runtime.block_on(gateway.drain());
}
