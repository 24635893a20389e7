//! Calls: a record is wanted on this node, or its content.

use ctdb_protocol::packet::{CallId, ReqCall};
use ctdb_protocol::{CallFlags, DbId, Packet, Pnn};

use crate::requests::Answer;
use crate::{Client, ClientError};

impl Client {
    /// Has a function run on a record. Status and data are the function's answer. There is no deadline here: the daemon holds
    /// calls back during a recovery and does not answer one that fails in it, so that callers who must go on use
    /// [`ctdb_runtime::Handle::timeout`].
    ///
    /// # Errors
    /// `InvalidUse` for an empty key; `Disconnected`, `QueueFull`, `TooManyRequests`.
    pub async fn call(
        &self,
        db: DbId,
        key: &[u8],
        callid: u32,
        flags: CallFlags,
        data: &[u8],
    ) -> Result<(i32, Vec<u8>), ClientError> {
        if key.is_empty() {
            return Err(ClientError::InvalidUse("a call for a record without a key"));
        }
        let call = Packet::ReqCall(ReqCall {
            flags,
            db_id: db,
            callid: CallId(callid),
            hopcount: 0,
            key,
            calldata: data,
        });
        let mut pending = self.new_request()?;
        self.send(Pnn::CURRENT, pending.reqid, |header, out| {
            call.encode(header, out)
        })?;
        match pending.answer().await {
            Some(Answer::Call { status, data } | Answer::Control { status, data, .. }) => Ok((status, data)),
            None => Err(self.lost()),
        }
    }
}
