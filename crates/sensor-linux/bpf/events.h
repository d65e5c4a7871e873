/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What the kernel program and user space say to each other.
 *
 * Mirrored in src/sys/abi.rs; both sides assert the same sizes and offsets when they are compiled.
 * All numbers are in the machine's own byte order. Addresses are always 16 bytes: an IPv4 address
 * is written in its IPv6 form, ::ffff:a.b.c.d. Times are CLOCK_BOOTTIME nanoseconds; zero is
 * "not known".
 */
#pragma once

#include <linux/types.h>

/* The first byte of every event. */
enum event_kind {
	EVENT_PROCESS = 1,
	EVENT_OPENED = 2,
	EVENT_CLOSED = 3,
	EVENT_ATTRIBUTED = 4,
	EVENT_RELEASED = 5,
	EVENT_ALIVE = 6,
	EVENT_LISTENING = 7,
	EVENT_UPDATED = 8,
	EVENT_KINDS = 9,
};

/* What told us the owner. A higher number is better knowledge and replaces a lower one. */
enum owner_source {
	SOURCE_NONE = 0,
	SOURCE_SNAPSHOT = 1,
	SOURCE_BIND = 2,
	SOURCE_LISTENER = 3,
	SOURCE_RELEASE = 4,
	SOURCE_FIRST_IO = 5,
	SOURCE_ACCEPT = 6,
	SOURCE_CONNECT = 7,
};

enum direction {
	DIRECTION_UNKNOWN = 0,
	DIRECTION_OUTBOUND = 1,
	DIRECTION_INBOUND = 2,
};

/* From where a TCP socket came to its end. */
enum ended_from {
	ENDED_FROM_CONNECTION = 0,
	/* The handshake was under way. */
	ENDED_FROM_HANDSHAKE = 1,
	/* connect() returned an error before a packet was sent. */
	ENDED_FROM_NOTHING = 2,
	/* Both sides could still send: one of them tore it down. */
	ENDED_FROM_TRANSFER = 3,
	/* Nothing passed for long: the socket of this UDP flow lives on. */
	ENDED_FROM_SILENCE = 4,
};

union address {
	__u8 bytes[16];
	__u32 words[4];
	__u64 halves[2];
};

struct owner {
	__u64 start_ns;
	__u32 pid;
	__u32 exec_id;
	__u32 source; /* enum owner_source */
	__u32 reserved;
};

/* EVENT_OPENED and EVENT_LISTENING; the beginning of EVENT_CLOSED. */
struct opened_event {
	__u8 kind;
	__u8 protocol;     /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 direction;    /* enum direction */
	__u8 owner_source; /* enum owner_source */
	__u8 found_late;   /* the socket was there before the sensor */
	__u8 ended_from;   /* enum ended_from; EVENT_CLOSED only */
	__u16 error;       /* errno; EVENT_CLOSED only */
	__u64 at_ns;
	__u64 cookie;
	__u64 part; /* zero, or the number of one peer of an unconnected socket */
	__u64 owner_start_ns;
	__u32 owner_pid;
	__u32 owner_exec_id;
	union address local;
	union address remote;
	__u16 local_port;
	__u16 remote_port;
	__u32 network_namespace;
	__u64 opened_ns;
	__u64 established_ns;
};

struct closed_event {
	struct opened_event opened;
	__u64 bytes_out;
	__u64 bytes_in;
	__u32 packets_out; /* stays at its highest value */
	__u32 packets_in;
	__u32 rtt_us;
	__u32 retransmits;
	__u32 closer_pid; /* zero when nobody had closed the socket yet */
	__u32 reserved;
};

/* What a flow that lives on has carried so far: never more than what it has. */
struct updated_event {
	__u8 kind;
	__u8 protocol;
	__u8 found_late;
	__u8 reserved[5];
	__u64 cookie;
	__u64 part;
	__u64 opened_ns;
	__u64 bytes_out;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 packets_in;
};

/* The owner of a socket is known better than before. */
struct attributed_event {
	__u8 kind;
	__u8 has_flow; /* the socket has a flow of its own, besides those with a part number */
	__u8 reserved[6];
	__u64 at_ns;
	__u64 cookie;
	struct owner owner;
};

/* A socket with unconnected peers is closed: user space now ends the flows of this cookie. */
struct released_event {
	__u8 kind;
	__u8 reserved[3];
	__u32 closer_pid;
	__u64 at_ns;
	__u64 cookie;
};

#define ALIVE_COOKIES_MAX 126

/* Sockets that have flows, in as many events as it takes; only the last one is `final`. */
struct alive_event {
	__u8 kind;
	__u8 final;
	__u8 incomplete; /* final only: an event of this pass found no room in the ring */
	__u8 reserved;
	__u32 count;
	__u64 at_ns;
	__u64 cookies[ALIVE_COOKIES_MAX];
};

#define PATH_BYTES_MAX 1024
#define NAME_BYTES_MAX 256
#define ARGUMENTS_BYTES_MAX 512

/* A process at its first use of the network. Only the used part of `text` is sent. */
struct process_event {
	__u8 kind;
	__u8 path_truncated; /* the components nearest to the root are missing */
	__u8 has_login_uid;
	__u8 reserved;
	__u16 path_bytes;      /* components of the path, the file's name first, each with a NUL */
	__u16 arguments_bytes; /* then the arguments, separated by NULs */
	__u64 start_ns;
	__u32 pid;
	__u32 exec_id;
	__u64 parent_start_ns;
	__u32 parent_pid; /* zero when there is none */
	__u32 parent_exec_id;
	__u32 uid;
	__u32 login_uid;
	__u64 cgroup;
	__u64 inode; /* zero when no executable is known */
	__u32 device;
	__u32 pid_namespace;  /* the deepest one */
	__u32 namespace_tgid; /* the process id there */
	__u32 reserved2;
	__u8 comm[16];
	__u8 text[PATH_BYTES_MAX + NAME_BYTES_MAX + ARGUMENTS_BYTES_MAX];
};

/* One peer of an unconnected UDP socket. */
struct flow_key {
	__u64 cookie;
	union address remote;
	__u16 remote_port;
	__u16 reserved[3];
};

struct flow_value {
	struct owner owner;
	__u64 part;
	__u64 opened_ns;
	__u64 last_ns;
	__u64 bytes_out;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 packets_in;
	__u64 told; /* packets of both ways when user space last heard of them */
	union address local;
	__u16 local_port;
	__u8 direction;
	__u8 found_late;
	__u32 network_namespace;
};

/* What went well and what did not, per CPU; user space adds them up. */
struct counters {
	__u64 made[EVENT_KINDS];    /* delivered and dropped together */
	__u64 dropped[EVENT_KINDS]; /* the ring had no room */
	__u64 tcp_storage_failed;   /* no memory for the state of a TCP socket */
	__u64 udp_storage_failed;   /* datagrams without a home for the same reason */
	__u64 flows_full;           /* datagrams of new peers when the map was full */
	__u64 flows_failed;         /* datagrams of new peers when there was no memory */
	__u64 scratch_busy;         /* processes not introduced for want of a buffer */
	__u64 owner_missing;        /* flows that opened without a known owner */
	__u64 updates_put_off;      /* the ring was half full: totals are told the next time */
};

_Static_assert(sizeof(struct owner) == 24, "mirrored in abi.rs");
_Static_assert(sizeof(struct opened_event) == 104, "mirrored in abi.rs");
_Static_assert(sizeof(struct closed_event) == 144, "mirrored in abi.rs");
_Static_assert(sizeof(struct updated_event) == 64, "mirrored in abi.rs");
_Static_assert(sizeof(struct attributed_event) == 48, "mirrored in abi.rs");
_Static_assert(sizeof(struct released_event) == 24, "mirrored in abi.rs");
_Static_assert(sizeof(struct alive_event) == 1024, "mirrored in abi.rs");
_Static_assert(__builtin_offsetof(struct process_event, text) == 96, "mirrored in abi.rs");
_Static_assert(sizeof(struct process_event) == 1888, "mirrored in abi.rs");
_Static_assert(sizeof(struct flow_key) == 32, "mirrored in abi.rs");
_Static_assert(sizeof(struct flow_value) == 112, "mirrored in abi.rs");
_Static_assert(sizeof(struct counters) == 200, "mirrored in abi.rs");
