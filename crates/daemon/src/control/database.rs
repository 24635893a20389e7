//! Controls about databases and about single records that do not travel as calls.

use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::control::{Reply, Request};
use ctdb_protocol::{
    DbFlags, DbId, KeyData, LtdbHeader, Pnn, PushRecordData, Reader, RecBuffer, RecBufferWriter, RecData,
    Text, Wire,
};
use ctdb_records::update::{self, Found, Push, TryDelete};
use ctdb_tdb::{OpenOptions, Tdb, TdbFlags};

use super::Asked;
use crate::calls::{Access, Record};
use crate::databases::{Database, FreezeState};
use crate::recovery::transaction;
use crate::responder::Responder;
use crate::waiting::{self, Work};
use crate::{Daemon, health, locks};

/// Where a transaction counts itself.
const SEQNUM_KEY: &[u8] = b"__db_sequence_number__\0";
/// Records handled before the loop turns.
const SLICE: usize = 64;

/// The database of a control; without it the answer is -1.
fn find(d: &Daemon, id: DbId, control: &str) -> Option<Rc<Database>> {
    let db = d.databases.get(id);
    if db.is_none() {
        log::error!("{control} refused: database {id} is not attached on this node");
    }
    db
}

/// GET_DBMAP
pub fn get_dbmap(d: &Rc<Daemon>, answer: Responder) {
    answer.reply(&Reply::GetDbmap(d.databases.map()));
}

/// GETDBPATH
pub fn get_path(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    match find(d, id, "GETDBPATH") {
        Some(db) => answer.reply(&Reply::GetDbPath(Text(db.path.as_os_str().as_encoded_bytes()))),
        None => answer.refuse(),
    }
}

/// GET_DBNAME
pub fn get_name(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    match find(d, id, "GET_DBNAME") {
        Some(db) => answer.reply(&Reply::GetDbName(Text::from(db.name.as_str()))),
        None => answer.refuse(),
    }
}

/// DB_OPEN_FLAGS: how clients have to open the file.
pub fn open_flags(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    match find(d, id, "DB_OPEN_FLAGS") {
        Some(db) => answer.reply(&Reply::DbOpenFlags(db.tdb.flags().bits().cast_signed())),
        None => answer.refuse(),
    }
}

/// SET_DB_READONLY: read-only copies may be lent from now on, and who has them is noted in a file beside.
pub fn set_readonly(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = volatile(d, id, "SET_DB_READONLY") else {
        return answer.refuse();
    };
    if db.flags.get().contains(DbFlags::READONLY) {
        return answer.ok();
    }
    let mut path = db.path.clone().into_os_string();
    path.push(".RO");
    let flags = TdbFlags::NOLOCK | TdbFlags::CLEAR_IF_FIRST | TdbFlags::NOSYNC;
    let hash_size = d.tunables.borrow().database_hash_size();
    match Tdb::open(
        &path,
        &OpenOptions {
            hash_size,
            flags,
            create: true,
            ..OpenOptions::default()
        },
    ) {
        Ok(tracking) => {
            *db.tracking.borrow_mut() = Some(tracking);
            db.flags.set(db.flags.get() | DbFlags::READONLY);
            log::info!("Database {} may have read-only copies from now on", db.name);
            answer.ok();
        }
        Err(error) => {
            log::error!("SET_DB_READONLY for {} failed: {error}", db.name);
            answer.refuse();
        }
    }
}

/// SET_DB_STICKY: hot records may be held back from now on.
pub fn set_sticky(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = volatile(d, id, "SET_DB_STICKY") else {
        return answer.refuse();
    };
    if !db.flags.get().contains(DbFlags::STICKY) {
        db.flags.set(db.flags.get() | DbFlags::STICKY);
        log::info!("Database {} may have sticky records from now on", db.name);
    }
    answer.ok();
}

fn volatile(d: &Daemon, id: DbId, control: &str) -> Option<Rc<Database>> {
    let db = find(d, id, control)?;
    if !db.is_volatile() {
        log::error!(
            "{control} refused: database {} is {}, this is for volatile ones only",
            db.name,
            db.kind
        );
        return None;
    }
    Some(db)
}

/// DB_SET_HEALTHY
pub fn set_healthy(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = find(d, id, "DB_SET_HEALTHY") else {
        return answer.refuse();
    };
    health::set_healthy(d, &db);
    answer.ok();
}

/// DB_GET_HEALTH: the reason, or nothing.
pub fn get_health(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = find(d, id, "DB_GET_HEALTH") else {
        return answer.refuse();
    };
    let reason = db.unhealthy.borrow();
    answer.reply(&Reply::DbGetHealth(reason.as_deref().map(Text::from)));
}

/// GET_DB_STATISTICS
pub fn statistics(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = find(d, id, "GET_DB_STATISTICS") else {
        return answer.refuse();
    };
    let mut stats = db.stats.get();
    db.hot_keys.fill(&mut stats);
    answer.reply(&Reply::GetDbStatistics(Box::new(stats)));
}

/// GET_DB_SEQNUM: how many transactions a persistent or replicated database has seen.
pub fn get_seqnum(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = find(d, id, "GET_DB_SEQNUM") else {
        return answer.refuse();
    };
    let read = match db.freeze.get() {
        FreezeState::Frozen if transaction::is_open(d, &db) => {
            db.tdb.mark_all().and_then(|_mark| read_seqnum(&db.tdb))
        }
        FreezeState::Frozen | FreezeState::Freezing => {
            log::error!("GET_DB_SEQNUM for {} refused: it is frozen", db.name);
            return answer.refuse();
        }
        FreezeState::Thawed if locks::is_contended(d, &db, SEQNUM_KEY) => {
            return wait_for_seqnum(d, &db, answer);
        }
        FreezeState::Thawed => match db.tdb.try_lock_chain_read(SEQNUM_KEY) {
            Ok(Some(_lock)) => read_seqnum(&db.tdb),
            Ok(None) => return wait_for_seqnum(d, &db, answer),
            Err(error) => Err(error),
        },
    };
    match read {
        Ok(seqnum) => answer.reply(&Reply::GetDbSeqnum(seqnum)),
        Err(error) => {
            log::error!("GET_DB_SEQNUM for {} failed: {error}", db.name);
            answer.refuse();
        }
    }
}

/// A transaction is being written.
fn wait_for_seqnum(d: &Rc<Daemon>, db: &Rc<Database>, answer: Responder) {
    let id = db.id;
    let again = Work::Own(Box::new(move |d| get_seqnum(d, id, answer)));
    if let Some(waiting) = waiting::hold(d, db, again) {
        locks::wait_chain(d, db, SEQNUM_KEY, waiting);
    }
}

/// A missing record, and one that is not a number, count as 0.
fn read_seqnum(tdb: &Tdb) -> Result<u64, ctdb_tdb::TdbError> {
    let number = |data: &[u8]| {
        let (_, value) = LtdbHeader::split(data)?;
        Some(u64::from_le_bytes(value.try_into().ok()?))
    };
    Ok(tdb.parse(SEQNUM_KEY, number)?.flatten().unwrap_or(0))
}

/// ENABLE_SEQNUM: libtdb's own sequence number, by which smbd notices that something in the file has changed,
/// rises on every node when it rises on one.
pub fn enable_seqnum(d: &Rc<Daemon>, id: DbId, answer: Responder) {
    let Some(db) = find(d, id, "ENABLE_SEQNUM") else {
        return answer.refuse();
    };
    if db.seqnum_watch.borrow().is_none() {
        db.tdb.enable_seqnum();
        db.seqnum_told.set(db.tdb.seqnum().unwrap_or(0));
        let watch = d.rt.spawn(watch_seqnum(d.clone(), db.clone()));
        *db.seqnum_watch.borrow_mut() = Some(watch);
    }
    answer.ok();
}

async fn watch_seqnum(d: Rc<Daemon>, db: Rc<Database>) {
    loop {
        let interval = d
            .tunables
            .borrow()
            .seqnum_interval()
            .max(Duration::from_millis(1));
        d.rt.sleep(interval).await;
        match db.tdb.seqnum() {
            Ok(now) if now != db.seqnum_told.get() => {
                db.seqnum_told.set(now);
                d.tell(Pnn::BROADCAST_ACTIVE, &Request::UpdateSeqnum(db.id));
            }
            Ok(_) => {}
            Err(error) => log::error!("Sequence number of {}: {error}", db.name),
        }
    }
}

/// UPDATE_SEQNUM: it has risen on another node. This rise is not told on.
pub fn update_seqnum(d: &Rc<Daemon>, asked: &Asked<'_>, id: DbId, answer: Responder) {
    if asked.srcnode == d.me() {
        return answer.ok();
    }
    let Some(db) = find(d, id, "UPDATE_SEQNUM") else {
        return answer.refuse();
    };
    if let Some(reason) = &*db.unhealthy.borrow() {
        log::error!("UPDATE_SEQNUM for {} refused: it is unhealthy: {reason}", db.name);
        return answer.refuse();
    }
    let risen = || {
        let before = db.tdb.seqnum()?;
        db.tdb.increment_seqnum_nonblock()?;
        Ok::<u32, ctdb_tdb::TdbError>(db.tdb.seqnum()?.wrapping_sub(before))
    };
    match risen() {
        Ok(risen) => {
            db.seqnum_told.set(db.seqnum_told.get().wrapping_add(risen));
            answer.ok();
        }
        Err(error) => {
            log::error!("UPDATE_SEQNUM for {} failed: {error}", db.name);
            answer.refuse();
        }
    }
}

/// SCHEDULE_FOR_DELETION: a client has emptied a record.
pub fn schedule_for_deletion(d: &Rc<Daemon>, record: &KeyData<'_>, answer: Responder) {
    let Some(db) = volatile(d, record.db_id, "SCHEDULE_FOR_DELETION") else {
        return answer.refuse();
    };
    db.deletions.schedule(record.key, record.header);
    answer.ok();
}

/// TRY_DELETE_RECORDS: the location master wants to delete these everywhere. Answers those that have to stay.
pub fn try_delete_records(d: &Rc<Daemon>, records: &RecBuffer<'_>, answer: Responder) {
    let Some(db) = find(d, records.db_id(), "TRY_DELETE_RECORDS") else {
        return answer.refuse();
    };
    if records.iter().any(|record| record.header_and_value().is_none()) {
        log::error!(
            "TRY_DELETE_RECORDS for {} refused: a record has no header",
            db.name
        );
        return answer.refuse();
    }
    let mut bytes = Vec::new();
    records.encode(&mut bytes);
    d.spawn(move |d| async move {
        let decoded = RecBuffer::decode(&mut Reader::new(&bytes));
        let records = decoded.expect("these are the bytes that a decoded buffer was encoded to");
        let mut kept = RecBufferWriter::new(db.id);
        for (done, record) in records.iter().enumerate() {
            if let Err(why) = try_delete(&d, &db, &record) {
                log::debug!(
                    "Database {}: record 0x{} stays: {why}",
                    db.name,
                    locks::hex(record.key)
                );
                kept.push_raw(record.reqid, record.key, record.data);
            }
            if done % SLICE == SLICE - 1 {
                d.rt.yield_now().await;
            }
        }
        answer.data(&kept.into_bytes());
    });
}

fn try_delete(d: &Daemon, db: &Database, record: &RecData<'_>) -> Result<(), String> {
    if db.is_frozen() || db.gone.get() {
        return Err("the database is frozen or detached".to_owned());
    }
    let key = record.key;
    let given = record
        .header_and_value()
        .filter(|(_, value)| value.is_empty())
        .map(|(header, _)| header);
    let _lock = match db.tdb.try_lock_chain(key) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Err("its chain is locked".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let lmaster = d.state.lmaster(key);
    let decide = |data: &[u8]| {
        let found = match LtdbHeader::split(data) {
            Some((header, data)) => Found::Copy { header, data },
            None => Found::TooShort,
        };
        update::try_delete(d.me(), lmaster, given.as_ref(), found)
    };
    let decision = db.tdb.parse(key, decide).map_err(|error| error.to_string())?;
    match decision.unwrap_or_else(|| update::try_delete(d.me(), lmaster, given.as_ref(), Found::Missing)) {
        TryDelete::Gone => Ok(()),
        TryDelete::Delete => delete_now(&db.tdb, key),
        TryDelete::Refuse(why) => Err(why.to_owned()),
    }
}

/// Its place goes to the list of free space, which somebody may have locked.
fn delete_now(tdb: &Tdb, key: &[u8]) -> Result<(), String> {
    match tdb.try_lock_free_list() {
        Ok(Some(_free_list)) => tdb.delete(key).map(drop).map_err(|error| error.to_string()),
        Ok(None) => Err("the list of free space is locked".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// PUSH_RECORD: a copy of a durable record, for the case that its node is lost.
pub fn push_record(d: &Rc<Daemon>, pushed: &PushRecordData<'_>, answer: Responder) {
    let Some(db) = volatile(d, pushed.db_id, "PUSH_RECORD") else {
        return answer.refuse();
    };
    let header = match update::push_record(d.me(), d.state.generation(), pushed.generation, &pushed.header) {
        Push::Store(header) => header,
        Push::OtherGeneration | Push::Own => return answer.ok(),
    };
    let contended = db.is_frozen() || locks::is_contended(d, &db, pushed.key);
    match if contended {
        Access::Busy
    } else {
        Record::open(d, &db, pushed.key)
    } {
        Access::Got(mut record) => {
            record.set_data(pushed.value);
            record.stage(header);
            match record.save() {
                Ok(()) => flush_pushed(d, &db, answer),
                Err(error) => {
                    log::error!("PUSH_RECORD failed: {error}");
                    answer.refuse();
                }
            }
        }
        Access::Busy if db.is_frozen() => answer.ok(), // a recovery collects the record from its owner
        Access::Busy => push_later(d, &db, pushed, answer),
        Access::Failed(error) => {
            log::error!("PUSH_RECORD failed: {error}");
            answer.refuse();
        }
    }
}

/// It has to survive this node, too. Helpers wait for the disk, this daemon does not.
fn flush_pushed(d: &Rc<Daemon>, db: &Rc<Database>, answer: Responder) {
    let db = db.clone();
    d.spawn(move |d| async move {
        match locks::sync_file(&d, &db).await {
            Ok(()) => answer.ok(),
            Err(why) => {
                log::error!(
                    "PUSH_RECORD for {}: it is stored, but not on the disk yet: {why}",
                    db.name
                );
                answer.refuse();
            }
        }
    });
}

fn push_later(d: &Rc<Daemon>, db: &Rc<Database>, pushed: &PushRecordData<'_>, answer: Responder) {
    let mut bytes = Vec::new();
    pushed.encode(&mut bytes);
    let again = Work::Own(Box::new(move |d| {
        let decoded = PushRecordData::decode(&mut Reader::new(&bytes));
        push_record(
            d,
            &decoded.expect("these are the bytes that a decoded record was encoded to"),
            answer,
        );
    }));
    if let Some(waiting) = waiting::hold(d, db, again) {
        locks::wait_chain(d, db, pushed.key, waiting);
    }
}
