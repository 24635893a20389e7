//! Decoded packets in the words of the notes of the recorded ones.

use std::fmt::Write;

use ctdb_protocol::{
    AddrInfo, Connection, DbStatistics, Header, Iface, LatencyCounter, LtdbHeader, Message, NodeFlagChange,
    NodeMap, Packet, Pnn, PublicIp, RecBuffer, RecData, Reply, ReplyControl, ReqControl, ReqMessage, Request,
    Srvid, Statistics, Status, Text, TickleList, TraverseAll, TraverseStart, VnnMap,
};

use super::Line;

pub fn packet(header: &Header, packet: &Packet<'_>, line: &Line) -> String {
    let destnode = match header.destnode {
        Pnn::CURRENT => "CURRENT".to_owned(),
        Pnn::BROADCAST_ALL => "ALL".to_owned(),
        Pnn::BROADCAST_ACTIVE => "ACTIVE".to_owned(),
        Pnn::BROADCAST_CONNECTED => "CONNECTED".to_owned(),
        Pnn(pnn) => pnn.to_string(),
    };
    let mut note = format!(
        "generation={} destnode={destnode} srcnode={} reqid={}; ",
        header.generation.0, header.srcnode.0, header.reqid.0
    );
    note += &body(packet, line);
    note
}

fn body(packet: &Packet<'_>, line: &Line) -> String {
    match packet {
        Packet::ReqCall(call) => format!(
            "flags=0x{:x} db_id={} callid=0x{:08x} hopcount={} key={} calldata={}",
            call.flags.bits(),
            call.db_id,
            call.callid.0,
            call.hopcount,
            bytes(call.key),
            bytes(call.calldata)
        ),
        Packet::ReplyCall(reply) => format!("status={} data={}", reply.status, bytes(reply.data)),
        Packet::ReqDmaster(dmaster) => format!(
            "db_id={} rsn={} dmaster={} key={} data={} record_flags=0x{:x}",
            dmaster.db_id,
            dmaster.rsn,
            dmaster.dmaster,
            bytes(dmaster.key),
            bytes(dmaster.data),
            dmaster.flags.bits()
        ),
        Packet::ReplyDmaster(dmaster) => format!(
            "db_id={} rsn={} key={} data={} record_flags=0x{:x}",
            dmaster.db_id,
            dmaster.rsn,
            bytes(dmaster.key),
            bytes(dmaster.data),
            dmaster.flags.bits()
        ),
        Packet::ReplyError(error) => format!("status={} message={}", error.status, bytes(error.message)),
        Packet::ReqMessage(message) => req_message(message),
        Packet::ReqControl(control) => req_control(control, line),
        Packet::ReplyControl(reply) => reply_control(reply, line),
        Packet::Keepalive(Some(k)) => format!("version=0x{:08x} uptime={}", k.version.0, k.uptime_s),
        Packet::Keepalive(None) => "bare".to_owned(),
        Packet::Tunnel(tunnel) => format!(
            "tunnel_id=0x{:x} flags=0x{:x} data={}",
            tunnel.tunnel_id.0,
            tunnel.flags.bits(),
            bytes(tunnel.data)
        ),
    }
}

fn req_control(control: &ReqControl<'_>, line: &Line) -> String {
    let head = control.head;
    let (srvid, client_id, flags) = (head.srvid.0, head.client_id, head.flags.bits());
    let mut note = format!("srvid=0x{srvid:x} client_id={client_id} flags=0x{flags:x}");
    if line.is_malformed() {
        let remark = line.note.find(" [payload").unwrap();
        let _ = write!(note, " data {}{}", bytes(control.data), &line.note[remark..]);
    } else if head.opcode.status() == Status::Implemented {
        note += &prefixed(request(&control.request().unwrap()));
    }
    note
}

fn reply_control(reply: &ReplyControl<'_>, line: &Line) -> String {
    let mut note = format!("status={}", reply.status);
    if reply.status == 0 {
        note += &prefixed(self::reply(&reply.reply(line.opcode()).unwrap()));
    }
    if let Some(error) = reply.error_text() {
        // One blank for the data that is not there.
        let _ = write!(note, "  error={}", bytes(error.0));
    }
    note
}

fn prefixed(note: String) -> String {
    if note.is_empty() { note } else { format!(" {note}") }
}

fn request(request: &Request<'_>) -> String {
    use Request::*;
    match request {
        ProcessExists(pid) => format!("pid={pid}"),
        SetDebug(level) => format!("level={}", level.0),
        EchoData(echo) => format!("timeout={} data={}", echo.timeout, bytes(echo.data)),
        ModifyFlags(change) => flag_change(change),
        SetLmasterRole(role) | SetRecmasterRole(role) => format!("role={role}"),
        SetBanState(ban) => format!("pnn={} time={}", ban.pnn.0, ban.time_s),
        SetVnnmap(map) => vnn_map(map),
        SetRecmode(mode) => format!("mode={}", mode.number()),
        RecdReclockLatency(latency) => format!("latency={}", float(*latency)),
        DbFreeze(id)
        | DbThaw(id)
        | DbTransactionCancel(id)
        | DbPushConfirm(id)
        | GetDbPath(id)
        | GetDbName(id)
        | DbDetach(id)
        | DbOpenFlags(id)
        | SetDbReadonly(id)
        | SetDbSticky(id)
        | DbSetHealthy(id)
        | DbGetHealth(id)
        | EnableSeqnum(id)
        | UpdateSeqnum(id)
        | GetDbStatistics(id) => {
            format!("db_id={id}")
        }
        DbTransactionStart(t) | DbTransactionCommit(t) | WipeDatabase(t) => {
            format!("db_id={} tid=0x{:08x}", t.db_id, t.tid)
        }
        DbPull(pull) | DbPushStart(pull) => {
            format!(
                "db_id={} lmaster=0x{:08x} srvid={}",
                pull.db_id,
                pull.lmaster,
                srvid(pull.srvid)
            )
        }
        DbAttach(name) | DbAttachPersistent(name) | DbAttachReplicated(name) => {
            format!("name={}", text(name))
        }
        GetDbSeqnum(of) => format!("db_id={} zero=0", of.db_id),
        DbVacuum(vacuum) => format!("db_id={} full={}", vacuum.db_id, u8::from(vacuum.full)),
        UpdateRecord(records) | Trans3Commit(records) | TryDeleteRecords(records) => {
            rec_buffer(records, true)
        }
        VacuumFetch(records) => rec_buffer(records, false),
        StartPersistentUpdate(ignored) | CancelPersistentUpdate(ignored) => {
            format!("ignored={}", bytes(ignored.0))
        }
        ScheduleForDeletion(d) => {
            format!(
                "db_id={} header={} key={}",
                d.db_id,
                ltdb_header(&d.header),
                bytes(d.key)
            )
        }
        PushRecord(p) => format!(
            "generation={} db_id={} header={} key={} value={}",
            p.generation.0,
            p.db_id,
            ltdb_header(&p.header),
            bytes(p.key),
            bytes(p.value)
        ),
        TraverseStart(start) | TraverseKill(start) => traverse_start(start),
        TraverseStartExt(ext) => {
            format!(
                "{} withemptyrecords={}",
                traverse_start(&ext.start),
                u8::from(ext.with_empty_records)
            )
        }
        TraverseAll(all) => traverse_all(all),
        TraverseAllExt(ext) => {
            format!(
                "{} withemptyrecords={}",
                traverse_all(&ext.all),
                u8::from(ext.with_empty_records)
            )
        }
        TraverseData(record) => rec_data(record, !record.is_end()),
        RegisterNotify(notify) => format!("srvid={} data={}", srvid(notify.srvid), bytes(notify.data)),
        DeregisterNotify(id) => format!("srvid={}", srvid(*id)),
        CheckPidSrvid(check) => format!("pid={} srvid={}", check.pid, srvid(check.srvid)),
        SetTunable(tunable) => format!("value={} name={}", tunable.value, text(&tunable.name)),
        GetTunable(name) => format!("name={}", text(&name.0)),
        GetPublicIpInfo(addr) | GetTcpTickleList(addr) => format!("addr={addr}"),
        TakeoverIp(ip) | ReleaseIp(ip) => public_ip(ip),
        AddPublicIp(info) | DelPublicIp(info) | SendGratuitousArp(info) => addr_info(info),
        SetIfaceLinkState(i) => iface(i),
        TcpClient(c)
        | TcpClientDisconnected(c)
        | TcpClientPassed(c)
        | TcpAdd(c)
        | TcpAddDelayedUpdate(c)
        | TcpRemove(c) => connection(c),
        SetTcpTickleList(list) => tickle_list(list),
        Statistics | StatisticsReset | GetStatHistory | Ping | GetPid | GetPnn | Uptime | GetRunstate
        | GetCapabilities | GetDebug | DumpMemory | Shutdown | Startup | GetNodemap | GetNodesFile
        | ReloadNodesFile | StopNode | ContinueNode | DisableNode | EnableNode | GetBanState | GetVnnmap
        | GetRecmode | Freeze | StartRecovery | EndRecovery | RecdPing | GetReclockFile | GetDbmap
        | RegisterSrvid | DeregisterSrvid | TunnelRegister | TunnelDeregister | ListTunables
        | GetAllTunables | GetPublicIps | Ipreallocated | StartIpreallocate | ReloadPublicIps | GetIfaces => {
            String::new()
        }
    }
}

fn reply(reply: &Reply<'_>) -> String {
    use Reply::*;
    match reply {
        Empty => String::new(),
        Statistics(statistics) => self::statistics(statistics),
        GetStatHistory(list) => format!("num={}", list.history.len()),
        Uptime(uptime) => format!(
            "now={} started={} last_recovery_started={} last_recovery_finished={}",
            uptime.current_time,
            uptime.ctdbd_start_time,
            uptime.last_recovery_started,
            uptime.last_recovery_finished
        ),
        GetRunstate(runstate) => format!("runstate={}", runstate.number()),
        GetCapabilities(capabilities) => format!("capabilities=0x{:08x}", capabilities.bits()),
        GetDebug(level) => format!("level={}", level.0),
        DumpMemory(text) => format!("text={}", bytes(text.0)),
        EchoData(echo) => format!("timeout={} data={}", echo.timeout, bytes(echo.data)),
        GetNodemap(map) | GetNodesFile(map) => node_map(map),
        GetBanState(ban) => format!("pnn={} time={}", ban.pnn.0, ban.time_s),
        GetVnnmap(map) => vnn_map(map),
        GetReclockFile(lock) => optional("lock", lock),
        DbPull(count) | DbPushConfirm(count) => format!("num_records={count}"),
        GetDbmap(map) => map
            .databases
            .iter()
            .fold(format!("num={}", map.databases.len()), |note, db| {
                format!("{note} db_id={} flags={}", db.db_id, db.flags.bits())
            }),
        GetDbPath(path) => format!("path={}", text(path)),
        GetDbName(name) => format!("name={}", text(name)),
        DbAttach(id) | DbAttachPersistent(id) | DbAttachReplicated(id) => format!("db_id={id}"),
        DbOpenFlags(flags) => format!("tdb_flags={flags}"),
        DbGetHealth(reason) => optional("reason", reason),
        GetDbSeqnum(seqnum) => format!("seqnum={seqnum}"),
        GetDbStatistics(statistics) => db_statistics(statistics),
        TryDeleteRecords(records) => rec_buffer(records, true),
        GetTunable(value) => format!("value={value}"),
        ListTunables(list) => {
            // The recorder counts the NUL, and shows the text without.
            format!(
                "length={} list={}",
                list.text.0.len() + 1,
                counted(list.text.0, list.text.0.len() + 1)
            )
        }
        GetAllTunables(list) => list
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" "),
        GetPublicIps(list) => list
            .ips
            .iter()
            .fold(format!("num={}", list.ips.len()), |note, ip| {
                format!("{note} {}", public_ip(ip))
            }),
        GetPublicIpInfo(info) => {
            let active = info.active_idx.unwrap_or(u32::MAX);
            let note = format!(
                "{} active_idx=0x{active:08x} num={}",
                public_ip(&info.ip),
                info.ifaces.len()
            );
            info.ifaces
                .iter()
                .fold(note, |note, i| format!("{note} {}", iface(i)))
        }
        GetIfaces(list) => list
            .ifaces
            .iter()
            .fold(format!("num={}", list.ifaces.len()), |note, i| {
                format!("{note} {}", iface(i))
            }),
        GetTcpTickleList(list) => tickle_list(list),
    }
}

fn req_message(message: &ReqMessage<'_>) -> String {
    let start = format!("srvid={} data:", srvid(message.srvid));
    start
        + &prefixed(match Message::decode(message.srvid, message.data).unwrap() {
            Message::Empty => String::new(),
            Message::Records(records) => rec_buffer(&records, true),
            Message::Pnn(pnn) => format!("pnn={}", pnn.0),
            Message::Election(e) => format!(
                "num_connected={} priority_time={} pnn={} node_flags=0x{:08x}",
                e.num_connected,
                e.priority_time,
                e.pnn.0,
                e.node_flags.bits()
            ),
            Message::Address(addr) => format!("addr={}", text(&addr)),
            Message::NodeFlags(change) => flag_change(&change),
            Message::PublicIp(ip) => public_ip(&ip),
            Message::Database(id) => format!("db_id={id}"),
            Message::Request(request) => format!("pnn={} srvid={}", request.pnn, srvid(request.srvid)),
            Message::Disable(d) => format!("pnn={} srvid={} timeout={}", d.pnn, srvid(d.srvid), d.timeout_s),
            Message::Timeout(seconds) => format!("timeout={seconds}"),
            Message::Raw(data) => format!("reply {}", bytes(data)),
        })
}

fn srvid(srvid: Srvid) -> String {
    format!("0x{:016x}", srvid.0)
}

fn text(text: &Text<'_>) -> String {
    format!("\"{text}\"")
}

fn optional(name: &str, value: &Option<Text<'_>>) -> String {
    value
        .as_ref()
        .map_or("empty".to_owned(), |value| format!("{name}={}", text(value)))
}

/// As the recorder shows bytes: text where it is some, else hexadecimal; shortened when long.
fn bytes(data: &[u8]) -> String {
    counted(data, data.len())
}

fn counted(data: &[u8], len: usize) -> String {
    const LONG: usize = 128;
    let printable = |b: &u8| matches!(b, b' '..=b'~' | b'\n');
    let end = data.strip_suffix(b"\0").unwrap_or(data);
    let is_text = end.iter().all(printable);
    let show = |data: &[u8]| {
        if is_text {
            format!(
                "\"{}\"",
                String::from_utf8_lossy(data)
                    .replace('\n', "\\n")
                    .replace('\0', "\\0")
            )
        } else {
            format!(
                "hex:{}",
                data.iter().map(|b| format!("{b:02x}")).collect::<String>()
            )
        }
    };
    if len > LONG {
        format!("<{len} bytes {}...>", show(&data[..24]))
    } else {
        show(data)
    }
}

/// As Python shows a number rounded to microseconds.
fn float(value: f64) -> String {
    let micros = (value * 1e6).round();
    if micros != 0.0 && micros < 100.0 {
        let text = format!("{:e}", micros / 1e6);
        return text.replace("e-5", "e-05").replace("e-6", "e-06");
    }
    format!("{value:.6}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

fn ltdb_header(header: &LtdbHeader) -> String {
    let LtdbHeader { rsn, dmaster, flags } = header;
    format!(
        "{{rsn={rsn} dmaster={dmaster} reserved=0 flags=0x{:x}}}",
        flags.bits()
    )
}

fn rec_data(record: &RecData<'_>, has_header: bool) -> String {
    let RecData { reqid, key, data } = record;
    if !has_header {
        return format!("record={{reqid={reqid} key={} data={}}}", bytes(key), bytes(data));
    }
    let (LtdbHeader { rsn, dmaster, flags }, value) = record.header_and_value().unwrap();
    format!(
        "record={{reqid={reqid} key={} rsn={rsn} dmaster={dmaster} flags=0x{:x} data={}}}",
        bytes(key),
        flags.bits(),
        bytes(value)
    )
}

/// The recorder shows the first three records.
fn rec_buffer(records: &RecBuffer<'_>, has_header: bool) -> String {
    let mut note = format!("db_id={} count={}", records.db_id(), records.count());
    for record in records.iter().take(3) {
        let _ = write!(note, " {}", rec_data(&record, has_header));
    }
    note + if records.count() > 3 { " ..." } else { "" }
}

fn vnn_map(map: &VnnMap) -> String {
    let nodes: Vec<u32> = map.map.iter().map(|pnn| pnn.0).collect();
    format!(
        "generation={} size={} map={nodes:?}",
        map.generation.0,
        map.map.len()
    )
}

fn node_map(map: &NodeMap) -> String {
    map.nodes
        .iter()
        .fold(format!("num={}", map.nodes.len()), |note, node| {
            format!(
                "{note} pnn={} flags=0x{:08x} addr={}",
                node.pnn,
                node.flags.bits(),
                node.addr
            )
        })
}

fn flag_change(change: &NodeFlagChange) -> String {
    let NodeFlagChange {
        pnn,
        new_flags,
        old_flags,
    } = change;
    format!(
        "pnn={pnn} new_flags=0x{:08x} old_flags=0x{:08x}",
        new_flags.bits(),
        old_flags.bits()
    )
}

fn traverse_start(start: &TraverseStart) -> String {
    format!(
        "db_id={} reqid={} srvid={}",
        start.db_id,
        start.reqid,
        srvid(start.srvid)
    )
}

fn traverse_all(all: &TraverseAll) -> String {
    let TraverseAll {
        db_id,
        reqid,
        pnn,
        client_reqid,
        srvid,
    } = all;
    format!(
        "db_id={db_id} reqid={reqid} pnn={pnn} client_reqid={client_reqid} srvid={}",
        self::srvid(*srvid)
    )
}

fn addr_info(info: &AddrInfo<'_>) -> String {
    let iface = info.iface.map_or("NULL".to_owned(), |iface| text(&iface));
    format!("addr={} mask={} iface={iface}", info.addr, info.mask)
}

fn public_ip(ip: &PublicIp) -> String {
    format!("pnn={} addr={}", ip.pnn.0, ip.addr)
}

fn iface(iface: &Iface) -> String {
    let Iface {
        name,
        link_state,
        references,
    } = iface;
    format!("iface=\"{name}\" link_state={link_state} references={references}")
}

fn connection(connection: &Connection) -> String {
    let Connection { src, dst } = connection;
    format!("src={src} dst={dst}")
}

fn tickle_list(list: &TickleList) -> String {
    let start = format!("addr={} num={}", list.addr, list.connections.len());
    list.connections
        .iter()
        .fold(start, |note, c| format!("{note} {}", connection(c)))
}

fn latency(name: &str, counter: &LatencyCounter) -> String {
    let LatencyCounter { num, min, max, total } = *counter;
    format!(
        "{name}={{num={num} min={} max={} total={}}}",
        float(min),
        float(max),
        float(total)
    )
}

fn statistics(s: &Statistics) -> String {
    let mut note = String::new();
    let mut number = |name: &str, value: u32| write!(note, "{name}={value} ").unwrap();
    number("num_clients", s.num_clients);
    number("frozen", s.frozen);
    number("recovering", s.recovering);
    number("client_packets_sent", s.client_packets_sent);
    number("client_packets_recv", s.client_packets_recv);
    number("node_packets_sent", s.node_packets_sent);
    number("node_packets_recv", s.node_packets_recv);
    number("keepalive_packets_sent", s.keepalive_packets_sent);
    number("keepalive_packets_recv", s.keepalive_packets_recv);
    number("node.req_call", s.node.req_call);
    number("node.reply_call", s.node.reply_call);
    number("node.req_dmaster", s.node.req_dmaster);
    number("node.reply_dmaster", s.node.reply_dmaster);
    number("node.reply_error", s.node.reply_error);
    number("node.req_message", s.node.req_message);
    number("node.req_control", s.node.req_control);
    number("node.reply_control", s.node.reply_control);
    number("node.req_tunnel", s.node.req_tunnel);
    number("client.req_call", s.client.req_call);
    number("client.req_message", s.client.req_message);
    number("client.req_control", s.client.req_control);
    number("client.req_tunnel", s.client.req_tunnel);
    number("timeouts.call", s.timeouts.call);
    number("timeouts.control", s.timeouts.control);
    number("timeouts.traverse", s.timeouts.traverse);
    note += &format!("{} ", latency("reclock.ctdbd", &s.reclock_ctdbd));
    note += &format!("{} ", latency("reclock.recd", &s.reclock_recd));
    note += &locks(&s.locks);
    let mut number = |name: &str, value: u32| write!(note, "{name}={value} ").unwrap();
    number("total_calls", s.total_calls);
    number("pending_calls", s.pending_calls);
    number("childwrite_calls", s.childwrite_calls);
    number("pending_childwrite_calls", s.pending_childwrite_calls);
    number("memory_used", s.memory_used);
    number("__last_counter", s.last_counter);
    number("max_hop_count", s.max_hop_count);
    note + &format!(
        "hop_count_bucket={:?} {} {} num_recoveries={} start={} current={} total_ro_delegations={} \
         total_ro_revokes={}",
        s.hop_count_bucket,
        latency("call_latency", &s.call_latency),
        latency("childwrite_latency", &s.childwrite_latency),
        s.num_recoveries,
        s.start_time,
        s.current_time,
        s.total_ro_delegations,
        s.total_ro_revokes
    )
}

fn locks(locks: &ctdb_protocol::LockStatistics) -> String {
    format!(
        "locks.num_calls={} locks.num_current={} locks.num_pending={} locks.num_failed={} {} locks.buckets={:?} ",
        locks.num_calls,
        locks.num_current,
        locks.num_pending,
        locks.num_failed,
        latency("locks.latency", &locks.latency),
        locks.buckets
    )
}

fn db_statistics(s: &DbStatistics) -> String {
    let note = locks(&s.locks)
        + &format!(
            "{} db_ro_delegations={} db_ro_revokes={} hop_count_bucket={:?} num_hot_keys={}",
            latency("vacuum.latency", &s.vacuum_latency),
            s.db_ro_delegations,
            s.db_ro_revokes,
            s.hop_count_bucket,
            s.num_hot_keys
        );
    let used = s
        .hot_keys
        .iter()
        .filter(|hot| hot.count != 0 || !hot.key.is_empty());
    used.fold(note, |note, hot| {
        format!("{note} hot_key={{count={} key={}}}", hot.count, bytes(&hot.key))
    })
}
