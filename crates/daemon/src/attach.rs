//! Databases become known to this node: by a client, by another node, by a recovery, and at start-up those
//! that survive. `daemon.md` §7.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, bail};
use ctdb_protocol::control::Request;
use ctdb_protocol::{ClientId, ControlFlags, DbId, Pnn, Reader, Runstate, Text, Wire};
use ctdb_runtime::sync::Notify;
use ctdb_tdb::{OpenOptions, Tdb, mutexes_supported};

use crate::Daemon;
use crate::control::Asked;
use crate::databases::{Database, DbKind};
use crate::locks::{self, Checked};
use crate::notice::{self, Change};
use crate::responder::Responder;

/// Attaches of clients that may wait at the same time.
const DEFERRED_MAX: usize = 10_000;
/// Longest name: what a file name can have, less the node's suffix.
const NAME_MAX: usize = 240;

/// Attaches of clients that wait for the end of a recovery, and files that are being opened.
#[derive(Default)]
pub struct DeferredAttaches {
    waiting: RefCell<Vec<Deferred>>,
    last: Cell<u64>,
    /// Databases that are being opened, and news of the end of that.
    opening: RefCell<BTreeSet<String>>,
    opened: Notify,
}

struct Deferred {
    number: u64,
    client: ClientId,
    wish: Wish,
    answer: Responder,
}

/// What is to be attached.
struct Wish {
    name: String,
    kind: DbKind,
    /// The client of this node who wants it, if it is one.
    client: Option<ClientId>,
    /// It says that it is a recovery.
    for_recovery: bool,
}

impl DeferredAttaches {
    /// Nobody waits for these answers any more.
    pub fn client_gone(&self, client: ClientId) {
        self.waiting
            .borrow_mut()
            .retain(|deferred| deferred.client != client);
    }

    /// The recovery is over.
    pub fn release(&self, d: &Rc<Daemon>) {
        for deferred in self.waiting.take() {
            admit(d, deferred.wish, deferred.answer);
        }
    }
}

/// DB_ATTACH, DB_ATTACH_PERSISTENT, DB_ATTACH_REPLICATED: answers the id.
pub fn attach(d: &Rc<Daemon>, asked: &Asked<'_>, kind: DbKind, answer: Responder) {
    let name = match Text::decode(&mut Reader::new(asked.data)).map(|text| text.to_str()) {
        Ok(Some(name)) if is_name(name) => name.to_owned(),
        _ => {
            log::error!(
                "Attach by {} refused: a database's name has 1 to {NAME_MAX} letters of UTF-8, without '/', and ends with a NUL",
                asked.sender()
            );
            return answer.refuse();
        }
    };
    if !d.tunables.borrow().allow_client_db_attach() {
        log::error!(
            "Attach of {name} by {} refused: tunable AllowClientDBAttach is 0",
            asked.sender()
        );
        return answer.refuse();
    }
    let for_recovery = asked.flags.contains(ControlFlags::ATTACH_RECOVERY);
    admit(
        d,
        Wish {
            name,
            kind,
            client: asked.client,
            for_recovery,
        },
        answer,
    );
}

/// It becomes the name of a file.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && !name.contains('/')
}

/// What a client may have now, and what it has to wait for.
fn admit(d: &Rc<Daemon>, wish: Wish, answer: Responder) {
    if let Some(client) = wish.client {
        if !d.is_active() {
            log::error!(
                "Attach of {} by client {client} refused: this node is inactive",
                wish.name
            );
            return answer.refuse();
        }
        if wish.for_recovery && !d.state.in_recovery() {
            log::error!(
                "Attach of {} for a recovery by client {client} refused: there is none",
                wish.name
            );
            return answer.refuse();
        }
        if !wish.for_recovery && !is_open_to_clients(d) {
            return defer(d, client, wish, answer);
        }
    }
    // Most attaches are of databases that are there.
    if let Some(db) = d.databases.by_name(&wish.name) {
        return reply(&known(db, wish.kind), answer);
    }
    // A node's calls for a database follow its attach on the same link, so a new file is opened at once.
    if let Some(attached) = open_at_once(d, &wish.name, wish.kind) {
        return opened(d, &attached, answer);
    }
    d.spawn(|d| async move {
        let attached = open(&d, &wish.name, wish.kind).await;
        opened(&d, &attached, answer);
    });
}

fn opened(d: &Rc<Daemon>, attached: &anyhow::Result<Rc<Database>>, answer: Responder) {
    reply(attached, answer);
    if let Ok(db) = attached {
        tell_others(d, db);
    }
}

fn reply(attached: &anyhow::Result<Rc<Database>>, answer: Responder) {
    match attached {
        Ok(db) => answer.data(&db.id.0.to_le_bytes()),
        Err(error) => {
            log::error!("Attach failed: {error:#}");
            answer.refuse();
        }
    }
}

/// A persistent database may be attached without saying so, but nothing may be attached as what it is not.
fn known(db: Rc<Database>, kind: DbKind) -> anyhow::Result<Rc<Database>> {
    if !db.flags.get().contains(kind.flag()) {
        bail!("database {} is {}, not {}", db.name, db.kind, kind);
    }
    Ok(db)
}

fn is_open_to_clients(d: &Daemon) -> bool {
    !d.state.in_recovery() && d.state.runstate() >= Runstate::Startup
}

fn defer(d: &Rc<Daemon>, client: ClientId, wish: Wish, answer: Responder) {
    let limit = d.tunables.borrow().deferred_attach_timeout();
    let room = &d.deferred_attaches;
    let first = room.waiting.borrow().is_empty();
    if room.waiting.borrow().len() >= DEFERRED_MAX {
        log::error!(
            "Attach of {} by client {client} refused: {DEFERRED_MAX} attaches wait already",
            wish.name
        );
        return answer.refuse();
    }
    log::info!(
        "Attach of {} by client {client} waits for the end of the recovery, at most {limit:?}",
        wish.name
    );
    let number = room.last.get() + 1;
    room.last.set(number);
    room.waiting.borrow_mut().push(Deferred {
        number,
        client,
        wish,
        answer,
    });
    d.spawn(move |d| async move {
        d.rt.sleep(limit).await;
        give_up(&d, number);
    });
    if first {
        d.spawn(|d| async move { release_when_open(&d).await });
    }
}

fn give_up(d: &Daemon, number: u64) {
    let mut waiting = d.deferred_attaches.waiting.borrow_mut();
    let place = waiting.iter().position(|deferred| deferred.number == number);
    let late = place.map(|place| waiting.remove(place));
    drop(waiting);
    if let Some(late) = late {
        log::error!(
            "Attach of {} by client {} refused: the recovery did not end in time (DeferredAttachTO)",
            late.wish.name,
            late.client
        );
        late.answer.refuse();
    }
}

/// The end of the recovery and the run state come one after the other; both are needed.
async fn release_when_open(d: &Rc<Daemon>) {
    while !d.deferred_attaches.waiting.borrow().is_empty() {
        if is_open_to_clients(d) {
            return d.deferred_attaches.release(d);
        }
        d.state.changed().await;
    }
}

fn tell_others(d: &Rc<Daemon>, db: &Database) {
    let name = Text::from(db.name.as_str());
    let request = match db.kind {
        DbKind::Volatile => Request::DbAttach(name),
        DbKind::Persistent => Request::DbAttachPersistent(name),
        DbKind::Replicated => Request::DbAttachReplicated(name),
    };
    d.tell(Pnn::BROADCAST_CONNECTED, &request);
    notice::poke(d, Change::Databases);
}

/// Says that the file is not being opened any more, however that ended.
struct Opening<'a>(&'a DeferredAttaches, &'a str);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.borrow_mut().remove(self.1);
        self.0.opened.notify_all();
    }
}

/// The database of that name, opened if it is not.
///
/// # Errors
/// Why it can't be attached: another kind, the same id as another one, damaged, unhealthy, no disk.
pub async fn open(d: &Rc<Daemon>, name: &str, kind: DbKind) -> anyhow::Result<Rc<Database>> {
    let room = &d.deferred_attaches;
    loop {
        if let Some(db) = d.databases.by_name(name) {
            return known(db, kind);
        }
        if d.databases.is_leaving(name) {
            d.databases.has_left(name).await;
            continue;
        }
        let opened = room.opened.notified();
        if room.opening.borrow_mut().insert(name.to_owned()) {
            break;
        }
        opened.await; // somebody else does it
    }
    let _opening = Opening(room, name);
    let path = path(d, name, kind);
    if kind == DbKind::Persistent {
        check_persistent(d, name, &path).await?;
    }
    open_sound(d, name, kind, path)
}

/// Opens what nothing has to be awaited for: no other attach or detach is under way, and no file needs a check.
fn open_at_once(d: &Rc<Daemon>, name: &str, kind: DbKind) -> Option<anyhow::Result<Rc<Database>>> {
    let busy = d.deferred_attaches.opening.borrow().contains(name) || d.databases.is_leaving(name);
    let path = path(d, name, kind);
    if busy || kind == DbKind::Persistent && path.exists() {
        return None;
    }
    let healthy = match kind {
        DbKind::Persistent => check_health(d, name),
        DbKind::Volatile | DbKind::Replicated => Ok(()),
    };
    Some(healthy.and_then(|()| open_sound(d, name, kind, path)))
}

fn open_sound(d: &Rc<Daemon>, name: &str, kind: DbKind, path: PathBuf) -> anyhow::Result<Rc<Database>> {
    let id = DbId::of_name(name.as_bytes());
    if let Some(other) = d.databases.get(id) {
        bail!(
            "database {name} has the same id {id} as {}: one of them needs another name",
            other.name
        );
    }
    let tdb = open_file(d, &path, kind)?;
    let db = Rc::new(Database::new(name, path, kind, tdb, d.state.generation()));
    log::info!(
        "Attached to database {} ({kind}, id {}, file {})",
        db.name,
        db.id,
        db.path.display()
    );
    d.databases.add(db.clone());
    Ok(db)
}

fn path(d: &Daemon, name: &str, kind: DbKind) -> PathBuf {
    let config = &d.settings.config.database;
    let directory = match kind {
        DbKind::Persistent => &config.persistent_dir,
        DbKind::Volatile | DbKind::Replicated => &config.volatile_dir,
    };
    directory.join(format!("{name}.{}", d.me()))
}

fn check_health(d: &Daemon, name: &str) -> anyhow::Result<()> {
    if let Some(reason) = d.databases.health.reason(name)? {
        bail!("persistent database {name} is marked as unhealthy: {reason}");
    }
    Ok(())
}

/// What survives a restart must be sound and not be marked as bad.
async fn check_persistent(d: &Rc<Daemon>, name: &str, path: &Path) -> anyhow::Result<()> {
    check_health(d, name)?;
    if !path.exists() {
        return Ok(());
    }
    let flags = DbKind::Persistent.tdb_flags(false);
    match locks::check(d, path, flags).await.map_err(anyhow::Error::msg) {
        Ok(Checked::Sound) => Ok(()),
        Ok(Checked::Corrupt(what)) => bail!(
            "persistent database file {} is damaged ({what}): restore it from a backup or from another node, \
             or move it away to get the records from the other nodes",
            path.display()
        ),
        Err(error) => Err(error).with_context(|| format!("checking {}", path.display())),
    }
}

fn open_file(d: &Daemon, path: &Path, kind: DbKind) -> anyhow::Result<Tdb> {
    let mutexes = d.settings.config.database.tdb_mutexes && mutexes_supported();
    let flags = kind.tdb_flags(mutexes);
    let options = {
        let tunables = d.tunables.borrow();
        OpenOptions {
            hash_size: tunables.database_hash_size(),
            max_dead: Some(tunables.database_max_dead()),
            flags,
            create: true,
            ..OpenOptions::default()
        }
    };
    let tdb = Tdb::open(path, &options)?;
    if kind != DbKind::Persistent && !is_empty(&tdb)? {
        bail!(
            "{} is not empty: a process of the previous ctdbd's time still has it open (`fuser` tells which); \
             end it, and attach again",
            path.display()
        );
    }
    // libtdb forgets some of them; clients open the file with what DB_OPEN_FLAGS says.
    tdb.add_flags(flags);
    Ok(tdb)
}

fn is_empty(tdb: &Tdb) -> anyhow::Result<bool> {
    let mut empty = true;
    tdb.traverse_read(|_, _| {
        empty = false;
        std::ops::ControlFlow::Break(())
    })?;
    Ok(empty)
}

/// Attaches the persistent databases that this node has files of.
///
/// # Errors
/// One of them can't be attached: the node must not take part without it.
pub async fn attach_all_persistent(d: &Rc<Daemon>) -> anyhow::Result<()> {
    let directory = &d.settings.config.database.persistent_dir;
    let mut names = BTreeSet::new();
    let entries = std::fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    for entry in entries {
        let file = entry
            .with_context(|| format!("listing {}", directory.display()))?
            .file_name();
        match persistent_name(&file.to_string_lossy(), d.me()) {
            Some(name) => drop(names.insert(name)),
            None => log::info!(
                "{} is no database of this node: ignored",
                directory.join(file).display()
            ),
        }
    }
    for name in names {
        open(d, &name, DbKind::Persistent).await?;
    }
    Ok(())
}

/// `NAME.tdb.<own pnn>` → `NAME.tdb`.
fn persistent_name(file: &str, me: Pnn) -> Option<String> {
    let (stem, node) = file.split_once(".tdb.")?;
    let digits = !node.is_empty() && node.bytes().all(|b| b.is_ascii_digit());
    (digits && node.parse() == Ok(me.0)).then(|| format!("{stem}.tdb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_this_node_name_their_databases() {
        let name = |file| persistent_name(file, Pnn(1));
        assert_eq!(name("secrets.tdb.1").as_deref(), Some("secrets.tdb"));
        assert_eq!(name("secrets.tdb.2"), None);
        assert_eq!(name("secrets.tdb.1.corrupted.20200101000000.0Z"), None);
        assert_eq!(
            name("a.tdb.tdb.1"),
            None,
            "only digits may follow the first .tdb."
        );
        assert_eq!(name("secrets.tdb."), None);
        assert_eq!(name("secrets.1"), None);
    }

    #[test]
    fn a_name_is_the_name_of_a_file() {
        assert!(is_name("secrets.tdb"));
        assert!(!is_name("") && !is_name("../x") && !is_name(&"x".repeat(NAME_MAX + 1)));
    }
}
