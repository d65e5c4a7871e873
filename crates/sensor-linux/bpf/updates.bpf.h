/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Iterators: what flows that live on have carried so far.
 *
 * They run in the sensor's own time and take no lock of anybody's socket: what is read while a
 * socket is at work may be a little behind, and is never ahead. A flow that carried nothing since
 * the last time costs a comparison.
 */
#pragma once

#include "tcp.bpf.h"
#include "udp.bpf.h"

/* So many in one go; then the kernel gets a chance to do something else. */
#define FLOWS_AT_ONCE 4096

/* What is written to the reader ends the reader's call; it goes on with the next one. */
static __always_inline void pause_now_and_then(struct bpf_iter_meta *meta)
{
	__u8 nothing = 0;

	if (meta->seq_num % FLOWS_AT_ONCE == FLOWS_AT_ONCE - 1)
		bpf_seq_write(meta->seq, &nothing, sizeof(nothing));
}

/*
 * Room for totals. They can wait, unlike all else in the ring, so half of it is not for them.
 *
 * It is taken before the totals are read, and given back unless the flow is the same and open
 * when they were: so they stand in the ring after the flow's opening and before its end.
 */
static __always_inline struct updated_event *reserve_update(void)
{
	struct updated_event *event = NULL;

	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) <
	    bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE) / 2)
		event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
	if (!event)
		COUNT(updates_put_off);
	return event;
}

static __always_inline void send_update(struct updated_event *event)
{
	COUNT(made[EVENT_UPDATED]);
	bpf_ringbuf_submit(event, wake_flags());
}

static __always_inline void begin_update(struct updated_event *event, __u8 protocol, __u64 cookie,
					 __u64 part, __u64 opened_ns, __u8 found_late)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_UPDATED;
	event->protocol = protocol;
	event->found_late = found_late;
	event->cookie = cookie;
	event->part = part;
	event->opened_ns = opened_ns;
}

static __always_inline bool is_still(const struct socket_state *state, __u64 opened_ns)
{
	const volatile struct socket_state *seen = state;

	barrier();
	return seen->phase == PHASE_OPEN && seen->opened_ns == opened_ns;
}

/* Whether somebody is changing the socket at this moment, or may be. */
static __always_inline bool is_at_work(struct sock *sk)
{
	if (!bpf_core_field_exists(sk->sk_lock.slock.rlock.raw_lock.val))
		return true;
	return BPF_CORE_READ(sk, sk_lock.owned) ||
	       BPF_CORE_READ(sk, sk_lock.slock.rlock.raw_lock.val.counter);
}

/*
 * The kernel counts a FIN as a byte before it marks the socket as done. Between the two somebody is
 * at work on it: then the last byte may be a FIN.
 */
static __always_inline void set_tcp_so_far(struct updated_event *event, struct sock *sk,
					   struct tcp_sock *tcp)
{
	volatile struct tcp_sock *now = tcp;
	__u64 received = now->bytes_received, sent, sent_again;
	bool may_be_fin;

	barrier();
	may_be_fin = is_at_work(sk);
	barrier();
	may_be_fin |= !!(((volatile struct sock *)sk)->__sk_common.skc_flags & SOCK_DONE_BIT);
	if (received && may_be_fin)
		received--;
	/* In this order, so that what is sent again meanwhile makes it less and not more. */
	sent = now->bytes_sent;
	barrier();
	sent_again = now->bytes_retrans;
	event->bytes_out = sent > sent_again ? sent - sent_again : 0;
	event->bytes_in = received;
	event->packets_out = tcp->data_segs_out;
	event->packets_in = tcp->data_segs_in;
}

static __always_inline void tell_tcp(struct sock *sk, struct socket_state *state)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	__u64 opened_ns = state->opened_ns, bytes;
	struct updated_event *event;

	if (!tcp)
		return;
	bytes = tcp->bytes_sent + tcp->bytes_received;
	if (bytes == state->told ||
	    bpf_ktime_get_boot_ns() - state->established_ns < cfg_settled_ns)
		return;
	event = reserve_update();
	if (!event)
		return;
	begin_update(event, IPPROTO_TCP, bpf_get_socket_cookie(sk), 0, opened_ns,
		     state->found_late);
	set_tcp_so_far(event, sk, tcp);
	if (!is_still(state, opened_ns)) {
		bpf_ringbuf_discard(event, 0);
		return;
	}
	state->told = bytes;
	send_update(event);
}

static __always_inline void tell_connected(struct sock *sk, struct socket_state *state)
{
	volatile struct socket_state *now = state;
	__u64 opened_ns = state->opened_ns, now_ns = bpf_ktime_get_boot_ns();
	__u64 told_ns = state->told_ns, packets_out, packets_in;
	struct updated_event *event;

	packets_out = now->packets_out;
	packets_in = now->packets_in;
	if (packets_out + packets_in == state->told) {
		if (now_ns > told_ns && now_ns - told_ns >= cfg_udp_idle_ns)
			close_udp_from(state, bpf_get_socket_cookie(sk), ENDED_FROM_SILENCE,
				       told_ns);
		return;
	}
	state->told_ns = now_ns;
	if (now_ns - opened_ns < cfg_settled_ns)
		return;
	event = reserve_update();
	if (!event)
		return;
	begin_update(event, IPPROTO_UDP, bpf_get_socket_cookie(sk), 0, opened_ns,
		     state->found_late);
	event->bytes_out = now->bytes_out;
	event->bytes_in = now->bytes_in;
	event->packets_out = now->packets_out;
	event->packets_in = now->packets_in;
	if (!is_still(state, opened_ns)) {
		bpf_ringbuf_discard(event, 0);
		return;
	}
	state->told = packets_out + packets_in;
	send_update(event);
}

/*
 * Tells the totals of sockets with a flow of their own, in all network namespaces, and ends the
 * UDP flows among them that fell silent. Where the reader picks up after a pause, some sockets may
 * be passed over that others make room for: they are told of the next time.
 */
SEC("iter/bpf_sk_storage_map")
int tell_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct socket_state *state = ctx->value;
	struct sock *sk = ctx->sk;

	if (!sk || !state)
		return 0;
	pause_now_and_then(ctx->meta);
	if (state->phase != PHASE_OPEN)
		return 0;
	if (sk->sk_protocol == IPPROTO_TCP)
		tell_tcp(sk, state);
	else if (sk->sk_protocol == IPPROTO_UDP)
		tell_connected(sk, state);
	return 0;
}

/*
 * Tells the totals of the peers of unconnected UDP sockets. The memory of one that is deleted
 * meanwhile may be given to another, which has another number.
 */
SEC("iter/bpf_map_elem")
int tell_peers(struct bpf_iter__bpf_map_elem *ctx)
{
	volatile struct flow_value *flow = ctx->value;
	const struct flow_key *key = ctx->key;
	struct updated_event *event;
	__u64 part, packets_out, packets_in;

	if (!key || !flow)
		return 0;
	pause_now_and_then(ctx->meta);
	part = flow->part;
	packets_out = flow->packets_out;
	packets_in = flow->packets_in;
	if (packets_out + packets_in == flow->told ||
	    bpf_ktime_get_boot_ns() - flow->opened_ns < cfg_settled_ns)
		return 0;
	event = reserve_update();
	if (!event)
		return 0;
	begin_update(event, IPPROTO_UDP, key->cookie, part, flow->opened_ns, flow->found_late);
	event->bytes_out = flow->bytes_out;
	event->bytes_in = flow->bytes_in;
	event->packets_out = packets_out;
	event->packets_in = packets_in;
	if (flow->part != part) {
		bpf_ringbuf_discard(event, 0);
		return 0;
	}
	flow->told = packets_out + packets_in;
	send_update(event);
	return 0;
}
