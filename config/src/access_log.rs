//! Lines about calls, of the target [`TARGET`]: there may be tens of thousands a second. A thread puts its lines into a buffer of its
//! own, and one thread writes them all to standard error ten times a second, so that no call waits for whoever reads the log: where
//! he is too slow, lines are dropped, counted and told of. A kill loses the last tenth of a second. All other lines are the
//! `tracing-subscriber` crate's, and are written at once.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::background::{breathe, take_breaths};
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
    /// Room for the next ones while these are written.
    spare: Vec<u8>,
    dropped: u64,
    /// Seconds since 1970, and their text up to the second: most lines have the last one's.
    second: (u64, String),
}

/// Whether lines are wanted, and in which form.
static FORMAT: AtomicU8 = AtomicU8::new(UNWANTED);
const UNWANTED: u8 = 0;
const AS_JSON: u8 = 1;
const AS_TEXT: u8 = 2;

/// From now on lines are written in this form, or none are.
pub(crate) fn start(format: Option<LogFormat>) {
    let format = match format {
        None => UNWANTED,
        Some(LogFormat::Json) => AS_JSON,
        Some(LogFormat::Text) => AS_TEXT,
    };
    FORMAT.store(format, Relaxed);
}

/// Writes a line about a call, where such are wanted: `fields` says what stands in it. The `tracing` crate's events would cost more to
/// hand over than the line to write.
pub fn line(fields: impl FnOnce(&mut Line<'_>)) {
    let format = match FORMAT.load(Relaxed) {
        UNWANTED => return,
        AS_JSON => LogFormat::Json,
        _ => LogFormat::Text,
    };
    // A thread that is ending has no buffer any more.
    let _ = MINE.try_with(|mine| {
        let mut buffer = lock(mine);
        if buffer.lines.len() > BUFFER_MAX_BYTES {
            buffer.dropped += 1;
        } else {
            buffer.put(format, fields);
        }
    });
}

impl Buffer {
    fn put(&mut self, format: LogFormat, fields: impl FnOnce(&mut Line<'_>)) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second.0 != now.as_secs() || self.second.1.is_empty() {
            let text = Timestamp(i64::try_from(now.as_secs() * 1_000).unwrap_or(i64::MAX)).to_string();
            self.second = (now.as_secs(), text.split('.').next().unwrap_or_default().to_owned());
        }
        let micros = MICROS_DIGITS.map(|unit| b'0' + (now.subsec_micros() / unit % 10) as u8);
        let (second, lines) = (&self.second.1, &mut self.lines);
        // By parts: what formats them is dearer than the rest of the line.
        match format {
            LogFormat::Json => {
                put_all(lines, &["{\"timestamp\":\"", second, "."]);
                lines.extend(micros);
                put_all(lines, &["Z\",\"level\":\"INFO\",\"message\":\"call\""]);
                fields(&mut Line { lines, format });
                put_all(lines, &[",\"target\":\"", TARGET, "\"}\n"]);
            }
            LogFormat::Text => {
                put_all(lines, &[second, "."]);
                lines.extend(micros);
                put_all(lines, &["Z  INFO ", TARGET, ": call"]);
                fields(&mut Line { lines, format });
                lines.push(b'\n');
            }
        }
    }
}

fn put_all(lines: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| lines.extend_from_slice(part.as_bytes()));
}

/// A line that is being written, after what every line begins with.
pub struct Line<'a> {
    lines: &'a mut Vec<u8>,
    format: LogFormat,
}

impl Line<'_> {
    /// A number.
    pub fn number(&mut self, name: &str, value: u64) {
        let mut digits = itoa::Buffer::new();
        let parts = match self.format {
            LogFormat::Json => [",\"", name, "\":", digits.format(value)],
            LogFormat::Text => [" ", name, "=", digits.format(value)],
        };
        put_all(self.lines, &parts);
    }

    /// A text: a word stands as it is, what may be anything within quotes.
    pub fn text(&mut self, name: &str, value: &str) {
        match self.format {
            LogFormat::Json => {
                put_all(self.lines, &[",\"", name, "\":\""]);
                put_escaped(self.lines, value);
                self.lines.push(b'"');
            }
            LogFormat::Text if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                put_all(self.lines, &[" ", name, "=", value]);
            }
            LogFormat::Text => {
                // Writing to memory does not fail.
                let _ = write!(self.lines, " {name}={value:?}");
            }
        }
    }
}

/// Writes text within quotes of JSON (RFC 8259, section 7).
fn put_escaped(lines: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    // Nearly every text has nothing to escape. The last eight bytes may have some in them that were looked at before.
    let all_plain = |end| is_plain(end) && rest.as_chunks().0.iter().all(is_plain);
    if rest.last_chunk().is_some_and(all_plain) {
        return lines.extend_from_slice(rest);
    }
    loop {
        let special = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=31));
        let (plain, after) = rest.split_at(special.unwrap_or(rest.len()));
        lines.extend_from_slice(plain);
        let Some((byte, after)) = after.split_first() else { return };
        match byte {
            b'"' | b'\\' => lines.extend([b'\\', *byte]),
            _ => drop(write!(lines, "\\u{byte:04x}")),
        }
        rest = after;
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

/// Writes what is there now: at a process's end.
pub(crate) fn flush() {
    let flushing = lock(&FLUSHING);
    let buffers = lock(&BUFFERS).clone();
    let mut dropped = 0;
    for mine in buffers {
        let mut buffer = lock(&mine);
        let spare = std::mem::take(&mut buffer.spare);
        let mut lines = std::mem::replace(&mut buffer.lines, spare);
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
            breathe();
        }
        // Used again, and given back where there is less to say than there was.
        if lines.len() >= lines.capacity() / 4 {
            lines.clear();
            lock(&mine).spare = lines;
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
        take_breaths();
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
    use super::*;

    /// A call's line.
    fn line(format: LogFormat) -> String {
        let mut buffer = Buffer::default();
        buffer.put(format, |line| {
            let quoted = "a\"\\\n\u{1}é";
            line.text("request_id", quoted);
            line.text("listing", quoted);
            line.text("word", "req_1");
            line.number("status", 200);
        });
        String::from_utf8(buffer.lines).unwrap()
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
                put_escaped(&mut json, &text);
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
        start(Some(LogFormat::Json));
        super::line(|_| {});
        start(None);
        super::line(|_| {});
        let mut buffer = lock(&mine);
        assert_eq!((buffer.lines.len(), buffer.dropped), (BUFFER_MAX_BYTES + 1, 1));
        (buffer.lines, buffer.dropped) = (Vec::new(), 0);
    }
}
