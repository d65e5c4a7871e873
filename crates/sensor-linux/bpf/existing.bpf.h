/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Iterators: what was there before the sensor, and what is still there. */
#pragma once

#include "tcp.bpf.h"

/* The socket behind an open file, when it is one of ours. */
static __always_inline struct sock *socket_of(struct file *file)
{
	struct socket *socket;
	struct sock *sk;

	if (!file)
		return NULL;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return NULL;
	sk = socket->sk;
	if (!sk)
		return NULL;
	if (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6)
		return NULL;
	if (sk->sk_protocol != IPPROTO_TCP && sk->sk_protocol != IPPROTO_UDP)
		return NULL;
	return sk;
}

/*
 * Makes the process that holds the socket its owner. False when it is known from elsewhere: then
 * the socket came after the sensor.
 */
static __always_inline bool found_with(struct socket_state *state, struct task_struct *holder)
{
	struct task_struct *kept = holder;
	__u64 address = 0;

	if (state->first.source)
		return state->first.source == SOURCE_SNAPSHOT;
	bpf_probe_read_kernel(&address, sizeof(address), &kept);
	introduce(address, 0);
	state->first.start_ns = holder->group_leader->start_boottime;
	state->first.pid = holder->tgid;
	state->first.exec_id = (__u32)holder->self_exec_id;
	state->first.source = SOURCE_SNAPSHOT;
	return true;
}

static __always_inline bool carries_data(__u8 tcp_state)
{
	return tcp_state != TCP_SYN_SENT && tcp_state != TCP_SYN_RECV && tcp_state != TCP_CLOSE &&
	       tcp_state != TCP_LISTEN && tcp_state < 12;
}

/*
 * Reports a socket and moves it on from IDLE. When the reader's buffer is full it stays IDLE, and
 * the kernel comes back with it.
 */
static __always_inline void write_found(struct bpf_iter_meta *meta, struct sock *sk,
					struct socket_state *state, __u8 kind, __u32 phase)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct opened_event event = {};

	if (!tcp)
		return;
	set_state(&event, kind, IPPROTO_TCP, state, bpf_ktime_get_boot_ns());
	event.cookie = bpf_get_socket_cookie(sk);
	set_tcp_tuple(&event, tcp);
	if (bpf_seq_write(meta->seq, &event, sizeof(event)) == 0)
		__sync_val_compare_and_swap(&state->phase, PHASE_IDLE, phase);
}

/* First pass: who listens on what, which later tells inbound connections from outbound ones. */
SEC("iter/task_file")
int find_listeners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct sock *sk = socket_of(ctx->file);
	struct socket_state *state;

	if (!sk || !task || sk->__sk_common.skc_state != TCP_LISTEN)
		return 0;
	state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (state && found_with(state, task) && state->phase == PHASE_IDLE)
		write_found(ctx->meta, sk, state, EVENT_LISTENING, PHASE_LISTENING);
	return 0;
}

/*
 * Second pass: everything else. Connections are reported; a UDP socket only gets its owner,
 * because nobody can tell whether anything was ever sent on it.
 */
SEC("iter/task_file")
int find_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct sock *sk = socket_of(ctx->file);
	struct socket_state *state;
	__u8 tcp_state;

	if (!sk || !task)
		return 0;
	tcp_state = sk->__sk_common.skc_state;
	if (sk->sk_protocol == IPPROTO_TCP && (tcp_state == TCP_LISTEN || tcp_state == TCP_CLOSE))
		return 0;
	state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state || !found_with(state, task) || state->phase != PHASE_IDLE)
		return 0;
	state->found_late = 1;
	if (sk->sk_protocol == IPPROTO_UDP)
		return 0;
	if (tcp_state == TCP_SYN_SENT) {
		state->direction = DIRECTION_OUTBOUND;
		state->phase = PHASE_ATTEMPTED;
	} else if (carries_data(tcp_state)) {
		write_found(ctx->meta, sk, state, EVENT_OPENED, PHASE_OPEN);
	}
	return 0;
}

/* The list that is being filled. Only one sweep runs at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alive_event);
} alive_list SEC(".maps");

static __always_inline void send_alive(struct alive_event *list, bool final)
{
	list->kind = EVENT_ALIVE;
	list->final = final;
	list->at_ns = bpf_ktime_get_boot_ns();
	if (bpf_ringbuf_output(&ring, list, sizeof(*list), BPF_RB_NO_WAKEUP))
		list->incomplete = 1;
	else if (final)
		list->incomplete = 0;
	list->count = 0;
}

/*
 * Lists the sockets that have flows, through the ring: whatever ended before its socket was passed
 * over stands in the ring before the end of the list. Nothing is written to the reader, so that
 * the whole map is passed in one go; picking up in the middle would skip sockets.
 */
SEC("iter/bpf_sk_storage_map")
int list_alive(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct socket_state *state = ctx->value;
	struct sock *sk = ctx->sk;
	struct alive_event *list;
	__u32 zero = 0, at;

	list = bpf_map_lookup_elem(&alive_list, &zero);
	if (!list)
		return 0;
	if (!sk || !state) {
		send_alive(list, true);
		return 0;
	}
	if (state->phase != PHASE_OPEN && state->phase != PHASE_CLOSING && !state->has_parts)
		return 0;
	at = list->count;
	if (at >= ALIVE_COOKIES_MAX) {
		send_alive(list, false);
		at = 0;
	}
	list->cookies[at] = bpf_get_socket_cookie(sk);
	list->count = at + 1;
	return 0;
}
