/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* The life of a TCP socket: the kernel counts its bytes, we remember who and when. */
#pragma once

#include "tell.bpf.h"

#define SOCK_DONE_BIT (1UL << 1)

/* The socket's own addresses; its source port outlives the binding to it, skc_num does not. */
static __always_inline void set_tcp_tuple(struct opened_event *event, struct tcp_sock *tcp)
{
	struct inet_sock *inet = &tcp->inet_conn.icsk_inet;
	struct sock_common *common = &inet->sk.__sk_common;

	event->local_port = bpf_ntohs(inet->inet_sport);
	event->remote_port = bpf_ntohs(common->skc_dport);
	event->network_namespace = common->skc_net.net->ns.inum;
	if (common->skc_family == AF_INET) {
		set_ipv4(&event->local, common->skc_rcv_saddr);
		set_ipv4(&event->remote, common->skc_daddr);
		return;
	}
	for (int i = 0; i < 4; i++) {
		event->local.words[i] = common->skc_v6_rcv_saddr.in6_u.u6_addr32[i];
		event->remote.words[i] = common->skc_v6_daddr.in6_u.u6_addr32[i];
	}
}

/*
 * Application bytes: what was sent again is sent once, and the FIN, which the kernel counts as a
 * byte received, is none.
 */
static __always_inline void set_tcp_traffic(struct closed_event *event, struct tcp_sock *tcp)
{
	struct sock_common *common = &tcp->inet_conn.icsk_inet.sk.__sk_common;
	__u64 received = tcp->bytes_received;

	if (received && (common->skc_flags & SOCK_DONE_BIT))
		received--;
	event->bytes_out = tcp->bytes_sent - tcp->bytes_retrans;
	event->bytes_in = received;
	event->packets_out = tcp->data_segs_out;
	event->packets_in = tcp->data_segs_in;
	event->rtt_us = tcp->srtt_us >> 3;
	event->retransmits = tcp->total_retrans;
}

/*
 * Which side began. A child that leaves the handshake still looks like its listener; the kernel
 * makes no socket for it before that, so its beginning is the end of the handshake.
 */
static __always_inline void take_role(struct socket_state *state, int old)
{
	state->established_ns = 0;
	if (state->phase == PHASE_ATTEMPTED)
		return;
	/* Of one that neither listened nor was seen in connect() the beginning is not known. */
	if (state->phase == PHASE_LISTENING || old == TCP_SYN_RECV)
		state->direction = DIRECTION_INBOUND;
	else
		state->direction = DIRECTION_OUTBOUND;
	state->opened_ns = 0;
	state->found_late = 0;
	state->closer_pid = 0;
	forget_owner(state);
}

static __always_inline void tcp_established(struct sock *sk, int old)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct socket_state *state;
	struct opened_event *event;
	__u64 now_ns;

	if (!tcp)
		return;
	state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		COUNT(tcp_storage_failed);
		return;
	}
	take_role(state, old);
	state->told = 0;
	/* Before its time is taken, so that a sweep that begins later finds the flow alive. */
	state->phase = PHASE_OPEN;
	barrier();
	now_ns = bpf_ktime_get_boot_ns();
	if (state->direction == DIRECTION_INBOUND)
		state->opened_ns = now_ns;
	state->established_ns = now_ns;
	if (!state->first.source)
		COUNT(owner_missing);
	event = RESERVE(EVENT_OPENED, struct opened_event);
	if (!event)
		return;
	set_state(event, EVENT_OPENED, IPPROTO_TCP, state, now_ns);
	event->cookie = bpf_get_socket_cookie(sk);
	set_tcp_tuple(event, tcp);
	bpf_ringbuf_submit(event, wake_flags());
}

static __always_inline void tcp_listening(struct sock *sk)
{
	struct socket_state *state;

	state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		COUNT(tcp_storage_failed);
		return;
	}
	own(&state->first, SOURCE_LISTENER);
	forget_owner(state);
	state->phase = PHASE_LISTENING;
}

/* An error that came and went is none, unless the handshake came to nothing because of it. */
static __always_inline __u16 tcp_error(struct sock *sk, bool in_handshake)
{
	if (sk->sk_err || !in_handshake)
		return (__u16)sk->sk_err;
	return (__u16)sk->sk_err_soft;
}

/* Whoever closes in order passes through further states first. */
static __always_inline __u8 tcp_ended_from(int old)
{
	if (old == TCP_SYN_SENT || old == TCP_SYN_RECV)
		return ENDED_FROM_HANDSHAKE;
	if (old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT)
		return ENDED_FROM_TRANSFER;
	return ENDED_FROM_CONNECTION;
}

static __always_inline void tcp_closed(struct sock *sk, int old)
{
	bool in_handshake = old == TCP_SYN_SENT || old == TCP_SYN_RECV;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct socket_state *state = bpf_sk_storage_get(&sockets, sk, 0, 0);
	struct closed_event *event;
	__u64 now_ns;

	if (!tcp)
		return;
	now_ns = bpf_ktime_get_boot_ns();
	/* With TCP Fast Open a child can be closed before the handshake is done. */
	if (state && (in_handshake || state->phase == PHASE_LISTENING))
		take_role(state, old);
	/* Before the event has its place in the ring, so that no update of the flow comes after it. */
	if (state)
		state->phase = PHASE_CLOSING;
	event = RESERVE(EVENT_CLOSED, struct closed_event);
	if (event) {
		if (state) {
			set_state(&event->opened, EVENT_CLOSED, IPPROTO_TCP, state, now_ns);
			event->closer_pid = state->closer_pid;
		} else {
			/* Nobody held it when the sensor came: only its end tells of it. */
			__builtin_memset(event, 0, sizeof(*event));
			event->opened.kind = EVENT_CLOSED;
			event->opened.protocol = IPPROTO_TCP;
			event->opened.found_late = 1;
			event->opened.at_ns = now_ns;
		}
		event->opened.cookie = bpf_get_socket_cookie(sk);
		event->opened.error = tcp_error(sk, in_handshake);
		event->opened.ended_from = tcp_ended_from(old);
		event->reserved = 0;
		set_tcp_tuple(&event->opened, tcp);
		set_tcp_traffic(event, tcp);
		bpf_ringbuf_submit(event, wake_flags());
	}
	/* After the event, so that a sweep that does not find the flow alive finds its end. */
	if (state)
		state->phase = PHASE_CLOSED;
}

/* connect() failed before the socket left TCP_CLOSE: no route, no port, not allowed. */
static __always_inline void tell_attempt(struct bpf_sock *sk, struct socket_state *state,
					 __u64 cookie)
{
	struct closed_event *event = RESERVE(EVENT_CLOSED, struct closed_event);

	state->phase = PHASE_CLOSED;
	if (!event)
		return;
	state->network_namespace = namespace_of(sk);
	__builtin_memset(event, 0, sizeof(*event));
	set_state(&event->opened, EVENT_CLOSED, IPPROTO_TCP, state, bpf_ktime_get_boot_ns());
	set_peers(&event->opened, state);
	event->opened.ended_from = ENDED_FROM_NOTHING;
	event->opened.cookie = cookie;
	event->closer_pid = state->closer_pid;
	bpf_ringbuf_submit(event, wake_flags());
}

/* Nobody is known to have this connection but the one who listened, if even that is known. */
static __always_inline bool is_of_listener(const struct socket_state *state)
{
	return state->direction == DIRECTION_INBOUND && !state->better_claimed &&
	       state->first.source <= SOURCE_LISTENER;
}

static __always_inline void accepted(struct sock *sk, __u32 source)
{
	struct socket_state *state;

	if (!sk || sk->sk_protocol != IPPROTO_TCP)
		return;
	state = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!state || state->phase != PHASE_OPEN || !is_of_listener(state))
		return;
	if (!correct_owner(state, source))
		return;
	if (state->better.pid != state->first.pid)
		tell_attributed(state, bpf_get_socket_cookie(sk));
}

static __always_inline void connecting_tcp(struct bpf_sock_addr *ctx, struct socket_state *state,
					   const union address *remote)
{
	if (state->phase == PHASE_ATTEMPTED)
		tell_attempt(ctx->sk, state, bpf_get_socket_cookie(ctx));
	own(&state->first, SOURCE_CONNECT);
	forget_owner(state);
	state->opened_ns = bpf_ktime_get_boot_ns();
	state->established_ns = 0;
	state->remote = *remote;
	state->remote_port = bpf_ntohs((__u16)ctx->user_port);
	state->direction = DIRECTION_OUTBOUND;
	state->found_late = 0;
	state->closer_pid = 0;
	state->phase = PHASE_ATTEMPTED;
}

static __always_inline void release_tcp(struct bpf_sock *sk, struct socket_state *state,
					__u32 tcp_state)
{
	/* A process at its end has given up its memory; it may close what others accepted. */
	if (is_of_listener(state) && state->phase == PHASE_OPEN &&
	    state->first.pid != state->closer_pid && bpf_get_current_task_btf()->mm)
		correct_owner(state, SOURCE_RELEASE);
	if (state->phase == PHASE_ATTEMPTED && tcp_state == TCP_CLOSE)
		tell_attempt(sk, state, bpf_get_socket_cookie(sk));
}
