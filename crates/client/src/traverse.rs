//! Walking over a database of the whole cluster: the daemon collects the records of all nodes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use ctdb_protocol::{
    DbId, LtdbHeader, Reader, RecData, Request, Srvid, SrvidRange, TraverseStart, TraverseStartExt, Wire,
};
use ctdb_runtime::sync::{Either, oneshot, select2};

use crate::control::NO_TIMEOUT;
use crate::{Client, ClientError};

static TRAVERSES: AtomicU32 = AtomicU32::new(0);

impl Client {
    /// Shows every record of a database in the cluster once, as its data master has it, and returns how many there were.
    /// Deleted ones, whose value is empty, are shown only if asked for. There is no deadline here; when this future is dropped, the
    /// daemon goes on for a while with nobody to tell.
    ///
    /// # Errors
    /// Those of [`Client::control`]; `Disconnected`; `BadRecord` for what cannot be understood, after the end of the walk.
    pub async fn traverse(
        &self,
        db: DbId,
        deleted_too: bool,
        mut visit: impl FnMut(&[u8], LtdbHeader, &[u8]) + 'static,
    ) -> Result<usize, ClientError> {
        let number = TRAVERSES.fetch_add(1, Ordering::Relaxed);
        // Own services for walks at the same time; the first is that of upstream's library.
        let base = Srvid::range_base(SrvidRange::Client).map_or(0, |base| base.0);
        let srvid = Srvid(base | u64::from(number & 0xff_ffff) << 32 | u64::from(self.handle().pid()));
        let (end, ended) = oneshot();
        let end = Rc::new(RefCell::new(Some(end)));
        let mut shown = 0;
        let mut bad = None;
        let registration = self
            .on_message(srvid, move |_, data| {
                match RecData::decode(&mut Reader::new(data)) {
                    Ok(record) if record.is_end() => {
                        if let Some(end) = end.borrow_mut().take() {
                            // Nobody waits any more if this fails.
                            let _ = end.send(bad.take().map_or(Ok(shown), Err));
                        }
                    }
                    Ok(record) => match record.header_and_value() {
                        Some((_, b"")) if !deleted_too => {}
                        Some((header, value)) => {
                            shown += 1;
                            visit(record.key, header, value);
                        }
                        None => bad = Some((record.key.to_vec(), "it is shorter than a header".to_owned())),
                    },
                    Err(error) => bad = Some((Vec::new(), error.to_string())),
                }
            })
            .await?;
        let start = Request::TraverseStartExt(TraverseStartExt {
            start: TraverseStart {
                db_id: db,
                reqid: number,
                srvid,
            },
            with_empty_records: deleted_too,
        });
        self.control(self.pnn(), &start, NO_TIMEOUT).await?;
        let result = match select2(ended, self.disconnected()).await {
            Either::Left(Ok(result)) => result,
            _ => return Err(self.lost()),
        };
        drop(registration);
        result.map_err(|(key, reason): (Vec<u8>, String)| ClientError::BadRecord {
            database: db.to_string(),
            key: key.escape_ascii().to_string(),
            reason,
        })
    }
}
