//! Controls: one function for each, in rooms by what they are about. This file only finds the right one.

pub mod addresses;
pub mod client;
pub mod database;
pub mod info;
pub mod node;
pub mod recovery;
pub mod tunables;

use std::rc::Rc;

use ctdb_protocol::control::{ControlError, Request};
use ctdb_protocol::packet::ReqControl;
use ctdb_protocol::{Capabilities, ClientId, ControlFlags, Generation, Header, Opcode, Pnn, Srvid};

use crate::clients::Client;
use crate::databases::DbKind;
use crate::responder::Responder;
use crate::{Daemon, attach, commit, detach, traverse, vacuum};

/// A control as it reaches its function, whoever sent it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which control.
    pub opcode: Opcode,
    /// Used by (DE)REGISTER_SRVID and TUNNEL_(DE)REGISTER.
    pub srvid: Srvid,
    /// The client of *this* node that asked, if one did.
    pub client: Option<ClientId>,
    /// As on the wire: a client's number on the node it is connected to, 0 for a daemon.
    pub client_id: ClientId,
    /// NOREPLY and flags of single controls.
    pub flags: ControlFlags,
    /// The node that asked.
    pub srcnode: Pnn,
    /// That of its vnnmap when it asked, if another daemon did.
    pub generation: Option<Generation>,
    /// Payload, not decoded.
    pub data: &'a [u8],
}

impl<'a> Asked<'a> {
    /// From another daemon, for itself or for one of its clients.
    pub fn from_node(header: &Header, control: &ReqControl<'a>) -> Asked<'a> {
        Asked {
            generation: Some(header.generation),
            ..Asked::with_payload(header.srcnode, control)
        }
    }

    fn with_payload(srcnode: Pnn, control: &ReqControl<'a>) -> Asked<'a> {
        Asked {
            opcode: control.head.opcode,
            srvid: control.head.srvid,
            client: None,
            client_id: control.head.client_id,
            flags: control.head.flags,
            srcnode,
            generation: None,
            data: control.data,
        }
    }

    /// From a client of this node.
    pub fn from_client(me: Pnn, client: &Client, control: &ReqControl<'a>) -> Asked<'a> {
        Asked {
            client: Some(client.id),
            client_id: client.id,
            ..Asked::with_payload(me, control)
        }
    }

    /// From a task of this daemon.
    pub fn from_daemon(opcode: Opcode, me: Pnn, data: &'a [u8]) -> Asked<'a> {
        Asked {
            opcode,
            srvid: Srvid(0),
            client: None,
            client_id: ClientId::DAEMON,
            flags: ControlFlags::empty(),
            srcnode: me,
            generation: None,
            data,
        }
    }

    /// For the log.
    pub fn sender(&self) -> String {
        match self.client {
            Some(id) => format!("client {id} of this node"),
            None if self.client_id == ClientId::DAEMON => format!("node {}", self.srcnode),
            None => format!("client {} of node {}", self.client_id, self.srcnode),
        }
    }
}

/// Decodes and carries out a control. Whatever is wrong with it is answered with -1 and logged.
pub fn dispatch(d: &Rc<Daemon>, asked: &Asked<'_>, answer: Responder) {
    match Request::decode(asked.opcode, asked.data) {
        Ok(request) => serve(d, asked, request, answer),
        Err(error) => {
            refuse(asked, &error);
            answer.refuse();
        }
    }
}

fn refuse(asked: &Asked<'_>, error: &ControlError) {
    log::error!(
        "Control {} from {} refused: {error}",
        asked.opcode,
        asked.sender()
    );
}

/// One line for each control. Data that is only passed on stays as it came (`asked.data`).
fn serve(d: &Rc<Daemon>, asked: &Asked<'_>, request: Request<'_>, answer: Responder) {
    use Request as R;
    match request {
        // The node.
        R::ProcessExists(pid) => client::process_exists(d, pid, answer),
        R::Statistics => info::statistics(d, answer),
        R::StatisticsReset => info::statistics_reset(d, answer),
        R::GetStatHistory => info::stat_history(d, answer),
        R::Ping => client::ping(d, answer),
        R::GetPid => info::get_pid(d, answer),
        R::GetPnn => client::get_pnn(d, answer),
        R::Uptime => info::uptime(d, answer),
        R::GetRunstate => info::runstate(d, answer),
        R::GetCapabilities => node::get_capabilities(d, answer),
        R::GetDebug => info::get_debug(answer),
        R::SetDebug(level) => info::set_debug(level.0, answer),
        R::DumpMemory => info::dump_memory(d, answer),
        R::Shutdown => node::shutdown_node(d, asked, answer),
        R::Startup => addresses::startup(d, asked, answer),
        R::EchoData(_) => client::echo(asked.data, answer),

        // Nodes of the cluster.
        R::GetNodemap => node::get_nodemap(d, answer),
        R::GetNodesFile => node::get_nodes_file(d, answer),
        R::ReloadNodesFile => node::reload_nodes(d, answer),
        R::ModifyFlags(change) => node::modify_flags(d, &change, answer),
        R::StopNode => node::stop(d, answer),
        R::ContinueNode => node::continue_node(d, answer),
        R::DisableNode => node::disable(d, answer),
        R::EnableNode => node::enable(d, answer),
        R::SetLmasterRole(on) => node::set_role(d, Capabilities::LMASTER, on != 0, answer),
        R::SetRecmasterRole(on) => node::set_role(d, Capabilities::RECMASTER, on != 0, answer),
        R::SetBanState(ban) => node::set_ban_state(d, &ban, answer),
        R::GetBanState => node::get_ban_state(d, answer),

        // Recovery.
        R::GetVnnmap => recovery::get_vnnmap(d, answer),
        R::SetVnnmap(map) => recovery::set_vnnmap(d, map, answer),
        R::GetRecmode => recovery::get_recmode(d, answer),
        R::SetRecmode(mode) => recovery::set_recmode(d, asked, mode, answer),
        R::Freeze => recovery::freeze(d, answer),
        R::StartRecovery => recovery::start_recovery(d, asked, answer),
        R::EndRecovery => recovery::end_recovery(d, answer),
        R::RecdPing => recovery::recd_ping(d, answer),
        R::RecdReclockLatency(seconds) => recovery::recd_reclock_latency(d, seconds, answer),
        R::GetReclockFile => recovery::get_reclock_file(d, answer),
        R::DbFreeze(db) => recovery::db_freeze(d, db, answer),
        R::DbThaw(db) => recovery::db_thaw(d, db, answer),
        R::DbTransactionStart(t) => recovery::transaction_start(d, &t, answer),
        R::DbTransactionCommit(t) => recovery::transaction_commit(d, &t, answer),
        R::DbTransactionCancel(db) => recovery::transaction_cancel(d, db, answer),
        R::WipeDatabase(t) => recovery::wipe_database(d, &t, answer),
        R::DbPull(pull) => recovery::db_pull(d, asked, &pull, answer),
        R::DbPushStart(push) => recovery::db_push_start(d, &push, answer),
        R::DbPushConfirm(db) => recovery::db_push_confirm(d, db, answer),

        // Databases.
        R::GetDbmap => database::get_dbmap(d, answer),
        R::GetDbPath(db) => database::get_path(d, db, answer),
        R::GetDbName(db) => database::get_name(d, db, answer),
        R::DbAttach(_) => attach::attach(d, asked, DbKind::Volatile, answer),
        R::DbAttachPersistent(_) => attach::attach(d, asked, DbKind::Persistent, answer),
        R::DbAttachReplicated(_) => attach::attach(d, asked, DbKind::Replicated, answer),
        R::DbDetach(db) => detach::detach(d, asked, db, answer),
        R::DbOpenFlags(db) => database::open_flags(d, db, answer),
        R::SetDbReadonly(db) => database::set_readonly(d, db, answer),
        R::SetDbSticky(db) => database::set_sticky(d, db, answer),
        R::DbSetHealthy(db) => database::set_healthy(d, db, answer),
        R::DbGetHealth(db) => database::get_health(d, db, answer),
        R::GetDbSeqnum(of) => database::get_seqnum(d, of.db_id, answer),
        R::EnableSeqnum(db) => database::enable_seqnum(d, db, answer),
        R::UpdateSeqnum(db) => database::update_seqnum(d, asked, db, answer),
        R::GetDbStatistics(db) => database::statistics(d, db, answer),
        R::DbVacuum(wish) => vacuum::now(d, &wish, answer),

        // Records.
        R::UpdateRecord(records) => commit::update_record(d, &records, asked, answer),
        R::Trans3Commit(records) => commit::trans3_commit(d, asked, &records, answer),
        R::StartPersistentUpdate(_) => client::persistent_update(d, asked, true, answer),
        R::CancelPersistentUpdate(_) => client::persistent_update(d, asked, false, answer),
        R::TryDeleteRecords(records) => database::try_delete_records(d, &records, answer),
        R::VacuumFetch(records) => vacuum::fetch(d, &records, answer),
        R::ScheduleForDeletion(key) => database::schedule_for_deletion(d, &key, answer),
        R::PushRecord(record) => database::push_record(d, &record, answer),

        // Traverse.
        R::TraverseStart(start) => traverse::start(d, asked, &start, false, answer),
        R::TraverseStartExt(ext) => traverse::start(d, asked, &ext.start, ext.with_empty_records, answer),
        R::TraverseAll(all) => traverse::walk(d, asked, &all, false, answer),
        R::TraverseAllExt(ext) => traverse::walk(d, asked, &ext.all, ext.with_empty_records, answer),
        R::TraverseData(record) => traverse::data(d, asked, &record, answer),
        R::TraverseKill(which) => traverse::kill(d, asked, &which, answer),

        // Clients.
        R::RegisterSrvid => client::register_srvid(d, asked, answer),
        R::DeregisterSrvid => client::deregister_srvid(d, asked, answer),
        R::TunnelRegister => client::tunnel_register(d, asked, answer),
        R::TunnelDeregister => client::tunnel_deregister(d, asked, answer),
        R::RegisterNotify(n) => client::register_notify(d, asked, n.srvid, n.data, answer),
        R::DeregisterNotify(srvid) => client::deregister_notify(d, asked, srvid, answer),
        R::CheckPidSrvid(c) => client::check_pid_srvid(d, c.pid, c.srvid, answer),

        // Tunables.
        R::SetTunable(t) => tunables::set(d, &t.name.to_str_lossy(), t.value, answer),
        R::GetTunable(t) => tunables::get(d, &t.0.to_str_lossy(), answer),
        R::ListTunables => tunables::list(answer),
        R::GetAllTunables => tunables::all(d, answer),

        // Addresses.
        R::GetPublicIps => addresses::get_public_ips(answer),
        R::GetIfaces => addresses::get_ifaces(answer),
        R::TakeoverIp(ip) => addresses::takeover_ip(d, &ip, answer),
        R::ReleaseIp(_) => addresses::release_ip(answer),
        R::Ipreallocated => addresses::ipreallocated(d, answer),
        R::StartIpreallocate => addresses::start_ipreallocate(d, answer),
        R::ReloadPublicIps => addresses::reload(answer),
        R::GetPublicIpInfo(addr) => addresses::not_ours(asked, addr, -1, answer),
        R::GetTcpTickleList(addr) => addresses::not_ours(asked, addr, 1, answer),
        R::SetTcpTickleList(list) => addresses::not_ours(asked, list.addr, 1, answer),
        R::AddPublicIp(info) | R::DelPublicIp(info) => addresses::not_ours(asked, info.addr, -1, answer),
        R::SendGratuitousArp(info) => addresses::not_ours(asked, info.addr, -1, answer),
        R::SetIfaceLinkState(iface) => addresses::unknown_iface(&iface, answer),
        R::TcpClient(_) | R::TcpClientDisconnected(_) | R::TcpClientPassed(_) => {
            addresses::private_connection(answer)
        }
        R::TcpAdd(c) | R::TcpAddDelayedUpdate(c) | R::TcpRemove(c) => {
            addresses::not_ours(asked, c.dst, -1, answer)
        }
    }
}
