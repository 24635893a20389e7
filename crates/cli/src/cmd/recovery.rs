//! Having the leader do something, and waiting until it is done.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ctdb_protocol::{Generation, Message, Pnn, RecMode, Srvid, SrvidRequest};
use ctdb_runtime::sync::{Notify, race};

use crate::args::Args;
use crate::context::Context;
use crate::failure::{Failure, OrSay, Outcome};
use crate::patience::Patience;

pub(crate) async fn ipreallocate(cx: &Context, args: &Args<'_>) -> Outcome {
    // Upstream shows this usage for `sync` as well.
    args.want_none()
        .map_err(|_| Failure::usage(crate::failure::Usage::Of("ipreallocate")))?;
    have_addresses_allocated(cx).await
}

/// Asks for a takeover run until the leader answers that it was one: there may be none for a while. The exit code is 0,
/// or its answer if that is negative.
pub(crate) async fn have_addresses_allocated(cx: &Context) -> Outcome {
    let srvid = cx.new_srvid();
    let (answer, came) = (Rc::new(Cell::new(0)), Notify::new());
    let (keep, tell) = (answer.clone(), came.clone());
    let _listening = cx
        .client
        .on_message(srvid, move |_, data| {
            if let Ok(bytes) = <[u8; 4]>::try_from(data) {
                keep.set(i32::from_le_bytes(bytes));
                tell.notify_one();
            }
        })
        .await?;
    let request = SrvidRequest {
        pnn: cx.client.pnn().0,
        srvid,
    };
    // `-t 0` does not mean to send as fast as possible.
    let again = cx.limit().max(Duration::from_millis(100));
    loop {
        cx.client.send_typed(
            Pnn::BROADCAST_CONNECTED,
            Srvid::TAKEOVER_RUN,
            &Message::Request(request),
        )?;
        if cx.handle().timeout(again, came.notified()).await.is_ok() {
            return Ok(answer.get().min(0));
        }
    }
}

/// Over when there is a generation that was not there before.
pub(crate) async fn recover(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let news = Notify::new();
    let tell = news.clone();
    let _listening = cx
        .client
        .on_message(Srvid::RECONFIGURE, move |_, _| tell.notify_one())
        .await?;

    let before = generation(cx, &news).await?;
    let begun = cx
        .client
        .set_recmode(cx.node(), RecMode::Active, cx.limit())
        .await;
    begun.or_say(|| "Failed to set recovery mode active".to_owned())?;
    let mut patience = Patience::new();
    loop {
        let now = generation(cx, &news).await;
        if now.or_say(|| "Failed to confirm end of recovery".to_owned())? != before {
            return Ok(0);
        }
        race(patience.pause(cx.handle()), news.notified()).await;
    }
}

/// The generation of the cluster once it is in none of its recoveries. The node that the command is about knows it; if
/// that one is not active, the leader does, whose name is heard only once a second.
pub(crate) async fn generation(cx: &Context, news: &Notify) -> Result<Generation, Failure> {
    let mut patience = Patience::new();
    loop {
        let node = match cx.fresh_nodemap().await?.get(cx.node()) {
            Some(node) if node.flags.is_active() => cx.node(),
            _ => cx.leader().await.or_say(|| "Failed to find leader".to_owned())?,
        };
        let mode = cx.client.get_recmode(node, cx.limit()).await;
        let mode = mode.or_say(|| format!("Failed to get recovery mode from node {}", node.0))?;
        if mode == RecMode::Normal {
            let vnnmap = cx.client.get_vnnmap(node, cx.limit()).await;
            let vnnmap = vnnmap.or_say(|| format!("Failed to get generation from node {}", node.0))?;
            if vnnmap.generation.is_valid() {
                return Ok(vnnmap.generation);
            }
        }
        race(patience.pause(cx.handle()), news.notified()).await;
    }
}
