//! Whether the kernel's clock is synchronised, as `adjtimex` says it.

/// Whether `STA_UNSYNC` is absent (adjtimex(2)). A kernel that does not answer counts as not synchronised.
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
    state >= 0 && status & libc::STA_UNSYNC == 0
}
