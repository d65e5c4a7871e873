/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Owners, and the parts of events that all protocols share. */
#pragma once

#include "process.bpf.h"
#include "state.bpf.h"

/* The best knowledge of who owns a socket. */
static __always_inline const struct owner *owner_of(const struct socket_state *state)
{
	return state->better.source ? &state->better : &state->first;
}

/* Improves the owner, once; true for the one caller who did. */
static __always_inline bool correct_owner(struct socket_state *state, __u32 source)
{
	if (__sync_val_compare_and_swap(&state->better_claimed, 0, 1))
		return false;
	own(&state->better, source);
	return true;
}

static __always_inline void forget_owner(struct socket_state *state)
{
	state->better.source = SOURCE_NONE;
	state->better_claimed = 0;
}

static __always_inline void set_owner(struct opened_event *event, const struct owner *owner)
{
	event->owner_source = (__u8)owner->source;
	event->owner_start_ns = owner->start_ns;
	event->owner_pid = owner->pid;
	event->owner_exec_id = owner->exec_id;
}

/* The parts of an event that the socket's state knows. */
static __always_inline void set_state(struct opened_event *event, __u8 kind, __u8 protocol,
				      const struct socket_state *state, __u64 at_ns)
{
	event->kind = kind;
	event->protocol = protocol;
	event->direction = state->direction;
	event->found_late = state->found_late;
	event->ended_from = ENDED_FROM_CONNECTION;
	event->error = 0;
	event->at_ns = at_ns;
	event->part = 0;
	event->opened_ns = state->opened_ns;
	event->established_ns = state->established_ns;
	set_owner(event, owner_of(state));
}

/* The addresses that the socket's state knows: UDP flows and attempts that came to nothing. */
static __always_inline void set_peers(struct opened_event *event, const struct socket_state *state)
{
	event->local = state->local;
	event->remote = state->remote;
	event->local_port = state->local_port;
	event->remote_port = state->remote_port;
	event->network_namespace = state->network_namespace;
}

static __always_inline void tell_attributed(struct socket_state *state, __u64 cookie)
{
	struct attributed_event *event = RESERVE(EVENT_ATTRIBUTED, struct attributed_event);

	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_ATTRIBUTED;
	event->has_flow = state->phase == PHASE_OPEN;
	event->at_ns = bpf_ktime_get_boot_ns();
	event->cookie = cookie;
	event->owner = *owner_of(state);
	bpf_ringbuf_submit(event, wake_flags());
}
