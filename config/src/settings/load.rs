//! Reads file and environment into texts by the table, then each text into its value. A fault does not end the reading,
//! so that one start tells them all. Next: `assemble.rs`, which asks for each value and makes the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;

use super::Settings;
use super::fault::{Fault, SettingsError};
use super::parse::Problem;
use super::table::{Kind, SETTINGS, Unset};
use super::unknown::{edits, is_not_ours};

/// Longest settings file taken.
const FILE_MAX_BYTES: u64 = 1_024 * 1_024;
/// Longest value of a setting taken.
const VALUE_MAX_BYTES: usize = 16 * 1_024;
/// A name this many edits away or fewer is taken for a typing error of ours.
const TYPO_MAX_EDITS: usize = 3;

impl Settings {
    /// Reads and checks everything; the environment wins over the file.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        Reader::load(file, env, false)
    }

    /// The same for a demo, which may be shown to others over plain http.
    pub fn load_demo(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        Reader::load(file, env, true)
    }
}

/// This process's environment, for [`Settings::load`]: `std::env::vars` panics on what is not UTF-8, which here becomes
/// U+FFFD and, in a setting of ours, a fault.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

/// Not `Debug`: it holds secrets as plain text until they are parsed.
#[derive(Default)]
pub(super) struct Reader {
    given: BTreeMap<&'static str, Given>,
    faults: Vec<Fault>,
    /// Which settings were asked for; a test holds it equal to the table.
    pub(super) asked: BTreeSet<&'static str>,
}

struct Given {
    text: String,
    in_env: bool,
}

impl Reader {
    fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        demo: bool,
    ) -> Result<Settings, SettingsError> {
        let mut reader = Self::default();
        if let Some(path) = file {
            reader.read_file(path);
        }
        reader.read_env(env);
        match reader.assemble(demo) {
            Some(settings) if reader.faults.is_empty() => Ok(settings),
            _ => Err(SettingsError { faults: reader.faults }),
        }
    }

    pub(super) fn fault(
        &mut self,
        setting: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (setting, problem, remedy) = (setting.into(), problem.into(), remedy.into());
        self.faults.push(Fault { setting, problem, remedy });
    }

    fn read_file(&mut self, path: &Path) {
        let shown = path.display().to_string();
        let mut text = String::new();
        // One byte more than the limit, to tell a file of just that size from a longer one.
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text));
        if let Err(error) = read {
            let problem = format!("cannot be read ({})", error.kind());
            return self.fault(
                shown,
                problem,
                "check the path after --config, its permissions, and that it is UTF-8",
            );
        }
        if text.len() as u64 > FILE_MAX_BYTES {
            return self.fault(shown, "is too large", format!("keep it under {FILE_MAX_BYTES} bytes"));
        }
        match text.parse::<toml::Table>() {
            Ok(table) => self.take_table(&table),
            Err(error) => {
                // The parser's own text shows the line, which may hold a secret: say where it is instead.
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                self.fault(
                    shown,
                    format!("is not TOML at line {line}"),
                    "see config.example.toml for its form",
                );
            }
        }
    }

    fn take_table(&mut self, table: &toml::Table) {
        for (key, value) in table {
            match value {
                toml::Value::Table(section) if SETTINGS.iter().any(|s| s.section() == key) => {
                    for (name, value) in section {
                        self.take_value(&format!("{key}.{name}"), value);
                    }
                }
                value => self.take_value(key, value),
            }
        }
    }

    fn take_value(&mut self, key: &str, value: &toml::Value) {
        let Some(setting) = SETTINGS.iter().find(|s| s.key == key) else {
            return self.unknown(key, SETTINGS.iter().map(|s| s.key));
        };
        let text = match (setting.kind, value) {
            (Kind::Number { .. }, toml::Value::Integer(number)) => number.to_string(),
            (Kind::Switch, toml::Value::Boolean(on)) => on.to_string(),
            (Kind::Networks, toml::Value::Array(list)) if list.iter().all(toml::Value::is_str) => {
                list.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            (Kind::Number { .. }, _) | (_, toml::Value::Array(_) | toml::Value::Table(_)) => {
                return self.fault(key, "has a value of another kind", setting.kind.remedy());
            }
            (_, toml::Value::String(text)) => text.clone(),
            _ => return self.fault(key, "is not a text", format!("{}, in quotes", setting.kind.remedy())),
        };
        self.given.insert(setting.key, Given { text, in_env: false });
    }

    fn read_env(&mut self, env: impl Iterator<Item = (String, String)>) {
        for (name, value) in env {
            if let Some(setting) = SETTINGS.iter().find(|s| s.env == name) {
                self.given.insert(setting.key, Given { text: value, in_env: true });
            } else if !is_not_ours(&name, &value) {
                self.unknown(&name, SETTINGS.iter().map(|s| s.env));
            }
        }
    }

    fn unknown(&mut self, name: &str, known: impl Iterator<Item = &'static str>) {
        let nearest = known.map(|k| (edits(name, k), k)).min();
        let remedy = match nearest {
            Some((distance, known)) if distance <= TYPO_MAX_EDITS => format!("did you mean {known}?"),
            _ => "remove it; config.example.toml has every setting".to_owned(),
        };
        // Escaped, for it is printed on a terminal as someone else wrote it.
        self.fault(name.escape_debug().to_string(), "is not a setting", remedy);
    }

    /// How the operator knows this setting: by where it was set, or else by its name in the environment.
    pub(super) fn shown(&self, key: &'static str) -> &'static str {
        let env = SETTINGS.iter().find(|s| s.key == key).map_or(key, |s| s.env);
        if self.given.get(key).is_some_and(|given| !given.in_env) { key } else { env }
    }

    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// The value of the setting `key`, or else its default. Nothing where there is neither, or a fault.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(Kind, &str) -> Result<T, Problem>,
    ) -> Option<T> {
        let setting = SETTINGS.iter().find(|s| s.key == key)?;
        self.asked.insert(setting.key);
        let text = match (self.given.get(key), setting.unset) {
            (Some(given), _) => given.text.as_str(),
            (None, Unset::Value(value)) => value,
            (None, Unset::Derived { .. } | Unset::Absent { .. }) => return None,
        };
        let may_be_empty = matches!(setting.kind, Kind::Networks);
        let parsed = if text.trim().is_empty() && !may_be_empty {
            Err("is empty")
        } else if text.len() > VALUE_MAX_BYTES {
            Err("is too long")
        } else if text.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
            Err("has control characters, or is not UTF-8")
        } else {
            parse(setting.kind, text)
        };
        let shown = self.shown(key);
        parsed.map_err(|problem| self.fault(shown, problem, setting.kind.remedy())).ok()
    }
}
