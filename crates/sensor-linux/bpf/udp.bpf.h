/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * UDP has no connections, so flows are made of datagrams: one for each peer. That of a connected
 * socket lives in the socket; those of an unconnected one are in a table.
 */
#pragma once

#include "tell.bpf.h"

/* What the headers of one packet say, seen from this machine. */
struct packet {
	union address remote;
	union address local;
	__u16 remote_port;
	__u16 local_port;
	__u32 payload_bytes;
	__u32 segments;
	__u32 outbound;
	__u32 is_ipv6;
};

static __always_inline void tell_udp_opened(struct socket_state *state, __u64 cookie)
{
	struct opened_event *event = RESERVE(EVENT_OPENED, struct opened_event);

	if (!event)
		return;
	set_state(event, EVENT_OPENED, IPPROTO_UDP, state, bpf_ktime_get_boot_ns());
	set_peers(event, state);
	event->cookie = cookie;
	bpf_ringbuf_submit(event, wake_flags());
}

static __always_inline __u32 at_most_u32(__u64 value)
{
	return value > 0xffffffff ? 0xffffffff : (__u32)value;
}

/*
 * Ends the flow of a connected socket, once, whoever else tries. The totals are taken out, not
 * read, so that a datagram that another CPU counts meanwhile goes to this flow or the next one,
 * and to one only. CLOSED comes after the event, so that a sweep that does not find the flow alive
 * finds its end.
 */
static __always_inline void close_udp_from(struct socket_state *state, __u64 cookie,
					   __u8 ended_from, __u64 at_ns)
{
	struct closed_event *event;
	__u64 bytes_out, bytes_in, packets_out, packets_in;

	if (__sync_val_compare_and_swap(&state->phase, PHASE_OPEN, PHASE_CLOSING) != PHASE_OPEN)
		return;
	bytes_out = __sync_lock_test_and_set(&state->bytes_out, 0);
	bytes_in = __sync_lock_test_and_set(&state->bytes_in, 0);
	packets_out = __sync_lock_test_and_set(&state->packets_out, 0);
	packets_in = __sync_lock_test_and_set(&state->packets_in, 0);
	event = RESERVE(EVENT_CLOSED, struct closed_event);
	if (event) {
		set_state(&event->opened, EVENT_CLOSED, IPPROTO_UDP, state, at_ns);
		set_peers(&event->opened, state);
		event->opened.ended_from = ended_from;
		event->opened.cookie = cookie;
		event->bytes_out = bytes_out;
		event->bytes_in = bytes_in;
		event->packets_out = at_most_u32(packets_out);
		event->packets_in = at_most_u32(packets_in);
		event->rtt_us = 0;
		event->retransmits = 0;
		event->closer_pid = state->closer_pid;
		event->reserved = 0;
		bpf_ringbuf_submit(event, wake_flags());
	}
	/* Whatever this socket does next is seen from the beginning. */
	state->found_late = 0;
	barrier();
	state->phase = PHASE_CLOSED;
}

static __always_inline void close_udp(struct socket_state *state, __u64 cookie)
{
	close_udp_from(state, cookie, ENDED_FROM_CONNECTION, bpf_ktime_get_boot_ns());
}

/* The first datagram of a connected socket. Only one CPU opens; the others just count. */
static __always_inline void open_udp(struct socket_state *state, const struct packet *packet,
				     __u64 cookie)
{
	__u32 phase = state->phase;

	if (phase != PHASE_IDLE && phase != PHASE_CLOSED)
		return;
	if (__sync_val_compare_and_swap(&state->phase, phase, PHASE_OPENING) != phase)
		return;
	/* After a silence either side may speak first; who began is who began then. */
	if (!state->direction || state->remote_port != packet->remote_port ||
	    !same_address(&state->remote, &packet->remote))
		state->direction = packet->outbound ? DIRECTION_OUTBOUND : DIRECTION_INBOUND;
	state->remote = packet->remote;
	state->local = packet->local;
	state->remote_port = packet->remote_port;
	state->local_port = packet->local_port;
	state->opened_ns = bpf_ktime_get_boot_ns();
	state->told = 0;
	state->told_ns = state->opened_ns;
	state->established_ns = 0;
	if (!owner_of(state)->source)
		COUNT(owner_missing);
	barrier();
	state->phase = PHASE_OPEN;
	tell_udp_opened(state, cookie);
}

static __always_inline void count_connected(struct socket_state *state,
					    const struct packet *packet)
{
	if (packet->outbound) {
		__sync_fetch_and_add(&state->bytes_out, packet->payload_bytes);
		__sync_fetch_and_add(&state->packets_out, packet->segments);
	} else {
		__sync_fetch_and_add(&state->bytes_in, packet->payload_bytes);
		__sync_fetch_and_add(&state->packets_in, packet->segments);
	}
}

static __always_inline void tell_part_opened(const struct flow_key *key,
					     const struct flow_value *flow)
{
	struct opened_event *event = RESERVE(EVENT_OPENED, struct opened_event);

	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_OPENED;
	event->protocol = IPPROTO_UDP;
	event->direction = flow->direction;
	event->found_late = flow->found_late;
	event->at_ns = flow->opened_ns;
	event->cookie = key->cookie;
	event->part = flow->part;
	set_owner(event, &flow->owner);
	event->local = flow->local;
	event->remote = key->remote;
	event->local_port = flow->local_port;
	event->remote_port = key->remote_port;
	event->network_namespace = flow->network_namespace;
	event->opened_ns = flow->opened_ns;
	bpf_ringbuf_submit(event, wake_flags());
}

/* A peer that this unconnected socket has not talked to, or not for a while. */
static __always_inline struct flow_value *open_part(struct socket_state *state,
						    const struct flow_key *key,
						    const struct packet *packet)
{
	struct flow_value flow = {};
	long result;

	/* Before its time is taken and the entry is there, so that no release or sweep misses it. */
	state->has_parts = 1;
	flow.owner = *owner_of(state);
	flow.part = __sync_fetch_and_add(&last_part, 1) + 1;
	flow.opened_ns = bpf_ktime_get_boot_ns();
	flow.last_ns = flow.opened_ns;
	flow.local = packet->local;
	flow.local_port = packet->local_port;
	flow.direction = packet->outbound ? DIRECTION_OUTBOUND : DIRECTION_INBOUND;
	flow.found_late = state->found_late;
	flow.network_namespace = state->network_namespace;
	result = bpf_map_update_elem(&flows, key, &flow, BPF_NOEXIST);
	if (result == -E2BIG)
		COUNT(flows_full);
	else if (result && result != -EEXIST)
		COUNT(flows_failed);
	if (!result) {
		if (!flow.owner.source)
			COUNT(owner_missing);
		tell_part_opened(key, &flow);
	}
	return bpf_map_lookup_elem(&flows, key);
}

static __always_inline void count_part(struct socket_state *state, const struct packet *packet,
				       __u64 cookie)
{
	struct flow_key key = {};
	struct flow_value *flow;

	key.cookie = cookie;
	key.remote = packet->remote;
	key.remote_port = packet->remote_port;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		flow = open_part(state, &key, packet);
	if (!flow)
		return;
	flow->last_ns = bpf_ktime_get_boot_ns();
	if (packet->outbound) {
		__sync_fetch_and_add(&flow->bytes_out, packet->payload_bytes);
		__sync_fetch_and_add(&flow->packets_out, packet->segments);
	} else {
		__sync_fetch_and_add(&flow->bytes_in, packet->payload_bytes);
		__sync_fetch_and_add(&flow->packets_in, packet->segments);
	}
}

static __always_inline bool is_connected_to(struct bpf_sock *sk, const struct packet *packet)
{
	if (sk->state != TCP_ESTABLISHED || bpf_ntohs(sk->dst_port) != packet->remote_port)
		return false;
	if (!packet->is_ipv6) {
		__u32 destination = sk->dst_ip4;

		/* Keeps the compiler from joining this with the last line into one computed load. */
		barrier_var(destination);
		return destination == packet->remote.words[3];
	}
	return sk->dst_ip6[0] == packet->remote.words[0] &&
	       sk->dst_ip6[1] == packet->remote.words[1] &&
	       sk->dst_ip6[2] == packet->remote.words[2] &&
	       sk->dst_ip6[3] == packet->remote.words[3];
}

/*
 * Books a datagram that is not of the open flow of a connected socket. Such a flow is over when
 * the socket is connected to somebody else, or, after connect(AF_UNSPEC), to nobody.
 */
static __always_inline void book_other(struct __sk_buff *skb, struct bpf_sock *sk,
				       struct socket_state *state, const struct packet *packet)
{
	bool connected = is_connected_to(sk, packet);
	__u64 cookie = bpf_get_socket_cookie(skb);

	if (!state->network_namespace)
		state->network_namespace = namespace_of(sk);
	if (connected || sk->state != TCP_ESTABLISHED)
		close_udp(state, cookie);
	if (!connected) {
		count_part(state, packet, cookie);
		return;
	}
	open_udp(state, packet, cookie);
	count_connected(state, packet);
}

/*
 * Finds the UDP header behind the extension headers that may stand before it. Datagrams come here
 * whole: fragments were put together before the socket, or are made after it. One that is not the
 * first of its kind has no ports, so it is left out.
 */
#define EXTENSION_HEADERS_MAX 6
#define NEXT_HOP_BY_HOP 0
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_DESTINATION 60

static __always_inline __u32 skip_extensions(struct __sk_buff *skb, __u8 next)
{
	__u32 offset = sizeof(struct ipv6_header);

	for (int i = 0; i < EXTENSION_HEADERS_MAX; i++) {
		__u8 head[4];

		if (next == IPPROTO_UDP)
			return offset;
		if (next != NEXT_HOP_BY_HOP && next != NEXT_ROUTING && next != NEXT_FRAGMENT &&
		    next != NEXT_DESTINATION)
			return 0;
		if (bpf_skb_load_bytes(skb, offset, head, sizeof(head)))
			return 0;
		if (next == NEXT_FRAGMENT) {
			if (head[2] || head[3] & 0xf8)
				return 0;
			offset += 8;
		} else {
			offset += (head[1] + 1) * 8;
		}
		next = head[0];
	}
	return next == IPPROTO_UDP ? offset : 0;
}

static __always_inline __u32 read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	union address *source = packet->outbound ? &packet->local : &packet->remote;
	union address *destination = packet->outbound ? &packet->remote : &packet->local;
	struct ipv6_header header;

	if (bpf_skb_load_bytes(skb, 0, &header, sizeof(header)))
		return 0;
	for (int i = 0; i < 4; i++) {
		source->words[i] = header.source[i];
		destination->words[i] = header.destination[i];
	}
	packet->is_ipv6 = 1;
	return skip_extensions(skb, header.next_header);
}

static __always_inline __u32 read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv4_header header;

	if (bpf_skb_load_bytes(skb, 0, &header, sizeof(header)))
		return 0;
	if (header.protocol != IPPROTO_UDP || header.fragment & bpf_htons(0x1fff))
		return 0;
	set_ipv4(packet->outbound ? &packet->local : &packet->remote, header.source);
	set_ipv4(packet->outbound ? &packet->remote : &packet->local, header.destination);
	packet->is_ipv6 = 0;
	return (header.version_and_length & 0xf) * 4;
}

#define UDP_HEADER_BYTES 8

static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet)
{
	struct ports ports;
	__u32 offset, length = skb->len, segments = skb->gso_segs;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		offset = read_ipv4(skb, packet);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		offset = read_ipv6(skb, packet);
	else
		return false;
	if (!offset || bpf_skb_load_bytes(skb, offset, &ports, sizeof(ports)))
		return false;
	packet->local_port = bpf_ntohs(packet->outbound ? ports.source : ports.destination);
	packet->remote_port = bpf_ntohs(packet->outbound ? ports.destination : ports.source);
	packet->segments = segments ? segments : 1;
	packet->payload_bytes =
		length > offset + UDP_HEADER_BYTES ? length - offset - UDP_HEADER_BYTES : 0;
	return true;
}

/* Not inlined, so that the packets of TCP, which stop before it, pay for none of it. */
static __noinline int book_datagram(struct __sk_buff *skb, struct bpf_sock *sk, bool outbound)
{
	struct packet packet = { .outbound = outbound };
	struct socket_state *state;

	if (!read_packet(skb, &packet))
		return 0;
	state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		COUNT(udp_storage_failed);
		return 0;
	}
	if (state->phase == PHASE_OPEN && state->remote_port == packet.remote_port &&
	    same_address(&state->remote, &packet.remote))
		count_connected(state, &packet);
	else
		book_other(skb, sk, state, &packet);
	return 0;
}

/* A process that uses a socket owns it, unless somebody is known at least as well. */
static __always_inline bool improves_owner(const struct socket_state *state, __u32 source)
{
	return !state->first.source ||
	       (source > state->first.source && state->first.source < SOURCE_RELEASE &&
		!state->better_claimed);
}

static __always_inline void improve_owner(struct socket_state *state, __u32 source, __u64 cookie)
{
	if (!state->first.source)
		own(&state->first, source);
	else if (correct_owner(state, source) &&
		 (state->has_parts || state->phase == PHASE_OPEN))
		tell_attributed(state, cookie);
}

static __always_inline void connecting_udp(struct bpf_sock_addr *ctx, struct socket_state *state,
					   const union address *remote)
{
	if (state->phase == PHASE_IDLE)
		state->found_late = 0;
	if (state->phase == PHASE_OPEN && (state->remote_port != bpf_ntohs((__u16)ctx->user_port) ||
					   !same_address(&state->remote, remote)))
		close_udp(state, bpf_get_socket_cookie(ctx));
	if (improves_owner(state, SOURCE_CONNECT))
		improve_owner(state, SOURCE_CONNECT, bpf_get_socket_cookie(ctx));
}

static __always_inline void release_udp(struct bpf_sock *sk, struct socket_state *state)
{
	struct released_event *event;
	__u64 cookie = bpf_get_socket_cookie(sk);

	close_udp(state, cookie);
	if (!state->has_parts)
		return;
	event = RESERVE(EVENT_RELEASED, struct released_event);
	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_RELEASED;
	event->closer_pid = state->closer_pid;
	event->at_ns = bpf_ktime_get_boot_ns();
	event->cookie = cookie;
	bpf_ringbuf_submit(event, wake_flags());
}
