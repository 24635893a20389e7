//! Counters.

use ctdb_protocol::Statistics;

use crate::args::Args;
use crate::cmd::databases::find;
use crate::console::out;
use crate::context::Context;
use crate::failure::{OrSay, Outcome};
use crate::numbers::atoi;
use crate::show::statistics as show;

pub(crate) async fn statistics(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let statistics = cx.client.statistics(cx.node(), cx.limit()).await?;
    print(cx, &statistics, true);
    Ok(0)
}

pub(crate) async fn reset(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    cx.client.statistics_reset(cx.node(), cx.limit()).await?;
    Ok(0)
}

/// Intervals that were counted, the newest first, up to the one of this number (0: all).
pub(crate) async fn history(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(0..=1)?;
    let last = args.get(0).map_or(0, |text| atoi(&text));
    let list = cx.client.get_stat_history(cx.node(), cx.limit()).await?;
    let mut with_head = true;
    for (place, statistics) in (0..).zip(&list.history) {
        if statistics.start_time.sec == 0 {
            continue;
        }
        print(cx, statistics, with_head);
        with_head = false;
        if last > 0 && place == last {
            break;
        }
    }
    Ok(0)
}

fn print(cx: &Context, statistics: &Statistics, with_head: bool) {
    if !cx.options.machine {
        return out(&show::human(statistics));
    }
    let separator = &cx.options.separator;
    if with_head {
        out(&show::machine_head(separator));
    }
    out(&show::machine_line(statistics, separator));
}

pub(crate) async fn dbstatistics(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let db = find(cx, &args.text(0)).await?;
    let statistics = cx.client.db_statistics(cx.node(), db.id, cx.limit()).await;
    let statistics = statistics.or_say(|| format!("Failed to get statistics for DB {}", db.name))?;
    out(&show::database(&db.name, &statistics));
    Ok(0)
}
