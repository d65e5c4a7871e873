//! The processes of a run: none outlives it, and none is waited for without end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use crate::sys;

/// When the run has to be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// A deadline so much from now.
    pub(crate) fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// The time left, or why there is none: a signal to stop ends it early.
    pub(crate) fn remaining(self) -> io::Result<Duration> {
        if sys::asked_to_stop() {
            return Err(io::Error::other("stopped by a signal"));
        }
        self.left()
    }

    /// The time left, whatever signals have come.
    pub(crate) fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other("the time limit is over"));
        }
        Ok(left)
    }
}

/// One child process.
struct Member {
    pid: Pid,
    handle: OwnedFd,
    name: &'static str,
}

/// Child processes that are killed when the crew is dropped.
#[derive(Default)]
pub(crate) struct Crew(Vec<Member>);

impl Crew {
    /// Takes charge of a child.
    pub(crate) fn add(&mut self, name: &'static str, pid: Pid) -> io::Result<()> {
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        self.0.push(Member { pid, handle, name });
        Ok(())
    }

    /// Forks a child that dies with this process and runs `body`.
    pub(crate) fn fork(
        &mut self,
        name: &'static str,
        body: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let child = sys::fork_child(|| {
            let result = crate::roles::die_with_parent().and_then(|()| body());
            match result {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("ground_truth: {name}: {error}");
                    1
                }
            }
        })?;
        self.add(name, child)
    }

    /// The members' process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.0
            .iter()
            .map(|member| member.pid.as_raw_nonzero().get().unsigned_abs())
            .collect()
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits for all members to end well.
    pub(crate) fn wait_all(&mut self, deadline: Deadline) -> io::Result<()> {
        while !self.0.is_empty() {
            self.reap(deadline.remaining()?)?;
        }
        Ok(())
    }

    /// Waits up to `patience` for a member to end, and takes leave of those that ended well.
    pub(crate) fn reap(&mut self, patience: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut polled: Vec<_> = self
            .0
            .iter()
            .map(|member| PollFd::new(&member.handle, PollFlags::IN))
            .collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ended: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        for index in (0..ended.len()).rev().filter(|index| ended[*index]) {
            check_end(self.0.swap_remove(index))?;
        }
        Ok(())
    }

    /// Kills and waits for all members.
    pub(crate) fn stop(&mut self) {
        for member in &self.0 {
            _ = kill_process(member.pid, Signal::KILL);
        }
        for member in self.0.drain(..) {
            _ = waitpid(Some(member.pid), WaitOptions::empty());
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for a member that has ended, and complains if it did not end well.
fn check_end(member: Member) -> io::Result<()> {
    let ended = waitpid(Some(member.pid), WaitOptions::empty())?;
    match ended {
        Some((_, status)) if status.exit_status() == Some(0) => Ok(()),
        _ => Err(io::Error::other(format!(
            "a {} did not end well",
            member.name
        ))),
    }
}
