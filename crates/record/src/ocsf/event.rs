//! The shapes of the schema that we fill; what is unknown is left out.

use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

#[derive(Default, Serialize)]
pub(super) struct Event<'a> {
    pub(super) activity_id: u32,
    pub(super) activity_name: &'static str,
    pub(super) category_uid: u32,
    pub(super) category_name: &'static str,
    pub(super) class_uid: u32,
    pub(super) class_name: &'static str,
    pub(super) type_uid: u32,
    pub(super) type_name: String,
    pub(super) severity_id: u32,
    pub(super) severity: &'static str,
    pub(super) status_id: u32,
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status_detail: Option<&'static str>,
    pub(super) time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<i64>,
    pub(super) metadata: Metadata<'a>,
    pub(super) device: Device<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<Actor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<Product<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_provider: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connection_info: Option<ConnectionInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) src_endpoint: Option<NetworkEndpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dst_endpoint: Option<NetworkEndpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_src_dst_assignment_known: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observation_point_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observation_point: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traffic: Option<NetworkTraffic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cumulative_traffic: Option<NetworkTraffic>,
    pub(super) unmapped: Unmapped<'a>,
}

#[derive(Default, Serialize)]
pub(super) struct Metadata<'a> {
    pub(super) version: &'static str,
    pub(super) profiles: [&'static str; 1],
    pub(super) uid: String,
    /// The schema's integers have 32 bits; a longer sequence is in `uid` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sequence: Option<i32>,
    pub(super) log_name: &'static str,
    pub(super) product: Product<'a>,
}

#[derive(Default, Serialize)]
pub(super) struct Product<'a> {
    pub(super) name: &'static str,
    pub(super) vendor_name: &'static str,
    pub(super) version: &'a str,
}

#[derive(Default, Serialize)]
pub(super) struct Device<'a> {
    pub(super) uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<&'a String>,
    pub(super) type_id: u32,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) os: OperatingSystem<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) boot_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid_alt: Option<&'a str>,
}

#[derive(Default, Serialize)]
pub(super) struct OperatingSystem<'a> {
    pub(super) name: &'a str,
    pub(super) type_id: u32,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernel_release: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Actor<'a> {
    pub(super) process: Process<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserObject<'a>>,
    /// The app on whose behalf the process acts, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app_uid: Option<&'a str>,
}

#[derive(Clone, Serialize)]
pub(super) struct UserObject<'a> {
    pub(super) uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    pub(super) pid: u32,
    pub(super) uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cmd_line: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_process: Option<ParentProcess<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ancestry: Vec<ParentProcess<'a>>,
}

#[derive(Serialize)]
pub(super) struct Session {
    pub(super) uid: String,
}

#[derive(Serialize)]
pub(super) struct ParentProcess<'a> {
    pub(super) pid: u32,
    pub(super) uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_time: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a str,
    pub(super) type_id: u32,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_system: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) signatures: Vec<DigitalSignature<'a>>,
}

#[derive(Serialize)]
pub(super) struct DigitalSignature<'a> {
    pub(super) algorithm_id: u32,
    pub(super) algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) developer_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<Fingerprint>,
    pub(super) state_id: u32,
    pub(super) state: &'static str,
}

#[derive(Serialize)]
pub(super) struct Fingerprint {
    pub(super) algorithm_id: u32,
    pub(super) algorithm: &'static str,
    pub(super) value: String,
}

#[derive(Serialize)]
pub(super) struct ConnectionInfo {
    pub(super) uid: String,
    pub(super) direction_id: u32,
    pub(super) direction: &'static str,
    pub(super) protocol_num: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) protocol_name: Option<&'static str>,
    pub(super) protocol_ver_id: u32,
    pub(super) protocol_ver: &'static str,
}

#[derive(Serialize)]
pub(super) struct NetworkEndpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<&'a str>,
}

#[derive(Clone, Default, PartialEq, Serialize)]
pub(super) struct NetworkTraffic {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packets_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packets_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timespan: Option<Timespan>,
}

#[derive(Clone, PartialEq, Serialize)]
pub(super) struct Timespan {
    pub(super) duration: u64,
    pub(super) type_id: u32,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

/// What the schema has no place for.
#[derive(Serialize)]
pub(super) enum Unmapped<'a> {
    #[serde(rename = "conntrail")]
    Connection(Box<ConnectionNotes<'a>>),
    #[serde(rename = "conntrail")]
    Notice(Box<NoticeNotes<'a>>),
    #[serde(rename = "conntrail")]
    Notes(Value),
}

impl Default for Unmapped<'_> {
    fn default() -> Self {
        Unmapped::Notice(Box::default())
    }
}

impl<'a> Unmapped<'a> {
    pub(super) fn set_side_trail(&mut self, name: &'a str) {
        match self {
            Unmapped::Connection(notes) => notes.side_trail = Some(name),
            Unmapped::Notice(notes) => notes.side_trail = Some(name),
            Unmapped::Notes(_) => {}
        }
    }
}

#[derive(Serialize)]
pub(super) struct ConnectionNotes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) side_trail: Option<&'a str>,
    pub(super) phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'static str>,
    pub(super) identity_source: &'static str,
    pub(super) confidence: &'static str,
    pub(super) byte_quality: &'static str,
    pub(super) origin: &'static str,
    pub(super) time_ns: i64,
    pub(super) mono_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opened_mono_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) established_mono_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rtt_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retransmits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) closer_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network_namespace: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cgroup: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) login_uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable_device: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executable_inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name_source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effective_uid: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) vanished: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<SignatureNotes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) responsible: Option<ResponsibleNotes<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) policy: Vec<TreatedNotes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aggregate: Option<AggregateNotes>,
}

#[derive(Serialize)]
pub(super) struct AggregateNotes {
    pub(super) connections: u64,
    pub(super) cause: &'static str,
    pub(super) scope: &'static str,
    pub(super) limit: u64,
    pub(super) interval_ns: u64,
}

#[derive(Serialize)]
pub(super) struct TreatedNotes {
    pub(super) field: &'static str,
    pub(super) action: &'static str,
    pub(super) rule: u8,
}

#[derive(Serialize)]
pub(super) struct SignatureNotes<'a> {
    pub(super) validity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signing_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) team_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cdhash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct ResponsibleNotes<'a> {
    pub(super) pid: u32,
    pub(super) uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_uid: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) vanished: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<SignatureNotes<'a>>,
}

#[derive(Default, Serialize)]
pub(super) struct NoticeNotes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) side_trail: Option<&'a str>,
    pub(super) notice: &'static str,
    pub(super) time_ns: i64,
    pub(super) mono_ns: u64,
    #[serde(flatten)]
    pub(super) details: Value,
}
