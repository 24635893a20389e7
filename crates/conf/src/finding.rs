//! What is wrong or odd in a file, in one sentence that an administrator can act on.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing found in a configuration file. Prints as `FILE:LINE: what was found, expected what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// What kind of thing it is; says who minds.
    pub kind: FindingKind,
    /// What was found and what would be right.
    pub text: String,
}

/// Who minds a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// The file cannot be used.
    Error,
    /// A section or option that nobody knows: daemons and tools go on, `ctdb-config validate` fails.
    Unknown,
    /// Ignored or deprecated text: nobody fails.
    Note,
}

impl Finding {
    pub(crate) fn new(file: &Path, line: usize, kind: FindingKind, text: impl Into<String>) -> Finding {
        Finding {
            file: file.to_owned(),
            line,
            kind,
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.text)
    }
}
