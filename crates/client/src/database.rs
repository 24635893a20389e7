//! Databases: attach, read the local copy, walk over it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ctdb_protocol::{ControlFlags, DbFlags, DbId, LtdbHeader, Pnn, Request};
use ctdb_tdb::Tdb;

use crate::control::NO_TIMEOUT;
use crate::local_file::LocalFile;
use crate::{Client, ClientError, DbKind};

/// Records of a walk after which the loop turns.
const RECORDS_PER_TURN: usize = 256;
/// Chains of a walk after which the loop turns, empty ones too.
const CHAINS_PER_TURN: usize = 64;

/// The databases that a client has attached, by name.
#[derive(Default)]
pub(crate) struct Known(RefCell<BTreeMap<String, Rc<Attached>>>);

pub(crate) struct Attached {
    id: DbId,
    name: String,
    kind: DbKind,
    path: PathBuf,
    file: Rc<LocalFile>,
}

/// A database of the cluster, with the node's own copy open. Clones are the same database.
#[derive(Clone)]
pub struct Database {
    client: Client,
    attached: Rc<Attached>,
}

impl Database {
    /// Attaches a database, creating it in the cluster if it is not there, and opens the local copy. A client attaches a name
    /// once; it stays open until the client and all handles are gone, or [`Database::detach`]. `flags` may ask for READONLY and
    /// STICKY, which are set on all connected nodes. The daemon holds the request back during a recovery; there is no deadline here.
    ///
    /// # Errors
    /// Those of [`Client::control`]; `Unhealthy`; `Tdb` when the file cannot be opened; `InvalidUse` for a database
    /// that this client has attached as another kind.
    pub async fn attach(
        client: &Client,
        name: &str,
        kind: DbKind,
        flags: DbFlags,
    ) -> Result<Database, ClientError> {
        let known = client.0.databases.0.borrow().get(name).cloned();
        let attached = match known {
            Some(attached) if attached.kind == kind => attached,
            Some(_) => return Err(ClientError::InvalidUse("a database attached as two kinds")),
            None => Database::attach_new(client, name, kind).await?,
        };
        if flags.contains(DbFlags::READONLY) {
            on_connected_nodes(client, &Request::SetDbReadonly(attached.id)).await?;
        }
        if flags.contains(DbFlags::STICKY) {
            on_connected_nodes(client, &Request::SetDbSticky(attached.id)).await?;
        }
        Ok(Database {
            client: client.clone(),
            attached,
        })
    }

    async fn attach_new(client: &Client, name: &str, kind: DbKind) -> Result<Rc<Attached>, ClientError> {
        let me = client.pnn();
        let no_flags = ControlFlags::empty();
        let id = client.attach(me, kind, name, no_flags, NO_TIMEOUT).await?;
        let path = PathBuf::from(client.get_dbpath(me, id, NO_TIMEOUT).await?);
        if let Some(reason) = client.db_get_health(me, id, NO_TIMEOUT).await? {
            return Err(ClientError::Unhealthy {
                database: name.to_owned(),
                reason,
            });
        }
        let open_flags = client.db_open_flags(me, id, NO_TIMEOUT).await?;
        let file = LocalFile::open(&path, open_flags)?;
        let attached = Rc::new(Attached {
            id,
            name: name.to_owned(),
            kind,
            path,
            file,
        });
        let mut known = client.0.databases.0.borrow_mut();
        known.insert(name.to_owned(), attached.clone());
        Ok(attached)
    }

    /// Has the cluster forget a volatile database, and closes the local copy when no other handle has it.
    ///
    /// # Errors
    /// `Status` when the daemon does not want to: clients use it, or the tunable AllowClientDBAttach is set.
    pub async fn detach(self) -> Result<(), ClientError> {
        let me = self.client.pnn();
        self.client.db_detach(me, self.id(), NO_TIMEOUT).await?;
        let forgotten = self.client.0.databases.0.borrow_mut().remove(self.name());
        drop(forgotten);
        LocalFile::forget(self.path());
        Ok(())
    }

    /// Its number.
    pub fn id(&self) -> DbId {
        self.attached.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.attached.name
    }

    /// What it was attached as.
    pub fn kind(&self) -> DbKind {
        self.attached.kind
    }

    /// The node's file.
    pub fn path(&self) -> &Path {
        &self.attached.path
    }

    /// The connection it was attached by.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn file(&self) -> &Rc<LocalFile> {
        &self.attached.file
    }

    /// What the local copy holds for a key, whoever is its data master; `None` when there is nothing. A deleted record may
    /// be there with an empty value.
    ///
    /// # Errors
    /// `Tdb`; `BadRecord` for a record without header.
    pub async fn fetch_local(&self, key: &[u8]) -> Result<Option<(LtdbHeader, Vec<u8>)>, ClientError> {
        let chain = self.file().tdb().chain_of(key);
        let data = self
            .file()
            .look(self.client.handle(), chain, |tdb| tdb.fetch(key));
        match data.await? {
            None => Ok(None),
            Some(data) => match LtdbHeader::split(&data) {
                Some((header, value)) => Ok(Some((header, value.to_vec()))),
                None => Err(self.bad_record(key, format!("{} bytes, a header has 24", data.len()))),
            },
        }
    }

    /// Shows every record of the local copy, whoever is its data master, deleted ones included, until `visit` has seen enough. Chain by
    /// chain: records that change meanwhile may be missed, or shown before or after the change. `visit` is called under the lock of the chain
    /// and must not use this database. Returns how many records were shown.
    ///
    /// # Errors
    /// `Tdb`; `BadRecord` for a record without header.
    pub async fn traverse_local(
        &self,
        mut visit: impl FnMut(&[u8], LtdbHeader, &[u8]) -> ControlFlow<()>,
    ) -> Result<usize, ClientError> {
        let handle = self.client.handle();
        let (mut shown, mut in_turn) = (0, 0);
        for (number, chain) in self.file().tdb().chains().enumerate() {
            let mut stop = None;
            let look = |tdb: &Tdb| {
                tdb.traverse_chain(chain, |key, data| {
                    let flow = match LtdbHeader::split(data) {
                        Some((header, value)) => visit(key, header, value).map_break(|()| Ok(())),
                        None => ControlFlow::Break(Err(
                            self.bad_record(key, format!("{} bytes, a header has 24", data.len()))
                        )),
                    };
                    flow.map_break(|end| stop = Some(end))
                })
            };
            let records = self.file().look(handle, chain, look).await?;
            shown += records;
            if let Some(end) = stop {
                return end.map(|()| shown);
            }
            in_turn += records;
            if in_turn >= RECORDS_PER_TURN || number % CHAINS_PER_TURN == CHAINS_PER_TURN - 1 {
                in_turn = 0;
                handle.yield_now().await;
            }
        }
        Ok(shown)
    }

    pub(crate) fn bad_record(&self, key: &[u8], reason: String) -> ClientError {
        ClientError::BadRecord {
            database: self.name().to_owned(),
            key: key.escape_ascii().to_string(),
            reason,
        }
    }
}

/// A control to all nodes that can be talked to.
async fn on_connected_nodes(client: &Client, request: &Request<'_>) -> Result<(), ClientError> {
    let map = client.get_nodemap(client.pnn(), NO_TIMEOUT).await?;
    let connected = map.nodes.iter().filter(|node| node.flags.is_connected());
    let nodes: Vec<Pnn> = connected.map(|node| node.pnn).collect();
    for (_, result) in client.control_all(&nodes, request, NO_TIMEOUT).await {
        result?;
    }
    Ok(())
}
