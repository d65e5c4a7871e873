/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Who a process is, read in the kernel while it is there: no race with its end. */
#pragma once

#include "state.bpf.h"

#define ANCESTORS_MAX 4
#define PATH_COMPONENTS_MAX 48
#define SCRATCH_SLOTS 4

struct process_key {
	__u64 start_ns;
	__u32 pid;
	__u32 exec_id;
};

/* Who was introduced already. Forgetting one costs a repetition, nothing else. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct process_key);
	__type(value, __u8);
} introduced SEC(".maps");

struct scratch_buffer {
	struct process_event event;
	__u32 in_use;
	__u32 reserved;
};

/*
 * Introductions are put together here, because the ring cannot take back the unused part of what
 * was reserved. Several slots for each CPU: a program can be preempted while it holds one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, __u32);
	__type(value, struct scratch_buffer);
} scratch SEC(".maps");

static __always_inline void key_of(struct task_struct *task, struct process_key *key)
{
	key->pid = BPF_CORE_READ(task, tgid);
	key->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	key->exec_id = (__u32)BPF_CORE_READ(task, self_exec_id);
}

/*
 * The functions that are not static are verified once each, with any argument, instead of again
 * at every call. Tasks are passed as numbers and read with checked reads.
 */

/* Writes the components of the executable's path, leaf first, and returns their length. */
__noinline int write_path(__u64 file_address, __u32 slot)
{
	struct scratch_buffer *buffer = bpf_map_lookup_elem(&scratch, &slot);
	struct file *file = (struct file *)file_address;
	struct vfsmount *vfs_mount;
	struct dentry *dentry, *root;
	struct mount *mount;
	__u32 length = 0;

	if (!buffer)
		return 0;
	dentry = BPF_CORE_READ(file, f_path.dentry);
	vfs_mount = BPF_CORE_READ(file, f_path.mnt);
	root = BPF_CORE_READ(vfs_mount, mnt_root);
	mount = container_of(vfs_mount, struct mount, mnt);
	buffer->event.path_truncated = 1;
	for (int i = 0; i < PATH_COMPONENTS_MAX; i++) {
		struct dentry *parent;
		const unsigned char *name;
		long written;

		if (dentry == root) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount || !above) {
				buffer->event.path_truncated = 0;
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			/* A mount may sit on the root of another one. */
			if (dentry == root)
				continue;
		}
		if (length >= PATH_BYTES_MAX - NAME_BYTES_MAX)
			break;
		parent = BPF_CORE_READ(dentry, d_parent);
		name = BPF_CORE_READ(dentry, d_name.name);
		written = bpf_probe_read_kernel_str(&buffer->event.text[length],
						    NAME_BYTES_MAX, name);
		if (written <= 0)
			break;
		length = (length + (__u32)written) & (PATH_BYTES_MAX - 1);
		/* A file in memory (memfd) has a name but no directory. */
		if (parent == dentry || !parent) {
			buffer->event.path_truncated = 0;
			break;
		}
		dentry = parent;
	}
	return length;
}

/* What is said about the executable; kernel threads and processes at their end have none. */
static __always_inline void write_executable(struct process_event *event,
					     struct task_struct *task, __u32 slot)
{
	struct mm_struct *memory = BPF_CORE_READ(task, mm);
	struct file *file;

	event->path_bytes = 0;
	event->path_truncated = 0;
	event->inode = 0;
	event->device = 0;
	if (!memory)
		return;
	file = BPF_CORE_READ(memory, exe_file);
	/* An ancestor can exit at any moment. While it has this memory, the file is its file. */
	if (!file || BPF_CORE_READ(task, mm) != memory)
		return;
	event->inode = BPF_CORE_READ(file, f_inode, i_ino);
	event->device = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
	event->path_bytes = (__u16)write_path((__u64)file, slot);
}

static __always_inline void write_arguments(struct process_event *event, struct task_struct *task)
{
	__u64 start = BPF_CORE_READ(task, mm, arg_start);
	__u64 length = BPF_CORE_READ(task, mm, arg_end) - start;
	__u32 at = event->path_bytes & (PATH_BYTES_MAX - 1);

	if (length > ARGUMENTS_BYTES_MAX)
		length = ARGUMENTS_BYTES_MAX;
	if (bpf_probe_read_user(&event->text[at], length, (void *)start) == 0)
		event->arguments_bytes = length;
}

/* The innermost name of the process: its number in the deepest namespace it lives in. */
static __always_inline void write_namespace(struct process_event *event, struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *deepest;
	struct upid number = {};

	deepest = (struct upid *)((__u64)__builtin_preserve_access_index(&pid->numbers[0]) +
				  level * bpf_core_type_size(struct upid));
	number.nr = BPF_CORE_READ(deepest, nr);
	number.ns = BPF_CORE_READ(deepest, ns);
	event->namespace_tgid = number.nr;
	event->pid_namespace = BPF_CORE_READ(number.ns, ns.inum);
}

static __always_inline void write_identity(struct process_event *event, struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct process_key key = {}, parent_key = {};

	key_of(task, &key);
	key_of(parent, &parent_key);
	event->kind = EVENT_PROCESS;
	event->reserved = 0;
	event->reserved2 = 0;
	event->arguments_bytes = 0;
	event->start_ns = key.start_ns;
	event->pid = key.pid;
	event->exec_id = key.exec_id;
	event->parent_start_ns = parent_key.start_ns;
	event->parent_pid = parent_key.pid;
	event->parent_exec_id = parent_key.exec_id;
	event->uid = BPF_CORE_READ(task, cred, uid.val);
	event->has_login_uid = 0;
	event->login_uid = 0;
	if (bpf_core_field_exists(task->loginuid)) {
		event->has_login_uid = 1;
		event->login_uid = BPF_CORE_READ(task, loginuid.val);
	}
	event->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	BPF_CORE_READ_STR_INTO(&event->comm, task, group_leader, comm);
	write_namespace(event, task);
}

/* Sends what `slot` holds, as much of it as is used. */
static __always_inline void send_process(struct process_event *event)
{
	__u64 size = __builtin_offsetof(struct process_event, text);
	struct process_key key = {
		.start_ns = event->start_ns,
		.pid = event->pid,
		.exec_id = event->exec_id,
	};
	__u8 present = 1;

	size += event->path_bytes & (PATH_BYTES_MAX - 1);
	size += event->arguments_bytes & (2 * ARGUMENTS_BYTES_MAX - 1);
	if (size > sizeof(*event))
		return;
	COUNT(made[EVENT_PROCESS]);
	if (bpf_ringbuf_output(&ring, event, size, wake_flags())) {
		COUNT(dropped[EVENT_PROCESS]);
		return;
	}
	bpf_map_update_elem(&introduced, &key, &present, BPF_ANY);
}

/* Introduces one process, whoever is running. */
__noinline int introduce_task(__u64 task_address, __u32 with_arguments)
{
	struct task_struct *task = (struct task_struct *)task_address;

	for (__u32 i = 0; i < SCRATCH_SLOTS; i++) {
		__u32 slot = i;
		struct scratch_buffer *buffer = bpf_map_lookup_elem(&scratch, &slot);

		if (!buffer)
			return 0;
		if (__sync_val_compare_and_swap(&buffer->in_use, 0, 1))
			continue;
		write_identity(&buffer->event, task);
		write_executable(&buffer->event, task, slot);
		if (with_arguments)
			write_arguments(&buffer->event, task);
		send_process(&buffer->event);
		__sync_lock_test_and_set(&buffer->in_use, 0);
		return 0;
	}
	COUNT(scratch_busy);
	return 0;
}

/*
 * Introduces a process and those of its ancestors that are new, the oldest first, so that whoever
 * is introduced has parents that are known. The idle task (pid 0) is nobody's ancestor.
 */
__noinline int introduce(__u64 task_address, __u32 with_arguments)
{
	__u64 chain[ANCESTORS_MAX + 1] = {};
	struct task_struct *task = (struct task_struct *)task_address;
	int length = 0;

	for (int i = 0; i <= ANCESTORS_MAX; i++) {
		struct process_key key = {};

		key_of(task, &key);
		if (key.pid == 0 || bpf_map_lookup_elem(&introduced, &key))
			break;
		chain[i] = (__u64)task;
		length = i + 1;
		task = BPF_CORE_READ(task, real_parent);
	}
	for (int i = ANCESTORS_MAX; i >= 0; i--) {
		if (i < length)
			introduce_task(chain[i], i == 0 ? with_arguments : 0);
	}
	return 0;
}

/*
 * Introduces the running process, then makes it the owner: no event names a process that the ring
 * has not told of before. Only in process context.
 */
static __always_inline void own(struct owner *owner, __u32 source)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct process_key key = {
		.start_ns = task->group_leader->start_boottime,
		.pid = task->tgid,
		.exec_id = (__u32)task->self_exec_id,
	};

	if (!bpf_map_lookup_elem(&introduced, &key))
		introduce(bpf_get_current_task(), cfg_capture_arguments);
	owner->start_ns = key.start_ns;
	owner->pid = key.pid;
	owner->exec_id = key.exec_id;
	owner->reserved = 0;
	/* Whoever sees the source on another CPU may use the rest. */
	barrier();
	owner->source = source;
}
