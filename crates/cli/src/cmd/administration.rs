//! Commands that change the state of a node, and wait until the cluster has taken note.

use ctdb_protocol::{BanState, NodeFlags, Request};
use libc::EINVAL;

use crate::args::Args;
use crate::cmd::recovery::have_addresses_allocated;
use crate::context::{Context, mention};
use crate::failure::{Failure, OrSay, Outcome};
use crate::numbers::strtoul;
use crate::patience::Patience;

/// A change of a flag: what is asked for, and how that is called.
struct Change {
    flag: NodeFlags,
    on: bool,
    /// "Node 1 is already so", "Node 1 is not so".
    so: &'static str,
    /// "Failed to do it".
    to_do: &'static str,
}

const DISABLE: Change = Change {
    flag: NodeFlags::PERMANENTLY_DISABLED,
    on: true,
    so: "disabled",
    to_do: "disable node",
};
const ENABLE: Change = Change {
    on: false,
    to_do: "enable node",
    ..DISABLE
};
const STOP: Change = Change {
    flag: NodeFlags::STOPPED,
    on: true,
    so: "stopped",
    to_do: "stop node",
};
const CONTINUE: Change = Change {
    on: false,
    to_do: "continue stopped node",
    ..STOP
};
const BAN: Change = Change {
    flag: NodeFlags::BANNED,
    on: true,
    so: "banned",
    to_do: "ban node",
};
const UNBAN: Change = Change {
    on: false,
    to_do: "unban node",
    ..BAN
};

pub(crate) async fn disable(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    change(cx, &DISABLE, || Ok(Request::DisableNode)).await
}

pub(crate) async fn enable(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    change(cx, &ENABLE, || Ok(Request::EnableNode)).await
}

pub(crate) async fn stop(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    change(cx, &STOP, || Ok(Request::StopNode)).await
}

pub(crate) async fn r#continue(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    change(cx, &CONTINUE, || Ok(Request::ContinueNode)).await
}

pub(crate) async fn ban(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let request = || {
        let time_s = strtoul(&args.text(0), 0).map_err(Failure::quiet)?;
        if time_s == 0 {
            return Err(Failure::coded(EINVAL, "Ban time cannot be zero"));
        }
        Ok(Request::SetBanState(BanState {
            pnn: cx.node(),
            time_s,
        }))
    };
    change(cx, &BAN, request).await
}

pub(crate) async fn unban(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    change(cx, &UNBAN, || {
        Ok(Request::SetBanState(BanState {
            pnn: cx.node(),
            time_s: 0,
        }))
    })
    .await
}

/// Asks the node for the change, waits until the flag is seen, and has the addresses moved.
async fn change(
    cx: &Context,
    change: &Change,
    request: impl FnOnce() -> Result<Request<'static>, Failure>,
) -> Outcome {
    let node = cx.node();
    if flag_is_set(&*cx.nodemap().await?, cx, change) == change.on {
        let how = if change.on { "already" } else { "not" };
        let line = format!("Node {} is {how} {}", node.0, change.so);
        return Err(Failure::coded(0, line));
    }
    let asked = cx.client.control(node, &request()?, cx.limit()).await;
    asked.or_say(|| format!("Failed to {} {}", change.to_do, node.0))?;
    wait_for_flag(cx, change).await;
    have_addresses_allocated(cx).await
}

fn flag_is_set(nodemap: &ctdb_protocol::NodeMap, cx: &Context, change: &Change) -> bool {
    nodemap
        .get(cx.node())
        .is_some_and(|node| node.flags.intersects(change.flag))
}

/// There is no end to this but that of the run. What fails is said once.
async fn wait_for_flag(cx: &Context, change: &Change) {
    let mut patience = Patience::new();
    let mut said = false;
    loop {
        match cx.fresh_nodemap().await {
            Ok(nodemap) if flag_is_set(&nodemap, cx, change) == change.on => return,
            Ok(_) => {}
            Err(failure) if !said => {
                mention(&failure.and("Failed to get nodemap, trying again"));
                said = true;
            }
            Err(_) => {}
        }
        patience.pause(cx.handle()).await;
    }
}

/// Nobody answers this; the own daemon's end is seen.
pub(crate) async fn shutdown(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let sent = cx.client.control_noreply(cx.node(), &Request::Shutdown);
    sent.or_say(|| format!("Unable to shutdown node {}", cx.node().0))?;
    if cx.is_own_node() {
        cx.client.disconnected().await;
    } else {
        cx.client.flush().await?;
    }
    Ok(0)
}
