//! Databases.

use ctdb_protocol::{DbFlags, DbId};

use super::{bit, row, yes_no};

/// A database of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseRow {
    /// Number.
    pub id: DbId,
    /// Name.
    pub name: String,
    /// The node's file.
    pub path: String,
    /// Properties.
    pub flags: DbFlags,
    /// Why it is not to be used; `None`: it is.
    pub trouble: Option<String>,
}

/// The first line of `ctdb getdbmap`.
pub fn head(count: usize, separator: Option<&str>) -> String {
    match separator {
        None => format!("Number of databases:{count}\n"),
        Some(separator) => row(
            separator,
            &[
                "ID",
                "Name",
                "Path",
                "Persistent",
                "Sticky",
                "Unhealthy",
                "Readonly",
                "Replicated",
            ],
        ),
    }
}

/// The line of a database.
pub fn line(db: &DatabaseRow, separator: Option<&str>) -> String {
    let has = |flag| db.flags.contains(flag);
    let unhealthy = db.trouble.is_some();
    if let Some(separator) = separator {
        return row(
            separator,
            &[
                &format!("0x{:08X}", db.id.0),
                &db.name,
                &db.path,
                bit(has(DbFlags::PERSISTENT)),
                bit(has(DbFlags::STICKY)),
                bit(unhealthy),
                bit(has(DbFlags::READONLY)),
                bit(has(DbFlags::REPLICATED)),
            ],
        );
    }
    let mut text = format!("dbid:{} name:{} path:{}", db.id, db.name, db.path);
    let words = [
        (has(DbFlags::PERSISTENT), " PERSISTENT"),
        (has(DbFlags::STICKY), " STICKY"),
        (has(DbFlags::READONLY), " READONLY"),
        (has(DbFlags::REPLICATED), " REPLICATED"),
        (unhealthy, " UNHEALTHY"),
    ];
    words
        .iter()
        .filter(|(set, _)| *set)
        .for_each(|(_, word)| text += word);
    text.push('\n');
    text
}

/// All about a database.
pub fn status(db: &DatabaseRow) -> String {
    let has = |flag| yes_no(db.flags.contains(flag));
    format!(
        "dbid: {}\nname: {}\npath: {}\nPERSISTENT: {}\nREPLICATED: {}\nSTICKY: {}\nREADONLY: {}\nHEALTH: {}\n",
        db.id,
        db.name,
        db.path,
        has(DbFlags::PERSISTENT),
        has(DbFlags::REPLICATED),
        has(DbFlags::STICKY),
        has(DbFlags::READONLY),
        db.trouble.as_deref().unwrap_or("OK"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db(flags: DbFlags, trouble: Option<&str>) -> DatabaseRow {
        DatabaseRow {
            id: DbId(0xab),
            name: "a.tdb".into(),
            path: "/x/a.tdb.0".into(),
            flags,
            trouble: trouble.map(str::to_owned),
        }
    }

    #[test]
    fn properties_follow_the_path_in_upstreams_order() {
        assert_eq!(
            line(&db(DbFlags::all(), Some("bad")), None),
            "dbid:0x000000ab name:a.tdb path:/x/a.tdb.0 PERSISTENT STICKY READONLY REPLICATED UNHEALTHY\n"
        );
        assert_eq!(
            line(&db(DbFlags::STICKY, None), Some("|")),
            "|0x000000AB|a.tdb|/x/a.tdb.0|0|1|0|0|0|\n"
        );
    }

    #[test]
    fn health_is_ok_or_the_reason() {
        assert!(status(&db(DbFlags::empty(), None)).ends_with("READONLY: no\nHEALTH: OK\n"));
        assert!(status(&db(DbFlags::PERSISTENT, Some("torn"))).ends_with("HEALTH: torn\n"));
    }
}
