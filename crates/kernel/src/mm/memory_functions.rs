//! memcpy and its kin, which compilers call and the prebuilt `compiler_builtins` leaves to libc.
//!
//! String instructions with quadwords: under emulation REP MOVSB costs eight times as much, and on
//! silicon both run at full speed. Written in assembly throughout, since a compiler turns a Rust loop
//! that copies back into a call of memcpy.

use core::arch::naked_asm;

/// Copies `len` bytes between areas that do not overlap; returns `to`.
///
/// # Safety
///
/// As C's memcpy.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "mov ecx, edx",
        "and ecx, 7",
        "rep movsb",
        "ret",
    )
}

/// Copies `len` bytes between areas that may overlap; returns `to`.
///
/// # Safety
///
/// As C's memmove.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "sub rax, rsi",
        // Forward is right unless `to` lies inside [from, from + len).
        "cmp rax, rdx",
        "jae {memcpy}",
        "mov rax, rdi",
        "std",
        "mov ecx, edx",
        "and ecx, 7",
        // The odd bytes at the end first, then quadwords downward.
        "lea rdi, [rdi + rdx - 1]",
        "lea rsi, [rsi + rdx - 1]",
        "rep movsb",
        "sub rdi, 7",
        "sub rsi, 7",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "cld",
        "ret",
        memcpy = sym memcpy,
    )
}

/// Fills `len` bytes with `byte`; returns `to`.
///
/// # Safety
///
/// As C's memset.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    naked_asm!(
        "mov r8, rdi",
        "movzx eax, sil",
        "mov rcx, 0x0101010101010101",
        "imul rax, rcx",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep stosq",
        "mov ecx, edx",
        "and ecx, 7",
        "rep stosb",
        "mov rax, r8",
        "ret",
    )
}

/// Compares `len` bytes: negative, zero or positive as the first difference is.
///
/// # Safety
///
/// As C's memcmp.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    naked_asm!(
        "cmp rdx, 8",
        "jb 2f",
        "1:",
        "mov rax, [rdi]",
        "mov rcx, [rsi]",
        "cmp rax, rcx",
        "jne 4f",
        "add rdi, 8",
        "add rsi, 8",
        "sub rdx, 8",
        "cmp rdx, 8",
        "jae 1b",
        "2:",
        "test rdx, rdx",
        "jz 3f",
        "movzx eax, byte ptr [rdi]",
        "movzx ecx, byte ptr [rsi]",
        "inc rdi",
        "inc rsi",
        "dec rdx",
        "sub eax, ecx",
        "jz 2b",
        "ret",
        "3:",
        "xor eax, eax",
        "ret",
        // As big-endian numbers, eight bytes compare as strings do.
        "4:",
        "bswap rax",
        "bswap rcx",
        "cmp rax, rcx",
        "sbb eax, eax",
        "or eax, 1",
        "ret",
    )
}

/// Compares `len` bytes: zero when they are equal.
///
/// # Safety
///
/// As memcmp.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
}
