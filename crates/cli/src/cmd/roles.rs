//! What a node may become.

use crate::args::Args;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

pub(crate) async fn setlmasterrole(cx: &Context, args: &Args<'_>) -> Outcome {
    cx.client
        .set_lmaster_role(cx.node(), on_or_off(args)?, cx.limit())
        .await?;
    Ok(0)
}

pub(crate) async fn setleaderrole(cx: &Context, args: &Args<'_>) -> Outcome {
    cx.client
        .set_leader_role(cx.node(), on_or_off(args)?, cx.limit())
        .await?;
    Ok(0)
}

fn on_or_off(args: &Args<'_>) -> Result<bool, Failure> {
    args.want(1..=1)?;
    match &*args.text(0) {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(args.usage()),
    }
}
