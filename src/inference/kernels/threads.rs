//! What the system is told of threads: that they compute.

/// Has the system treat this thread, and those that it starts from now on, as ones that compute (`SCHED_BATCH`, sched(7)):
/// they have their full share of the processors, but take none away from another thread at the moment they wake up. Whoever
/// hands them work goes on with it, and hands them more at once. Does nothing where the system has no such thing.
pub fn compute_in_batches() {
    #[cfg(target_os = "linux")]
    {
        use nix::libc::{SCHED_BATCH, sched_param, sched_setscheduler};

        // SAFETY: a structure of numbers, all of which may be zero.
        let priority: sched_param = unsafe { std::mem::zeroed() };
        // SAFETY: the call reads the structure and keeps nothing of it. It concerns this thread alone.
        if unsafe { sched_setscheduler(0, SCHED_BATCH, &raw const priority) } != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "threads that compute are scheduled as any other");
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// The 41st field of proc_pid_stat(5), counted from after the name, which may hold anything.
    fn policy() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        fields.split_whitespace().nth(38).unwrap().to_owned()
    }

    #[test]
    fn threads_that_compute_are_told_apart_with_all_that_they_start() {
        let before = policy();
        let told = std::thread::spawn(|| {
            compute_in_batches();
            [policy(), std::thread::spawn(policy).join().unwrap()]
        });
        assert_eq!(told.join().unwrap(), [nix::libc::SCHED_BATCH.to_string(), nix::libc::SCHED_BATCH.to_string()]);
        assert_eq!(policy(), before, "other threads are left as they were");
    }
}
