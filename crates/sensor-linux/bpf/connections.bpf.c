/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * Records every TCP connection and UDP flow of the machine: who, where, when, how much.
 *
 * Nothing is ever blocked, changed or delayed on purpose: every hook answers "go on". No byte
 * beyond the ports of the transport header is read.
 *
 * Which process it was is read only in process context: when it connects, binds, listens, sends,
 * receives or closes. The later steps of a connection run wherever its packets are handled, in the
 * context of anybody, and only read what the socket remembers.
 *
 * The license section below says "Dual MIT/GPL" because the kernel reserves some helper functions
 * for programs that declare themselves compatible with the GPL, which MIT is.
 */
#include "existing.bpf.h"
#include "tcp.bpf.h"
#include "udp.bpf.h"
#include "updates.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Every hook's answer. */
#define GO_ON 1

/*
 * The kernel does not run this program again on a CPU where it is already under way, so it does as
 * little as it can: the handshake's steps and the many that close a connection carry nothing.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_tcp_state, struct sock *sk, int old, int new)
{
	if (new != TCP_ESTABLISHED && new != TCP_CLOSE && new != TCP_LISTEN)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (new == TCP_ESTABLISHED)
		tcp_established(sk, old);
	else if (new == TCP_LISTEN)
		tcp_listening(sk);
	else if (old != TCP_LISTEN && old != TCP_CLOSE)
		tcp_closed(sk, old);
	return 0;
}

/* Optional, since Linux 6.3: the first to read or write is the one who accepted. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_receive, struct sock *sk)
{
	accepted(sk, SOURCE_FIRST_IO);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk)
{
	accepted(sk, SOURCE_FIRST_IO);
	return 0;
}

/* Optional, where the kernel allows trampolines; the function has two signatures. */
SEC("fexit/inet_csk_accept")
int BPF_PROG(on_accept, struct sock *listener, void *argument, struct sock *sk)
{
	accepted(sk, SOURCE_ACCEPT);
	return 0;
}

/* Before Linux 6.10. */
SEC("fexit/inet_csk_accept")
int BPF_PROG(on_accept_before_6_10, struct sock *listener, int flags, int *error, bool kernel,
	     struct sock *sk)
{
	accepted(sk, SOURCE_ACCEPT);
	return 0;
}

/* TCP counts its own bytes, so its packets pass by with as little ado as possible. */
static __always_inline int on_packet(struct __sk_buff *skb, bool outbound)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return GO_ON;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_UDP)
		return GO_ON;
	book_datagram(skb, sk, outbound);
	return GO_ON;
}

SEC("cgroup_skb/egress")
int on_egress(struct __sk_buff *skb)
{
	return on_packet(skb, true);
}

SEC("cgroup_skb/ingress")
int on_ingress(struct __sk_buff *skb)
{
	return on_packet(skb, false);
}

/* The address is the one that was asked for; it is where the attempt went, whatever comes of it. */
static __always_inline int connecting(struct bpf_sock_addr *ctx, const union address *remote)
{
	__u32 protocol = ctx->protocol;
	struct bpf_sock *sk = ctx->sk;
	struct socket_state *state;

	if (!sk || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
		return GO_ON;
	state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		if (protocol == IPPROTO_TCP)
			COUNT(tcp_storage_failed);
		return GO_ON;
	}
	if (protocol == IPPROTO_TCP)
		connecting_tcp(ctx, state, remote);
	else
		connecting_udp(ctx, state, remote);
	return GO_ON;
}

SEC("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	union address remote;

	set_ipv4(&remote, ctx->user_ip4);
	return connecting(ctx, &remote);
}

SEC("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	union address remote;

	remote.words[0] = ctx->user_ip6[0];
	remote.words[1] = ctx->user_ip6[1];
	remote.words[2] = ctx->user_ip6[2];
	remote.words[3] = ctx->user_ip6[3];
	return connecting(ctx, &remote);
}

/* sendto() and recvfrom(): these hooks only run for calls that name or ask for the peer. */
static __always_inline int using(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct socket_state *state;

	if (!sk || ctx->protocol != IPPROTO_UDP)
		return GO_ON;
	state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (state && improves_owner(state, SOURCE_FIRST_IO))
		improve_owner(state, SOURCE_FIRST_IO, bpf_get_socket_cookie(ctx));
	return GO_ON;
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	return using(ctx);
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	return using(ctx);
}

SEC("cgroup/recvmsg4")
int on_recvmsg4(struct bpf_sock_addr *ctx)
{
	return using(ctx);
}

SEC("cgroup/recvmsg6")
int on_recvmsg6(struct bpf_sock_addr *ctx)
{
	return using(ctx);
}

static __always_inline int bound(struct bpf_sock *sk)
{
	struct socket_state *state;

	if (sk->protocol != IPPROTO_UDP)
		return GO_ON;
	state = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (state && improves_owner(state, SOURCE_BIND))
		improve_owner(state, SOURCE_BIND, bpf_get_socket_cookie(sk));
	return GO_ON;
}

SEC("cgroup/post_bind4")
int on_bind4(struct bpf_sock *sk)
{
	return bound(sk);
}

SEC("cgroup/post_bind6")
int on_bind6(struct bpf_sock *sk)
{
	return bound(sk);
}

/* The last close() of a socket, in the process that made it. */
SEC("cgroup/sock_release")
int on_release(struct bpf_sock *sk)
{
	__u32 protocol = sk->protocol, tcp_state = sk->state;
	struct socket_state *state = bpf_sk_storage_get(&sockets, sk, 0, 0);

	if (!state)
		return GO_ON;
	state->closer_pid = bpf_get_current_pid_tgid() >> 32;
	if (protocol == IPPROTO_TCP)
		release_tcp(sk, state, tcp_state);
	else if (protocol == IPPROTO_UDP)
		release_udp(sk, state);
	return GO_ON;
}
