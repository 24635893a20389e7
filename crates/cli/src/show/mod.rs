//! What is printed, as pure functions: data in, text out.

pub mod addresses;
pub mod databases;
pub mod nodes;
pub mod records;
pub mod statistics;
pub mod times;

/// A row of a table for scripts: a separator before, between and behind the columns.
pub(crate) fn row(separator: &str, columns: &[&str]) -> String {
    let mut text = separator.to_owned();
    for column in columns {
        text += column;
        text += separator;
    }
    text.push('\n');
    text
}

/// `1` or `0`.
pub(crate) fn bit(set: bool) -> &'static str {
    if set { "1" } else { "0" }
}

/// `yes` or `no`.
pub(crate) fn yes_no(set: bool) -> &'static str {
    if set { "yes" } else { "no" }
}
