//! What the kernel knows of its clock.

/// Whether somebody keeps the wall clock synchronised, by whichever daemon (adjtimex(2)). One that is set by hand counts
/// as not synchronised from then on, until that daemon has set it right. So does one whose kernel does not answer.
#[expect(
    unsafe_code,
    reason = "neither std nor rustix has adjtimex; with modes = 0 it only fills the struct"
)]
pub fn is_synchronised() -> bool {
    // SAFETY: timex is plain integers, for which all zeros is a value, and modes = 0 asks to change nothing.
    // The pointer is to a live, exclusively borrowed timex.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut timex), timex.status)
    };
    says_synchronised(state, status)
}

/// The state is negative where there is no answer. The kernel sets `STA_UNSYNC` when the clock is set, and when the error
/// that it reckons with has grown to 16 s since a daemon said anything. `TIME_ERROR` alone is no more than a pulse that
/// is missing, or not even, at a clock that a daemon keeps.
fn says_synchronised(state: i32, status: i32) -> bool {
    state >= 0 && status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_clock_is_synchronised_while_a_daemon_keeps_it() {
        assert!(says_synchronised(libc::TIME_OK, libc::STA_PLL));
        assert!(says_synchronised(libc::TIME_INS, libc::STA_INS), "before a leap second");
        assert!(!says_synchronised(libc::TIME_ERROR, libc::STA_UNSYNC), "nobody does, or it was set by hand");
        assert!(!says_synchronised(libc::TIME_OK, libc::STA_PLL | libc::STA_UNSYNC));
        assert!(says_synchronised(libc::TIME_ERROR, libc::STA_PLL | libc::STA_PPSFREQ), "a pulse is missing");
        assert!(!says_synchronised(-1, 0));
    }

    /// By another way to the same question, where the machine has one.
    #[test]
    fn the_kernel_is_asked() {
        let answered = is_synchronised();
        let python = "import ctypes;b=ctypes.create_string_buffer(512);r=ctypes.CDLL(None).adjtimex(b);\
                      import struct;s=struct.unpack_from('i',b,struct.calcsize('@ilLLLi')-4)[0];print(r,s)";
        let Ok(output) = Command::new("python3").args(["-c", python]).output() else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        let mut numbers = said.split_whitespace().filter_map(|number| number.parse().ok());
        if let (Some(state), Some(status)) = (numbers.next(), numbers.next()) {
            assert_eq!(answered, says_synchronised(state, status), "{said}");
        }
    }
}
