//! Which threads go first where there are more of them than processors.

/// Nice, as in sched(7): from 0, what everything has, to 19.
const GIVES_WAY: i32 = 19;

/// From now on the calling thread runs when no other of the hub's wants to: what it does is needed, and nobody waits for
/// a single step of it. A thread of full priority MUST NOT wait for what this one holds.
pub(crate) fn give_way() {
    // On Linux this is the thread's, not the process's: setpriority(2), "C library/kernel differences".
    if let Err(error) = rustix::process::setpriority_process(None, GIVES_WAY) {
        tracing::debug!(%error, "a thread that should give way to others does not");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_gives_way_and_no_other() {
        let of_this = || rustix::process::getpriority_process(None).expect("it can always be read");
        let before = of_this();
        let given = std::thread::spawn(move || {
            give_way();
            of_this()
        });
        assert_eq!(given.join().expect("it ends well"), GIVES_WAY);
        assert_eq!(of_this(), before);
    }
}
