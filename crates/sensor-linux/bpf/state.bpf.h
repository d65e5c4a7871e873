/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Settings, maps, counters and the way into the ring. */
#pragma once

#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "events.h"

/* Set by the loader, fixed afterwards. */
const volatile __u32 cfg_wake_bytes = 256 * 1024;
const volatile __u32 cfg_capture_arguments = 0;
const volatile __u64 cfg_udp_idle_ns = 60000000000;
/* Totals are told of flows that are older. */
const volatile __u64 cfg_settled_ns = 1000000000;

/* Where a socket stands; OPEN and CLOSING ones have a flow that user space knows of. */
enum phase {
	PHASE_IDLE = 0,
	PHASE_LISTENING = 1,
	PHASE_ATTEMPTED = 2,
	PHASE_OPENING = 3,
	PHASE_OPEN = 4,
	PHASE_CLOSING = 5,
	PHASE_CLOSED = 6,
};

/*
 * Lives in the socket itself and dies with it, so that nothing can leak and no key can be reused.
 * The kernel copies a listener's into every child (BPF_F_CLONE): a connection knows who listened
 * for it before anybody accepts it.
 */
struct socket_state {
	struct owner first;
	/* Written once, by whoever wins `better_claimed`; counts from when its source is set. */
	struct owner better;
	__u32 better_claimed;
	__u32 phase;
	__u64 opened_ns;
	__u64 established_ns;
	/* The peer of a TCP attempt, or of the flow of a connected UDP socket. */
	union address remote;
	union address local;
	__u16 remote_port;
	__u16 local_port;
	__u32 network_namespace;
	/* UDP only: the kernel counts TCP. */
	__u64 bytes_out;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 packets_in;
	/* What had passed when user space last heard of it: bytes of TCP, packets of UDP. */
	__u64 told;
	/* UDP only: when this was last seen to rise. */
	__u64 told_ns;
	__u32 closer_pid;
	__u8 direction;
	__u8 found_late;
	__u8 has_parts;
	__u8 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct socket_state);
} sockets SEC(".maps");

/* The peers of unconnected UDP sockets. User space deletes what is over. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* Numbers the peers of unconnected sockets, so that a pair that comes back is told apart. */
__u64 last_part = 0;

/*
 * Programs can be preempted by others on their CPU, hence atomic although the counters are its own.
 */
#define COUNT(field)                                                                   \
	do {                                                                           \
		__u32 zero_ = 0;                                                       \
		struct counters *counters_ = bpf_map_lookup_elem(&counters, &zero_);   \
		if (counters_)                                                         \
			__sync_fetch_and_add(&counters_->field, 1);                    \
	} while (0)

/* User space looks every few milliseconds anyway; waking it for each event would cost the most. */
static __always_inline __u64 wake_flags(void)
{
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= cfg_wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* Room for one event, counted whether there is any or not. */
#define RESERVE(kind_, type)                                                           \
	({                                                                             \
		type *event_ = bpf_ringbuf_reserve(&ring, sizeof(type), 0);            \
		__u32 zero_ = 0;                                                       \
		struct counters *counters_ = bpf_map_lookup_elem(&counters, &zero_);   \
		if (counters_) {                                                       \
			__sync_fetch_and_add(&counters_->made[kind_], 1);              \
			if (!event_)                                                   \
				__sync_fetch_and_add(&counters_->dropped[kind_], 1);   \
		}                                                                      \
		event_;                                                                \
	})

static __always_inline void set_ipv4(union address *to, __u32 address)
{
	to->halves[0] = 0;
	to->words[2] = bpf_htonl(0xffff);
	to->words[3] = address;
}

static __always_inline bool same_address(const union address *a, const union address *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

/*
 * The network namespace of a socket that the verifier knows only as `struct bpf_sock`, which has
 * no such field. Its address is the kernel's `struct sock` all the same: read back from the stack
 * it is a plain number that can be followed with checked reads.
 */
static __always_inline __u32 namespace_of(const void *socket)
{
	const void *kept = socket;
	struct sock *address = NULL;

	bpf_probe_read_kernel(&address, sizeof(address), &kept);
	return BPF_CORE_READ(address, __sk_common.skc_net.net, ns.inum);
}
