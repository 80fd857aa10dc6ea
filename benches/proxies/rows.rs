//! What is called: one row of the table each, from a base that the others differ from in one thing.

/// The base row's body: 90 bytes of JSON.
pub const SMALL_BODY: &str =
    r#"{"city":"Vienna","at":"2026-11-24T12:00:00Z","temperature_c":7.5,"wind_ms":3.1,"ok":true} "#;
/// The large row's body.
pub const BIG_BODY_BYTES: usize = 10_240;

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// As the table names it.
    pub name: &'static str,
    /// Below the listing's path.
    pub path: &'static str,
    /// What the answer's body has to be long.
    pub body_bytes: usize,
}

/// All rows, the base first.
pub const ROWS: [Row; 2] = [
    Row { name: "90 B", path: "/90b", body_bytes: SMALL_BODY.len() },
    Row { name: "10 KB", path: "/10k", body_bytes: BIG_BODY_BYTES },
];
