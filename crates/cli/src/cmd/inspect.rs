//! Questions to one node with a short answer.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use ctdb_protocol::{Capabilities, DebugLevel, Message, PidSrvid, Request, Runstate, Srvid, SrvidRequest};
use ctdb_runtime::sync::Notify;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
use std::os::fd::AsRawFd;

use crate::args::Args;
use crate::commands::Alone;
use crate::console::out;
use crate::context::Context;
use crate::failure::{Failure, Outcome, Usage};
use crate::numbers::{atoi, strtoull};
use crate::show::{self, nodes, times};

pub(crate) fn version(_: &Alone, _: &Args<'_>) -> Outcome {
    out(concat!(env!("CARGO_PKG_VERSION"), "\n"));
    Ok(0)
}

pub(crate) async fn uptime(cx: &Context, _: &Args<'_>) -> Outcome {
    let uptime = cx.client.uptime(cx.node(), cx.limit()).await?;
    out(&times::uptime(cx.node(), &uptime));
    Ok(0)
}

pub(crate) async fn ping(cx: &Context, _: &Args<'_>) -> Outcome {
    let asked = cx.handle().now();
    let clients = cx.client.ping(cx.node(), cx.limit()).await?;
    let took = (cx.handle().now() - asked).as_secs_f64();
    let clients = clients.cast_signed();
    out(&format!(
        "response from {} time={took:.6} sec  ({clients} clients)\n",
        cx.node().0
    ));
    Ok(0)
}

pub(crate) async fn runstate(cx: &Context, args: &Args<'_>) -> Outcome {
    let state = cx.client.get_runstate(cx.node(), cx.limit()).await?;
    let mut wanted = args.len() == 0;
    for place in 0..args.len() {
        let name = args.text(place);
        match Runstate::from_name(&name) {
            None | Some(Runstate::Unknown) => {
                out(&format!("Invalid run state ({name})\n"));
                return Ok(1);
            }
            Some(named) if named == state => {
                wanted = true;
                break;
            }
            Some(_) => {}
        }
    }
    if wanted {
        out(&format!("{state}\n"));
        Ok(0)
    } else {
        out(&format!("CTDB not in required run state (got {state})\n"));
        Ok(1)
    }
}

pub(crate) async fn pnn(cx: &Context, _: &Args<'_>) -> Outcome {
    out(&format!("{}\n", cx.client.pnn().0));
    Ok(0)
}

pub(crate) async fn leader(cx: &Context, _: &Args<'_>) -> Outcome {
    out(&nodes::pnn(cx.leader().await?));
    Ok(0)
}

pub(crate) async fn getpid(cx: &Context, _: &Args<'_>) -> Outcome {
    out(&format!("{}\n", cx.client.get_pid(cx.node(), cx.limit()).await?));
    Ok(0)
}

pub(crate) async fn getcapabilities(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let set = cx.client.get_capabilities(cx.node(), cx.limit()).await?;
    let (leader, lmaster) = (
        set.contains(Capabilities::RECMASTER),
        set.contains(Capabilities::LMASTER),
    );
    if cx.options.machine {
        let separator = &cx.options.separator;
        out(&show::row(separator, &["LEADER", "LMASTER"]));
        out(&show::row(separator, &[show::bit(leader), show::bit(lmaster)]));
    } else {
        let yes_no = |set| if set { "YES" } else { "NO" };
        out(&format!(
            "LEADER: {}\nLMASTER: {}\n",
            yes_no(leader),
            yes_no(lmaster)
        ));
    }
    Ok(0)
}

pub(crate) async fn getreclock(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    if let Some(setting) = cx.client.get_reclock_file(cx.node(), cx.limit()).await? {
        out(&format!("{setting}\n"));
    }
    Ok(0)
}

pub(crate) async fn getdebug(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want_none()?;
    let level = cx.client.get_debug(cx.node(), cx.limit()).await?;
    out(&format!("{level}\n"));
    Ok(0)
}

pub(crate) async fn setdebug(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=1)?;
    let name = args.text(0);
    let level = DebugLevel::parse(&name).ok_or_else(|| {
        Failure::said(format!("Invalid debug level '{name}'. Valid levels are:"))
            .and("\tERROR | WARNING | NOTICE | INFO | DEBUG")
    })?;
    cx.client.set_debug(cx.node(), level, cx.limit()).await?;
    Ok(0)
}

/// The exit code is the answer's status.
pub(crate) async fn process_exists(cx: &Context, args: &Args<'_>) -> Outcome {
    args.want(1..=2)?;
    let pid = atoi(&args.text(0));
    let number = args
        .get(1)
        .map_or(Ok(0), |text| strtoull(&text, 0))
        .map_err(Failure::quiet)?;
    let (request, who) = match number {
        0 => (Request::ProcessExists(pid), format!("PID {pid}")),
        number => {
            let srvid = Srvid(number);
            (
                Request::CheckPidSrvid(PidSrvid { pid, srvid }),
                format!("PID {pid} with SRVID 0x{number:x}"),
            )
        }
    };
    let answer = cx.client.control_raw(cx.node(), &request, cx.limit()).await?;
    let does = if answer.status == 0 {
        "exists"
    } else {
        "does not exist"
    };
    out(&format!("{who} {does}\n"));
    Ok(answer.status)
}

pub(crate) async fn dumpmemory(cx: &Context, _: &Args<'_>) -> Outcome {
    out(&cx.client.dump_memory(cx.node(), cx.limit()).await?);
    Ok(0)
}

/// The recovery daemon answers by a message; there is no end to the waiting but that of the run.
pub(crate) async fn rddumpmemory(cx: &Context, _: &Args<'_>) -> Outcome {
    let srvid = cx.new_srvid();
    let (report, came) = (Rc::new(RefCell::new(String::new())), Notify::new());
    let (keep, tell) = (report.clone(), came.clone());
    let _listening = cx
        .client
        .on_message(srvid, move |_, data| {
            let text = data.split(|&byte| byte == 0).next().unwrap_or_default();
            keep.replace(String::from_utf8_lossy(text).into_owned());
            tell.notify_one();
        })
        .await?;
    let request = SrvidRequest {
        pnn: cx.client.pnn().0,
        srvid,
    };
    cx.client
        .send_typed(cx.node(), Srvid::MEM_DUMP, &Message::Request(request))?;
    came.notified().await;
    out(&report.borrow());
    Ok(0)
}

/// Exit code 0 when nobody has the port, the error number of the attempt to take it otherwise.
pub(crate) fn checktcpport(_: &Alone, args: &Args<'_>) -> Outcome {
    // Upstream looks up its usage by a name that the command does not have, and shows all of it.
    args.want(1..=1).map_err(|_| Failure::usage(Usage::Full))?;
    let port = atoi(&args.text(0)).cast_unsigned();
    let failed = |errno: nix::errno::Errno, what: String| Failure::coded(errno as i32, what);
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|errno| failed(errno, "Failed to open local socket".to_owned()))?;
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port as u16));
    bind(socket.as_raw_fd(), &address)
        .map_err(|errno| failed(errno, format!("Failed to bind to TCP port {port}")))?;
    Ok(0)
}
