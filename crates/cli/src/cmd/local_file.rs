//! Records of a database file, past all rules: for finding faults.

use std::fs;
use std::path::Path;

use ctdb_protocol::{LtdbHeader, Pnn, RecFlags, Rsn};
use ctdb_tdb::{OpenOptions, StoreMode, Tdb};

use crate::args::Args;
use crate::cmd::values;
use crate::console::{err, out};
use crate::context::Context;
use crate::failure::{Failure, OrSay, Outcome};
use crate::numbers::{atoi, strtoull};
use crate::show::records as show;

pub(crate) async fn tfetch(_: &Context, args: &Args<'_>) -> Outcome {
    args.want(2..=3)?;
    let tdb = open(args)?;
    let key = values::bytes(args.bytes(1), "key")?;
    let name = args.text(1);
    let data = tdb.fetch(&key).ok().flatten();
    let data = data.ok_or_else(|| Failure::said(format!("No record for key {name}")))?;
    let (header, value) =
        LtdbHeader::split(&data).ok_or_else(|| Failure::said(format!("Invalid record for key {name}")))?;
    if let Some(path) = args.words().get(2)
        && fs::write(path, &data).is_err()
    {
        err(&format!("Failed to open output file {}", args.text(2)));
    }
    out(&show::header(&header));
    out(&show::bytes("data", value));
    Ok(0)
}

pub(crate) async fn tstore(_: &Context, args: &Args<'_>) -> Outcome {
    // Upstream's usage has a sixth argument, which it refuses.
    args.want(3..=5)?;
    let tdb = open(args)?;
    let key = values::bytes(args.bytes(1), "key")?;
    let value = values::bytes(args.bytes(2), "value")?;
    let rsn = args
        .get(3)
        .map_or(Ok(0), |text| strtoull(&text, 0))
        .map_err(Failure::quiet)?;
    let header = LtdbHeader {
        rsn: Rsn(rsn),
        dmaster: Pnn(args.get(4).map_or(0, |text| atoi(&text)).cast_unsigned()),
        flags: RecFlags::empty(),
    };
    let stored = tdb.store_vectored(&key, &[&header.to_bytes(), &value], StoreMode::Replace);
    stored
        .map_err(|error| Failure::said(error.to_string()))
        .or_say(|| format!("Failed to write record {} to file {}", args.text(1), args.text(0)))
        .map_err(|failure| Failure { code: -1, ..failure })?;
    Ok(0)
}

fn open(args: &Args<'_>) -> Result<Tdb, Failure> {
    let path = Path::new(&args.words()[0]);
    let opened = Tdb::open(path, &OpenOptions::default());
    opened.map_err(|_| Failure::said(format!("Failed to open TDB file {}", path.display())))
}
