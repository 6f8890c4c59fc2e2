//! Any start and length, in every geometry: growths of the kernel half, and edits of the user half. What is taken and what is
//! refused is computed here with 128-bit numbers; a refusal must have changed nothing.
#![no_main]

use arch_x86::geometry::{Geometry, LongMode, PaePrivate, PaeShared, TwoLevel};
use fuzz::{Ground, Input};
use hosted::frames::HostFrames;
use hosted::mmu::MmuKind;
use libfuzzer_sys::fuzz_target;
use mm_generic::arch::ArchPgd;
use mm_generic::growth::GrowError;
use mm_generic::kernel_range::RangeError;
use mm_generic::prot::Prot;
use mm_generic::vma::{Backing, Vma, VmaFlags};

thread_local! {
    static FRAMES: &'static HostFrames = HostFrames::new(4096).checked().leak();
}

const PAGE: u64 = 4096;

fn run<G: Geometry>(geometry: G, kind: MmuKind, span: u64, input: &mut Input) {
    let ground = Ground::boot(geometry, FRAMES.with(|frames| *frames));
    let init_mm = ground.world.init_mm();
    let half = init_mm.arch().kernel_half();
    let mm = ground.init.mm().expect("a user task");
    for _ in 0..24 {
        if input.is_over() {
            break;
        }
        let kernel = input.byte() & 1 == 0;
        let first = if kernel { half.first } else { 0x40_0000 };
        let (start, len) = (input.extent(first, span), input.extent(0, span));
        let end = u128::from(start) + u128::from(len);
        let whole = start % PAGE == 0 && len % PAGE == 0;
        if kernel {
            let inside = start >= half.first && end <= u128::from(half.last) + 1;
            let before = ground.world.frames().allocated();
            let asked = if fuzz::is_planted("rounds-down") { start - start % PAGE } else { start };
            match init_mm.grow(asked, len) {
                Ok(range) => {
                    assert!(whole && len > 0 && inside, "{start:#x} {len:#x}");
                    assert_eq!((range.start(), range.len()), (start, len));
                    assert!(
                        range.contains(start) && range.has_page((end - 1) as u64 & !(PAGE - 1))
                    );
                    assert!(end > u128::from(u64::MAX) || !range.contains(end as u64));
                }
                Err(GrowError::Range(error)) => {
                    assert_eq!(before, ground.world.frames().allocated());
                    match error {
                        RangeError::Empty { .. } => assert_eq!(len, 0),
                        RangeError::Unaligned { .. } => assert!(!whole),
                        RangeError::OutsideKernelHalf { .. } => {
                            assert!(!inside, "{start:#x} {len:#x}")
                        }
                    }
                }
                // Not more than the frames of this kernel.
                Err(GrowError::Populate(_)) => assert!(whole && inside && len > 0),
            }
            continue;
        }
        let mut user = mm.user();
        let limits = user.vmas().limits();
        let (before, mapped) = (user.vmas().len(), user.vmas().mapped_bytes());
        let Ok(end) = u64::try_from(end) else { continue };
        let inside = limits.start <= start && end <= limits.end;
        let rights = Prot::READ | Prot::WRITE;
        let taken = match input.byte() % 4 {
            0 => match Vma::new(start..end, rights, VmaFlags::empty(), Backing::Anonymous) {
                Ok(vma) => user.mmap(vma).is_ok(),
                Err(_) => {
                    assert!(!whole || len == 0, "{start:#x}..{end:#x}");
                    false
                }
            },
            1 => {
                let taken = user.munmap(&mm, start..end).is_ok();
                assert_eq!(taken, whole && inside && len > 0, "{start:#x}..{end:#x}");
                taken
            }
            2 => user.mprotect(&mm, start..end, Prot::READ).is_ok(),
            _ => user.brk(&mm, start, end).is_ok(),
        };
        assert!(!taken || (whole && inside), "{start:#x}..{end:#x}");
        if !taken {
            assert_eq!((before, mapped), (user.vmas().len(), user.vmas().mapped_bytes()));
        }
        if let Ok(gap) = user.vmas().find_gap(len, Some(start), limits.end) {
            assert!(
                limits.start <= gap && gap.checked_add(len).is_some_and(|end| end <= limits.end)
            );
            let overlaps = |vma: &Vma<_>| vma.start() < gap + len && gap < vma.end();
            assert!(!user.vmas().iter().any(overlaps), "{gap:#x}");
        }
        let mut last = 0;
        for vma in user.vmas().iter() {
            assert!(last <= vma.start() && vma.start() < vma.end() && vma.end() <= limits.end);
            last = vma.end();
        }
        assert_eq!(user.vmas().iter().map(Vma::size).sum::<u64>(), user.vmas().mapped_bytes());
    }
    drop(mm);
    ground.end(kind);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    match input.byte() % 5 {
        0 => run(TwoLevel, MmuKind::TwoLevel, 4 << 20, &mut input),
        1 => run(PaeShared, MmuKind::Pae, 1 << 30, &mut input),
        2 => run(PaePrivate, MmuKind::Pae, 2 << 20, &mut input),
        3 => run(LongMode::FOUR_LEVEL, MmuKind::FourLevel, 512 << 30, &mut input),
        _ => run(LongMode::FIVE_LEVEL, MmuKind::FiveLevel, 256 << 40, &mut input),
    }
});
