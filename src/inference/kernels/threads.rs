//! What the system is told of threads: whether one may take a processor away from another the moment it wakes up, and
//! how late it may be woken.

/// From now on this thread waits for its turn when it wakes up (`SCHED_BATCH`, sched(7)), with its full share of the
/// processors: whoever hands it work goes on, and hands it more at once. Where somebody chose how the process is scheduled,
/// that stays, as it does where the system has no such thing.
pub fn wake_in_turn() {
    #[cfg(target_os = "linux")]
    if !linux::IN_TURN.get() && linux::policy() == nix::libc::SCHED_OTHER {
        linux::IN_TURN.set(linux::set_policy(nix::libc::SCHED_BATCH));
    }
}

/// From now on it need not: it is a thread as any other.
pub fn wake_at_once() {
    #[cfg(target_os = "linux")]
    if linux::IN_TURN.get() {
        linux::IN_TURN.set(!linux::set_policy(nix::libc::SCHED_OTHER));
    }
}

/// From now on this thread's waits end when they should. By default the system may end them 50 µs later, to end several
/// at once (`PR_SET_TIMERSLACK`, prctl(2)).
pub fn wake_on_time() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_timerslack(1) {
        tracing::debug!(%error, "waits may end late");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;

    use nix::libc::{sched_getscheduler, sched_param, sched_setscheduler};

    thread_local! {
        /// Whether this thread waits for its turn because it was told to.
        pub(super) static IN_TURN: Cell<bool> = const { Cell::new(false) };
    }

    /// This thread's.
    pub(super) fn policy() -> i32 {
        // SAFETY: it takes and gives a number.
        unsafe { sched_getscheduler(0) }
    }

    /// Whether it is this thread's now.
    pub(super) fn set_policy(policy: i32) -> bool {
        // SAFETY: a structure of numbers, all of which may be zero.
        let priority: sched_param = unsafe { std::mem::zeroed() };
        // SAFETY: the call reads the structure and keeps nothing of it. It concerns this thread alone.
        unsafe { sched_setscheduler(0, policy, &raw const priority) == 0 }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use nix::libc::{SCHED_BATCH, SCHED_IDLE, SCHED_OTHER};

    use super::*;

    /// In a thread of its own: what the policy is, by the system's own file, after each step.
    fn after(steps: impl FnOnce(&mut dyn FnMut()) + Send + 'static) -> Vec<i32> {
        let run = move || {
            let mut seen = Vec::new();
            steps(&mut || {
                // The 41st field of proc_pid_stat(5), counted from after the name, which may hold anything.
                let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
                let fields = stat.rsplit_once(')').unwrap().1;
                seen.push(fields.split_whitespace().nth(38).unwrap().parse().unwrap());
            });
            seen
        };
        std::thread::spawn(run).join().unwrap()
    }

    #[test]
    fn a_thread_waits_for_its_turn_and_then_need_not() {
        let seen = after(|look| {
            look();
            wake_in_turn();
            look();
            wake_at_once();
            look();
        });
        assert_eq!(seen, [SCHED_OTHER, SCHED_BATCH, SCHED_OTHER]);
    }

    #[test]
    fn waits_may_end_no_later_than_they_should() {
        let slack = || {
            wake_on_time();
            nix::sys::prctl::get_timerslack().unwrap()
        };
        assert_eq!(std::thread::spawn(slack).join().unwrap(), 1);
    }

    #[test]
    fn what_somebody_chose_stays() {
        let seen = after(|look| {
            assert!(linux::set_policy(SCHED_IDLE));
            wake_in_turn();
            look();
            wake_at_once();
            look();
        });
        assert_eq!(seen, [SCHED_IDLE, SCHED_IDLE]);
    }
}
