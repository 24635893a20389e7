//! Records of persistent and replicated databases.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use ctdb_client::{Database, Transaction};

use crate::args::Args;
use crate::cmd::databases::find;
use crate::cmd::values;
use crate::console::{out, out_bytes};
use crate::context::{Context, mention};
use crate::failure::{Failure, OrSay, Outcome};
use crate::show::records::until_nul;

pub(crate) async fn pfetch(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(2..=2)?;
    let db = transactional(cx, args).await?;
    let key = values::bytes(args.bytes(1), "key")?;
    let transaction = start(&db, true).await?;
    let fetched = transaction.fetch(&key).await;
    let unlocked = transaction.cancel().await;
    let value = fetched.or_say(|| format!("Failed to read record for key {}", args.text(1)))?;
    // A record that is not there is an empty one.
    out_bytes(until_nul(&value.unwrap_or_default()));
    out("\n");
    unlocked?;
    Ok(0)
}

pub(crate) async fn pstore(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(3..=3)?;
    let db = transactional(cx, args).await?;
    let key = values::bytes(args.bytes(1), "key")?;
    let value = values::bytes(args.bytes(2), "value")?;
    let mut transaction = start(&db, false).await?;
    let stored = transaction.store(&key, &value).await;
    match stored.or_say(|| format!("Failed to store record for key {}", args.text(1))) {
        Ok(()) => commit(transaction, db.name()).await,
        Err(failure) => give_up(transaction, failure).await,
    }
}

pub(crate) async fn pdelete(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(2..=2)?;
    let db = transactional(cx, args).await?;
    let key = values::bytes(args.bytes(1), "key")?;
    let mut transaction = start(&db, false).await?;
    let deleted = transaction.delete(&key).await;
    match deleted.or_say(|| format!("Failed to delete record for key {}", args.text(1))) {
        Ok(()) => commit(transaction, db.name()).await,
        Err(failure) => give_up(transaction, failure).await,
    }
}

/// Many changes in one transaction, a line of `"key" "value"` each, from a file or standard input.
pub(crate) async fn ptrans(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=2)?;
    let found = find(cx, &args.text(0)).await?;
    if !found.has_transactions() {
        return Err(Failure::said(format!(
            "Transactions not supported on DB {}",
            found.name
        )));
    }
    let input: Box<dyn BufRead> = match args.words().get(1) {
        Some(path) => {
            let file = File::open(path);
            let file = file.map_err(|_| Failure::said(format!("Failed to open file {}", args.text(1))))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(io::stdin().lock()),
    };
    let db = found.attach(cx).await?;
    let mut transaction = start(&db, false).await?;
    for line in lines(input) {
        if let Some((key, value)) = change(&line) {
            let stored = transaction.store(&key, &value).await;
            if let Err(failure) = stored.or_say(|| "Failed to store record".to_owned()) {
                return give_up(transaction, failure).await;
            }
        }
    }
    commit(transaction, db.name()).await
}

/// The database of the line, opened, if it is changed by transactions.
async fn transactional(cx: &Context, args: &Args<'_>) -> Result<Database, Failure> {
    let found = find(cx, &args.text(0)).await?;
    if !found.has_transactions() {
        return Err(Failure::said(format!(
            "Transactions not supported on DB {}",
            found.name
        )));
    }
    found.attach(cx).await
}

async fn start(db: &Database, read_only: bool) -> Result<Transaction, Failure> {
    let started = Transaction::start(db, read_only).await;
    started.or_say(|| format!("Failed to start transaction on db {}", db.name()))
}

async fn commit(transaction: Transaction, name: &str) -> Outcome {
    let committed = transaction.commit().await;
    committed.or_say(|| format!("Failed to commit transaction on db {name}"))?;
    Ok(0)
}

async fn give_up(transaction: Transaction, failure: Failure) -> Outcome {
    if let Err(error) = transaction.cancel().await {
        mention(&error.into());
    }
    Err(failure)
}

/// Upstream's lines have at most so many bytes, the end of the line included; the rest counts as the next line.
const LINE_LEN_MAX: usize = 1023;

fn lines(mut input: Box<dyn BufRead>) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        while line.len() < LINE_LEN_MAX {
            let ready = input.fill_buf().ok()?;
            if ready.is_empty() {
                break;
            }
            let room = ready.len().min(LINE_LEN_MAX - line.len());
            let end = ready[..room].iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(room, |end| end + 1);
            line.extend_from_slice(&ready[..taken]);
            input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        (!line.is_empty()).then_some(line)
    })
}

/// Key and value of a line; `None` for one that is to be ignored, with a word why.
fn change(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
    let told = |failure: Failure| mention(&failure);
    let (key, rest) = quoted(line).map_err(told).ok()?;
    if key.is_empty() {
        return None;
    }
    let (value, _) = quoted(rest).map_err(told).ok()?;
    Some((key, value))
}

/// The bytes of the next quoted word, and what follows it.
fn quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Failure> {
    let blanks = text
        .iter()
        .take_while(|&&byte| byte == b' ' || byte == b'\t')
        .count();
    let shown = String::from_utf8_lossy(text);
    let Some(rest) = text[blanks..].strip_prefix(b"\"") else {
        return Err(Failure::said(format!("Unsupported input format in {shown}")));
    };
    let Some(end) = rest.iter().position(|&byte| byte == b'"') else {
        return Err(Failure::said(format!("Unmatched \" in input {shown}")));
    };
    Ok((values::parse(&rest[..end])?, &rest[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_two_quoted_words() {
        let pair = |key: &[u8], value: &[u8]| Some((key.to_vec(), value.to_vec()));
        assert_eq!(change(b"\"k\" \"v w\"\n"), pair(b"k", b"v w"));
        assert_eq!(change(b" \t\"0x6b\"\"\"  # deleted\n"), pair(b"k", b""));
    }

    #[test]
    fn other_lines_are_ignored() {
        for line in [
            &b"k v\n"[..],
            b"\"k\n",
            b"\"k\" v",
            b"\"\" \"v\"",
            b"",
            b"\"0x1\" \"v\"",
        ] {
            assert_eq!(change(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn long_lines_are_cut_as_upstream_does() {
        let mut text = vec![b'a'; 1500];
        text.extend_from_slice(b"\nb");
        let lens: Vec<_> = lines(Box::new(io::Cursor::new(text)))
            .map(|line| line.len())
            .collect();
        assert_eq!(lens, [1023, 478, 1]);
    }
}
