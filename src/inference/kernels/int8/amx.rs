//! Products of bytes with AMX: a tile of 16 rows × 64 inputs times one of 64 inputs × 16 outputs in one instruction, added up
//! in 32 bits (Intel, Architecture Instruction Set Extensions Programming Reference, chapter 3).
//!
//! The numbers are those of VNNI: same steps, same sums. A panel of weights is what AMX wants its right side to be already.
//! The instructions are written as assembly, since Rust has no stable names for them yet.

#![allow(clippy::wildcard_imports, reason = "intrinsics are named so that they can't be confused with anything")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

use super::vnni::{Vnni, finish};
use super::{Kernel, Line, QUAD, Steps, Tile};
use crate::inference::kernels::tile::PANEL;

/// Rows of a register tile.
const SIDE: usize = 16;
/// Quads of inputs in one.
const DEPTH: usize = 16;
/// Lines that are brought near with each of these.
const PREFETCHES: usize = 4;

/// Tiles of up to 32 × 32: four register tiles of sums, two of A and two of B, of the eight there are.
pub(super) struct Amx;

/// Whether the processor has AMX for bytes, and the system lets this process use it.
pub(in crate::inference::kernels) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        const TILE: u32 = 1 << 24;
        const INT8: u32 = 1 << 25;
        __cpuid_count(7, 0).edx & (TILE | INT8) == TILE | INT8 && permitted()
    });
    *AVAILABLE
}

/// Asks for the tile registers, whose state is so large that Linux saves it only for processes that said they want them
/// (Documentation/arch/x86/xstate.rst).
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: nix::libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: nix::libc::c_long = 18;
    // SAFETY: this call reads and writes no memory of the process.
    unsafe { nix::libc::syscall(nix::libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The shapes of the register tiles, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_a_row: [u16; 16],
    rows: [u8; 16],
}

/// All eight are 16 rows of 64 bytes.
static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

impl Kernel for Amx {
    const ROWS: usize = 2 * SIDE;
    const PANELS: usize = 2;
    const ROWS_READ: usize = SIDE;

    unsafe fn quantise(row: &[f32], levels: f32, into: &mut [u8]) -> Steps {
        // SAFETY: a processor with AMX has what VNNI needs.
        unsafe { Vnni::quantise(row, levels, into) }
    }

    unsafe fn begin() {
        // SAFETY: the caller promises AMX, and `available` that the system allows it; the shapes are valid ones.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, preserves_flags)) }
    }

    unsafe fn end() {
        // SAFETY: as above. Registers that are given back need not be saved when the thread makes way for another one.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
    }

    unsafe fn tile(rows: usize, tile: &Tile) {
        // SAFETY: the caller's promises are those of both.
        unsafe { if tile.quads.is_multiple_of(DEPTH) { whole(rows, tile) } else { by_vnni(rows, tile) } }
    }
}

/// A width that register tiles don't divide: no network that we know has one.
///
/// # Safety
/// As for [`Kernel::tile`].
unsafe fn by_vnni(rows: usize, tile: &Tile) {
    for row in (0..rows).step_by(Vnni::ROWS) {
        // SAFETY: `row` is below `rows`, for which the caller promises these extents.
        unsafe {
            let residual = if tile.residual.is_null() { tile.residual } else { tile.residual.add(row * tile.c_stride) };
            let part = Tile {
                a: tile.a.add(row * tile.a_stride),
                steps: tile.steps.add(row),
                c: tile.c.add(row * tile.c_stride),
                residual,
                ..*tile
            };
            Vnni::tile((rows - row).min(Vnni::ROWS), &part);
        }
    }
}

/// # Safety
/// As for [`Kernel::tile`], with whole register tiles of inputs, the registers having their shapes.
#[target_feature(enable = "avx512f,avx512vnni,avx2,fma")]
unsafe fn whole(rows: usize, tile: &Tile) {
    // SAFETY: 16 rows of A can be read from each first one of 16 (`ROWS_READ`), whole lines of B; sums have 32 rows of two
    // panels; with one panel, it is read twice and its second sums are dropped.
    unsafe {
        let mut sums = MaybeUninit::<[[__m512i; 2]; 2 * SIDE]>::uninit();
        let one = tile.columns <= PANEL;
        let second: *const Line = if one { tile.b } else { tile.b.add(tile.b_panel) };
        if rows > SIDE {
            product_of_32(tile, second, sums.as_mut_ptr().cast());
        } else {
            product_of_16(tile, second, sums.as_mut_ptr().cast());
        }
        // So many rows were written, and perhaps some more.
        let sums = std::slice::from_raw_parts(sums.as_ptr().cast::<[__m512i; 2]>(), rows);
        if one {
            let mut first = [[_mm512_setzero_si512(); 1]; 2 * SIDE];
            for (first, both) in first.iter_mut().zip(sums) {
                first[0] = both[0];
            }
            finish(&first[..rows], tile);
        } else {
            finish(sums, tile);
        }
    }
}

/// # Safety
/// `sums` has room for 16 rows of 32 numbers; the rest as for [`whole`].
unsafe fn product_of_16(tile: &Tile, second: *const Line, sums: *mut i32) {
    // SAFETY: what is read and written is what the caller promises; every register that is touched is named.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{a} + {a_stride}*1]",
            "tileloadd tmm6, [{b} + {line}*1]",
            "tileloadd tmm7, [{second} + {line}*1]",
            "tdpbusd tmm0, tmm4, tmm6",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {ahead_step}",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {ahead_step}",
            "tdpbusd tmm1, tmm4, tmm7",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {ahead_step}",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {ahead_step}",
            "add {a}, 64",
            "add {b}, 1024",
            "add {second}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {row}*1], tmm0",
            "tilestored [{sums} + {row}*1 + 64], tmm1",
            a = inout(reg) tile.a => _,
            b = inout(reg) tile.b => _,
            second = inout(reg) second => _,
            steps = inout(reg) tile.quads / DEPTH => _,
            ahead = inout(reg) tile.ahead => _,
            ahead_step = in(reg) tile.ahead_step * DEPTH / PREFETCHES,
            a_stride = in(reg) tile.a_stride,
            line = in(reg) QUAD * PANEL,
            row = in(reg) 2 * QUAD * PANEL,
            sums = in(reg) sums,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// # Safety
/// `sums` has room for 32 rows of 32 numbers; the rest as for [`whole`], for more than 16 rows.
unsafe fn product_of_32(tile: &Tile, second: *const Line, sums: *mut i32) {
    // SAFETY: what is read and written is what the caller promises; every register that is touched is named.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a} + {a_stride}*1]",
            "tileloadd tmm6, [{b} + {line}*1]",
            "tileloadd tmm7, [{second} + {line}*1]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{below} + {a_stride}*1]",
            "tdpbusd tmm1, tmm4, tmm7",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {ahead_step}",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {ahead_step}",
            "tdpbusd tmm2, tmm5, tmm6",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {ahead_step}",
            "prefetcht1 [{ahead}]",
            "add {ahead}, {ahead_step}",
            "tdpbusd tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {below}, 64",
            "add {b}, 1024",
            "add {second}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {row}*1], tmm0",
            "tilestored [{sums} + {row}*1 + 64], tmm1",
            "add {sums}, 2048",
            "tilestored [{sums} + {row}*1], tmm2",
            "tilestored [{sums} + {row}*1 + 64], tmm3",
            a = inout(reg) tile.a => _,
            below = inout(reg) tile.a.add(SIDE * tile.a_stride) => _,
            b = inout(reg) tile.b => _,
            second = inout(reg) second => _,
            steps = inout(reg) tile.quads / DEPTH => _,
            ahead = inout(reg) tile.ahead => _,
            ahead_step = in(reg) tile.ahead_step * DEPTH / PREFETCHES,
            a_stride = in(reg) tile.a_stride,
            line = in(reg) QUAD * PANEL,
            row = in(reg) 2 * QUAD * PANEL,
            sums = inout(reg) sums => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
