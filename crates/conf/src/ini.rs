//! The file format of `ctdb.conf` and of tunables files.
//!
//! - A line is `[section]`, `name = value`, blank, or a comment that begins with `#` or `;`. Blanks around count for nothing.
//! - A backslash at the end of a line (blanks may follow) joins the next line to it; comments are not joined.
//! - In names and values a run of blanks is one blank (the first of them); quotes mean nothing; only the first `=` divides.
//! - What stands behind `]` is ignored, and so is a line without `=`: both are reported as such, because
//!   somebody meant something by them.
//!
//! Source: Samba's `lib/util/tini.c`; every rule was tried on Debian's `ctdb-config`. There a broken line
//! silently turns the whole file off; here it is an error.

/// One statement of a file, with the number of the line where it begins (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The line, counted from 1.
    pub line: usize,
    /// What stands there.
    pub statement: Statement,
}

/// What a line can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `[name]`, exactly as between the brackets.
    Section(String),
    /// `name = value`; the value may be empty.
    Assignment {
        /// Left of the first `=`.
        name: String,
        /// Right of it.
        value: String,
    },
    /// Text that has no effect: a line without `=`, or what follows a section's bracket.
    Ignored(String),
    /// Text that makes the file unusable, and what would be right.
    Broken {
        /// The text.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// All statements of a file. Never fails as a whole; broken lines are among the items.
pub fn parse(text: &[u8]) -> Vec<Item> {
    let mut lines = text.split(|&b| b == b'\n').enumerate();
    let mut items = Vec::new();
    while let Some((index, first)) = lines.next() {
        if matches!(trim_start(first).first(), Some(b'#' | b';')) {
            continue;
        }
        let mut whole = Vec::new();
        let mut part = first;
        while let Some(joined) = continued(part) {
            whole.extend_from_slice(joined);
            match lines.next() {
                Some((_, next)) => part = next,
                None => part = b"",
            }
        }
        whole.extend_from_slice(part);
        statement(&whole, index + 1, &mut items);
    }
    items
}

/// The line without its backslash, if it ends in one.
fn continued(line: &[u8]) -> Option<&[u8]> {
    line.trim_ascii_end().strip_suffix(b"\\")
}

fn trim_start(line: &[u8]) -> &[u8] {
    line.trim_ascii_start()
}

fn statement(bytes: &[u8], line: usize, items: &mut Vec<Item>) {
    let broken = |found: &[u8], expected| Statement::Broken {
        found: String::from_utf8_lossy(found.trim_ascii()).into_owned(),
        expected,
    };
    let mut push = |statement| items.push(Item { line, statement });
    if bytes.contains(&0) {
        return push(broken(bytes, "text without NUL bytes"));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return push(broken(bytes, "text in UTF-8"));
    };
    let text = text.trim_matches(is_blank);
    if text.is_empty() {
        return;
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some((name, behind)) = rest.split_once(']') else {
            return push(broken(bytes, "a ] at the end of the section's name"));
        };
        push(Statement::Section(name.to_owned()));
        if !behind.trim_matches(is_blank).is_empty() {
            push(Statement::Ignored(collapse(behind)));
        }
        return;
    }
    match text.split_once('=') {
        None => push(Statement::Ignored(collapse(text))),
        Some((name, value)) => match collapse(name) {
            name if name.is_empty() => push(broken(bytes, "a name in front of the =")),
            name => push(Statement::Assignment {
                name,
                value: collapse(value),
            }),
        },
    }
}

/// What C's isspace takes for a blank.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Blanks at both ends removed, each run of blanks inside cut to its first.
fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_blank = false;
    for c in text.trim_matches(is_blank).chars() {
        if !(is_blank(c) && after_blank) {
            out.push(c);
        }
        after_blank = is_blank(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assignment(name: &str, value: &str) -> Statement {
        Statement::Assignment {
            name: name.into(),
            value: value.into(),
        }
    }

    fn statements(text: &str) -> Vec<Statement> {
        parse(text.as_bytes())
            .into_iter()
            .map(|item| item.statement)
            .collect()
    }

    fn one(text: &str) -> Statement {
        let mut all = statements(text);
        assert_eq!(all.len(), 1, "{text:?}: {all:?}");
        all.remove(0)
    }

    #[test]
    fn sections_assignments_and_comments_keep_their_line_numbers() {
        let items = parse(b"\n# c\n[s]\n  ; c\n a = b\\\n c\n d = \n");
        let lines: Vec<usize> = items.iter().map(|item| item.line).collect();
        assert_eq!(lines, [3, 5, 7]);
        assert_eq!(items[1].statement, assignment("a", "b c"));
        assert_eq!(items[2].statement, assignment("d", ""));
    }

    #[test]
    fn runs_of_blanks_become_their_first_blank() {
        assert_eq!(
            one(" cluster \t lock = a   b\t\tc  "),
            assignment("cluster lock", "a b\tc")
        );
    }

    #[test]
    fn a_backslash_joins_lines_even_within_a_word() {
        assert_eq!(one("cluster \\\n lock = 3"), assignment("cluster lock", "3"));
        assert_eq!(one("clus\\\nter lock = 3"), assignment("cluster lock", "3"));
        assert_eq!(one("[clus\\\nter]"), Statement::Section("cluster".into()));
        assert_eq!(one("a = x\\ \ny"), assignment("a", "xy"));
        assert_eq!(one("a = x\\\r\ny"), assignment("a", "xy"));
        assert_eq!(one("a = x\\y\\\\z"), assignment("a", "x\\y\\\\z"));
        assert_eq!(one("a = x\\"), assignment("a", "x"));
        assert_eq!(
            statements("a = \"b \\\n\n c"),
            [assignment("a", "\"b"), Statement::Ignored("c".into())]
        );
    }

    #[test]
    fn a_comment_is_not_continued() {
        assert_eq!(one("# x \\\n a = 1"), assignment("a", "1"));
        assert_eq!(one("a = 1 # x ; y = z"), assignment("a", "1 # x ; y = z"));
    }

    #[test]
    fn text_without_effect_is_reported() {
        assert_eq!(one("just words"), Statement::Ignored("just words".into()));
        assert_eq!(
            statements("[a] b = c"),
            [Statement::Section("a".into()), Statement::Ignored("b = c".into())]
        );
    }

    #[test]
    fn broken_lines_say_what_would_be_right() {
        for (text, word) in [("[a\n]", "]"), (" = b", "name"), ("a = b\0c", "NUL")] {
            match statements(text).remove(0) {
                Statement::Broken { expected, .. } => {
                    assert!(expected.contains(word), "{text:?}: {expected}")
                }
                other => panic!("{text:?}: {other:?}"),
            }
        }
        assert!(matches!(
            parse(b"a = \xff")[0].statement,
            Statement::Broken { .. }
        ));
        assert!(parse(b"# \xff").is_empty(), "comments may be in any encoding");
    }

    proptest! {
        #[test]
        fn any_bytes_give_items_with_rising_line_numbers(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let items = parse(&bytes);
            prop_assert!(items.windows(2).all(|w| w[0].line <= w[1].line));
        }

        #[test]
        fn an_assignment_is_read_as_it_was_written(name in "[a-z][a-z0-9]{0,8}( [a-z]{1,5})?", value in "[!-.0-Z^-~]{1,20}") {
            prop_assume!(!value.ends_with('\\') && !name.is_empty());
            prop_assert_eq!(one(&format!("\t{name}  =   {value} ")), assignment(&name, &value));
        }
    }
}
