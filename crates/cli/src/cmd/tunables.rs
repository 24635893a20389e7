//! Tunables.

use ctdb_client::ClientError;
use ctdb_protocol::{Request, Text, Tunable};

use crate::args::Args;
use crate::console::out;
use crate::context::Context;
use crate::failure::{Failure, OrSay, Outcome};
use crate::numbers::strtoul;

pub(crate) async fn getvar(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let name = args.text(0);
    if !is_known(cx, &name).await? {
        return Ok(1);
    }
    show(cx, &name).await?;
    Ok(0)
}

pub(crate) async fn listvars(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    for name in cx.client.list_tunables(cx.node(), cx.limit()).await? {
        show(cx, &name).await?;
    }
    Ok(0)
}

pub(crate) async fn setvar(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(2..=2)?;
    let name = args.text(0);
    if !is_known(cx, &name).await? {
        return Ok(1);
    }
    let value = strtoul(&args.text(1), 0).map_err(Failure::quiet)?;
    let request = Request::SetTunable(Tunable {
        value,
        name: Text::from(&*name),
    });
    match cx.client.control(cx.node(), &request, cx.limit()).await {
        Ok(_) => Ok(0),
        Err(error @ ClientError::Status { status: 1, .. }) => {
            let said = Failure::from(error).and(format!("Setting obsolete tunable variable '{name}'"));
            Err(Failure { code: 0, ..said })
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a name, in any case, is on the node's list; says so if not.
async fn is_known(cx: &Context, name: &str) -> Result<bool, Failure> {
    let list = cx.client.list_tunables(cx.node(), cx.limit()).await;
    let list = list.or_say(|| format!("Failed to get list of variables from node {}", cx.node().0))?;
    let known = list.iter().any(|other| other.eq_ignore_ascii_case(name));
    if !known {
        out(&format!("No such tunable {name}\n"));
    }
    Ok(known)
}

async fn show(cx: &Context, name: &str) -> Result<(), Failure> {
    let value = cx.client.get_tunable(cx.node(), name, cx.limit()).await?;
    out(&format!("{name:<26} = {value}\n"));
    Ok(())
}
