//! Lines about calls, of the target [`TARGET`]: there may be tens of thousands a second. A thread puts its lines into a buffer of its
//! own, and one thread writes them all to standard error ten times a second, so that no call waits for whoever reads the log: where
//! he is too slow, lines are dropped, counted and told of. A kill loses the last tenth of a second. All other lines are the
//! `tracing-subscriber` crate's, and are written at once.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::clock::Timestamp;
use crate::settings::LogFormat;

/// What lines about calls are logged under.
pub const TARGET: &str = "apiclay::access";
/// How often buffers are written.
const WRITE_INTERVAL_MS: u64 = 100;
/// Bytes of lines that a thread keeps until they are written.
const BUFFER_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Bytes written at once, in whole lines: other lines go between them.
const WRITE_BYTES: usize = 65_536;

/// What a digit of a second's millionths counts.
const MICROS_DIGITS: [u32; 6] = [100_000, 10_000, 1_000, 100, 10, 1];

/// Held while lines are being written: the process does not end before they are.
static FLUSHING: Mutex<()> = Mutex::new(());
static BUFFERS: Mutex<Vec<Arc<Mutex<Buffer>>>> = Mutex::new(Vec::new());
static WRITER: OnceLock<()> = OnceLock::new();
thread_local! {
    static MINE: Arc<Mutex<Buffer>> = {
        WRITER.get_or_init(start_writer);
        let mine = Arc::<Mutex<Buffer>>::default();
        lock(&BUFFERS).push(Arc::clone(&mine));
        mine
    };
}

/// Lines of one thread that are not written yet.
#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    dropped: u64,
    /// Seconds since 1970, and their text up to the second: most lines have the last one's.
    second: (u64, String),
}

/// The layer that takes them.
pub(crate) struct AccessLog(pub(crate) LogFormat);

impl<S: Subscriber> Layer<S> for AccessLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // A thread that is ending has no buffer any more.
        let _ = MINE.try_with(|mine| {
            let mut buffer = lock(mine);
            if buffer.lines.len() > BUFFER_MAX_BYTES {
                buffer.dropped += 1;
            } else {
                buffer.put(self.0, event);
            }
        });
    }
}

impl Buffer {
    fn put(&mut self, format: LogFormat, event: &Event<'_>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second.0 != now.as_secs() || self.second.1.is_empty() {
            let text = Timestamp(i64::try_from(now.as_secs() * 1_000).unwrap_or(i64::MAX)).to_string();
            self.second = (now.as_secs(), text.split('.').next().unwrap_or_default().to_owned());
        }
        let (second, micros, level) = (&self.second.1, now.subsec_micros(), event.metadata().level());
        let lines = &mut self.lines;
        // Writing to memory does not fail.
        match format {
            LogFormat::Json => {
                // By parts: what formats them is dearer than the rest of the line.
                put_all(lines, &["{\"timestamp\":\"", second, "."]);
                lines.extend(MICROS_DIGITS.map(|unit| b'0' + (micros / unit % 10) as u8));
                put_all(lines, &["Z\",\"level\":\"", level.as_str(), "\""]);
                event.record(&mut Json(lines));
                put_all(lines, &[",\"target\":\"", TARGET, "\"}\n"]);
            }
            LogFormat::Text => {
                let _ = write!(lines, "{second}.{micros:06}Z {level:>5} {TARGET}:");
                event.record(&mut Text(lines));
                lines.push(b'\n');
            }
        }
    }
}

fn put_all(lines: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| lines.extend_from_slice(part.as_bytes()));
}

/// Fields as members of an object that is open.
struct Json<'a>(&'a mut Vec<u8>);

impl Json<'_> {
    fn name(&mut self, field: &Field) {
        put_all(self.0, &[",\"", field.name(), "\":"]);
    }
}

impl Visit for Json<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        put_all(self.0, &[itoa::Buffer::new().format(value)]);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field);
        put_all(self.0, &[itoa::Buffer::new().format(value)]);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        let _ = write!(self.0, "{value}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.0.push(b'"');
        let _ = Escaped(self.0).write_str(value);
        self.0.push(b'"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.0.push(b'"');
        let _ = write!(Escaped(self.0), "{value:?}");
        self.0.push(b'"');
    }
}

/// Text within quotes of JSON (RFC 8259, section 7).
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        // Nearly every text has nothing to escape. The last eight bytes may have some in them that were looked at before.
        let all_plain = |end| is_plain(end) && rest.as_chunks().0.iter().all(is_plain);
        if rest.last_chunk().is_some_and(all_plain) {
            self.0.extend_from_slice(rest);
            return Ok(());
        }
        loop {
            let special = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=31));
            let (plain, after) = rest.split_at(special.unwrap_or(rest.len()));
            self.0.extend_from_slice(plain);
            let Some((byte, after)) = after.split_first() else { return Ok(()) };
            match byte {
                b'"' | b'\\' => self.0.extend([b'\\', *byte]),
                _ => drop(write!(self.0, "\\u{byte:04x}")),
            }
            rest = after;
        }
    }
}

/// Whether none of eight bytes is to be escaped, asked of all at once.
fn is_plain(bytes: &[u8; 8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(*bytes);
    // A byte below the bound, where there is one, leaves its highest bit set, which it had not before.
    let below = |word: u64, bound: u8| word.wrapping_sub(u64::from(bound) * EACH) & !word;
    let is = |byte: u8| below(word ^ (u64::from(byte) * EACH), 1);
    (below(word, 32) | is(b'"') | is(b'\\')) & (0x80 * EACH) == 0
}

/// Fields as `name=value`, the message alone.
struct Text<'a>(&'a mut Vec<u8>);

impl Visit for Text<'_> {
    /// A word stands as it is; what may be anything within quotes.
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            let _ = write!(self.0, " {value}");
        } else if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let _ = write!(self.0, " {}={value}", field.name());
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// Writes what is there now: at a process's end.
pub(crate) fn flush() {
    let flushing = lock(&FLUSHING);
    let buffers = lock(&BUFFERS).clone();
    let mut dropped = 0;
    for buffer in buffers {
        let mut buffer = lock(&buffer);
        let lines = std::mem::take(&mut buffer.lines);
        dropped += std::mem::take(&mut buffer.dropped);
        drop(buffer);
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let part = &rest[..rest.len().min(WRITE_BYTES)];
            // A line is far shorter than a part.
            let whole = part.iter().rposition(|byte| *byte == b'\n').map_or(part.len(), |at| at + 1);
            let (part, after) = rest.split_at(whole);
            rest = after;
            if io::stderr().write_all(part).is_err() {
                dropped += part.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
        }
    }
    drop(flushing);
    if dropped > 0 {
        tracing::warn!(dropped, "standard error is read too slowly: lines about calls are dropped");
    }
    // Threads that have ended, and whose lines are written.
    lock(&BUFFERS).retain(|buffer| Arc::strong_count(buffer) > 1 || !lock(buffer).lines.is_empty());
}

fn start_writer() {
    let writer = std::thread::Builder::new().name("access log".into()).spawn(|| {
        loop {
            std::thread::sleep(Duration::from_millis(WRITE_INTERVAL_MS));
            flush();
        }
    });
    if let Err(failed) = writer {
        tracing::error!(error = %failed, "no thread for lines about calls: they are dropped");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a thread left half written when it panicked is at most a line cut short.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A call's line, as the calling thread has it in its buffer.
    fn line(format: LogFormat) -> String {
        // The writer waits.
        let _still = lock(&FLUSHING);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(AccessLog(format)), || {
            MINE.with(|mine| {
                lock(mine).lines.clear();
                let (quoted, none) = ("a\"\\\n\u{1}é", None::<u32>);
                tracing::info!(target: TARGET, message = "call", request_id = %quoted, listing = Some(quoted), word = "req_1", status = 200_u16, none);
                String::from_utf8(std::mem::take(&mut lock(mine).lines)).unwrap()
            })
        })
    }

    #[test]
    fn a_line_is_one_object_whatever_stands_in_it() {
        let line = line(LogFormat::Json);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let quoted = "a\"\\\n\u{1}é";
        assert_eq!((&object["request_id"], &object["listing"]), (&quoted.into(), &quoted.into()));
        assert_eq!((&object["status"], &object["message"]), (&200.into(), &"call".into()));
        assert_eq!((&object["level"], &object["target"]), (&"INFO".into(), &TARGET.into()));
        assert!(object.get("none").is_none());
        let at: Timestamp = serde_json::from_value(object["timestamp"].clone()).unwrap();
        assert!(crate::clock::Clock::System.now().0.abs_diff(at.0) < 60_000, "{line}");
    }

    #[test]
    fn a_text_is_read_back_whatever_stands_at_whichever_place_in_it() {
        for (byte, length) in (0..128).flat_map(|byte: u8| [5, 8, 20].map(|length| (byte, length))) {
            for place in 0..length {
                let mut text = "\u{e9}bcdefghijklmnopqrst"[..length].to_owned().into_bytes();
                // In place of a letter, or of all of the first, which has two bytes.
                let replaced = if place < 2 { 0..2 } else { place..place + 1 };
                text.splice(replaced, [byte]);
                let text = String::from_utf8(text).unwrap();
                let mut json = vec![b'"'];
                Escaped(&mut json).write_str(&text).unwrap();
                json.push(b'"');
                assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
            }
        }
    }

    #[test]
    fn a_line_for_people_names_what_it_says() {
        let line = line(LogFormat::Text);
        assert!(
            line.contains("Z  INFO apiclay::access:") && line.contains(" word=req_1 status=200"),
            "{line}"
        );
        assert!(line.contains(r#" listing="a\"\\\n\u{1}é""#) && line.contains(" call"), "{line}");
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_counted() {
        let _still = lock(&FLUSHING);
        let mine = MINE.with(Arc::clone);
        lock(&mine).lines.resize(BUFFER_MAX_BYTES + 1, b'\n');
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(AccessLog(LogFormat::Json)),
            || {
                tracing::info!(target: TARGET, "call");
            },
        );
        let mut buffer = lock(&mine);
        assert_eq!((buffer.lines.len(), buffer.dropped), (BUFFER_MAX_BYTES + 1, 1));
        (buffer.lines, buffer.dropped) = (Vec::new(), 0);
    }
}
