//! Whether there is a matrix unit that this process may use.

use std::arch::asm;
use std::sync::OnceLock;

/// Linux's request for a process to use tile data.
const ARCH_PRCTL: usize = 158;
const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
const XFEATURE_XTILEDATA: usize = 18;

/// Whether the processor has the unit and the system grants it.
pub fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| exists() && granted())
}

fn exists() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const TILES_AND_BF16: u32 = 1 << 24 | 1 << 22;
    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u32 = 1 << 17 | 1 << 18;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 || __cpuid_count(7, 0).edx & TILES_AND_BF16 != TILES_AND_BF16 {
        return false;
    }
    let state: u32;
    // Safety: OSXSAVE says that the instruction exists; it reads a register and changes no memory.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack, preserves_flags)) };
    state & TILE_STATE == TILE_STATE
}

#[cfg(target_os = "linux")]
fn granted() -> bool {
    let result: isize;
    // Safety: arch_prctl with this request touches no memory of ours; the kernel clobbers rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL as isize => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
    false
}
