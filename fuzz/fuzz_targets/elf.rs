//! Any file, in any of the two machines' kernels: no panic, a plan that keeps its promises, an mm that holds the plan and
//! nothing else, and no frame left behind.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use arch_x86::geometry::LongMode;
use fuzz::Ground;
use hosted::frames::HostFrames;
use hosted::kernel::HostFile;
use kernel_exec::elf::{self, Class, LoadPlan, Machine, Target};
use kernel_exec::load::{Credentials, LoadRequest, Platform, load};
use kernel_exec::stack::StackLimits;
use libfuzzer_sys::fuzz_target;
use mm_generic::frames::PAGE_SIZE;
use mm_generic::prot::Prot;

thread_local! {
    // Never dropped: at the thread's end, the thread-locals that it would need are gone.
    static GROUND: RefCell<Option<&'static Ground<LongMode>>> = const { RefCell::new(None) };
}

fn target(choice: u8) -> (Target, u64) {
    let (class, machine, pie_base, top) = if choice & 1 == 0 {
        (Class::Elf64, Machine::X86_64, 0x5555_5555_4000, (1 << 47) - PAGE_SIZE)
    } else {
        (Class::Elf32, Machine::I386, 0x5655_5000, 0xc000_0000)
    };
    (Target { class, machine, user: 0x1_0000..top - (16 << 20), pie_base }, top)
}

fn check_plan(plan: &LoadPlan, file: &[u8], target: &Target) {
    let mut end = target.user.start;
    for segment in &plan.segments {
        let range = &segment.range;
        assert!(
            end <= range.start && range.start < range.end && range.end <= target.user.end,
            "{plan:?}"
        );
        assert!(range.start % PAGE_SIZE == 0 && range.end % PAGE_SIZE == 0, "{plan:?}");
        assert!(segment.file_offset as u64 % PAGE_SIZE == 0, "{plan:?}");
        assert!(segment.file_len as u64 <= range.end - range.start, "{plan:?}");
        if segment.file_len > 0 {
            let last = segment.file_offset.checked_add(segment.file_len);
            assert!(last.is_some_and(|last| last <= file.len()), "{plan:?}");
        }
        end = range.end;
    }
    assert_eq!(plan.brk_start, end);
    let entry = plan.segments.iter().find(|segment| segment.range.contains(&plan.entry));
    assert!(entry.is_some_and(|segment| segment.prot.contains(Prot::EXEC)), "{plan:?}");
    if let Some(phdr) = plan.phdr {
        let bytes = u64::from(plan.phentsize) * u64::from(plan.phnum);
        let holds = |segment: &elf::Segment| {
            segment.range.start <= phdr
                && phdr + bytes <= segment.range.start + segment.file_len as u64
        };
        assert!(plan.segments.iter().any(holds), "{plan:?}");
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, file)) = data.split_first() else { return };
    let (target, stack_top) = target(choice);
    let plan = elf::parse(file, &target);
    if let Ok(plan) = &plan {
        check_plan(plan, file, &target);
    }
    GROUND.with_borrow_mut(|ground| {
        let ground = ground.get_or_insert_with(|| {
            let frames = HostFrames::new(4096).checked().leak();
            &*Box::leak(Box::new(Ground::boot(LongMode::FOUR_LEVEL, frames)))
        });
        let frames = ground.world.frames();
        let before = frames.allocated();
        let argument = [b'a'; 300];
        let argv: Vec<&[u8]> = (0..choice >> 1 & 3).map(|_| &argument[..]).collect();
        let request = LoadRequest {
            target: &target,
            stack_top,
            stack_limits: StackLimits::linux(8 << 20),
            argv: &argv,
            envp: &[b"HOME=/"],
            execfn: b"/sample",
            credentials: Credentials::default(),
            platform: Platform { name: b"x86_64", hwcap: 0, clktck: 100 },
            random: [7; 16],
            vdso: None,
        };
        if choice & 8 != 0 {
            frames.fail_after(u64::from(choice >> 4));
        }
        let mut object = file.to_vec();
        if fuzz::is_planted("other-bytes") {
            object.iter_mut().for_each(|byte| *byte ^= 0xff);
        }
        let loaded = load(ground.world.init_mm(), &HostFile(Arc::from(object)), file, &request);
        frames.fail_never();
        match (&plan, loaded) {
            (Err(error), Ok(_)) => panic!("loaded although {error}"),
            (_, Err(_)) => {}
            (Ok(plan), Ok(image)) => {
                assert_eq!(
                    (image.entry, image.brk_start, image.bias),
                    (plan.entry, plan.brk_start, plan.bias)
                );
                let mut user = image.mm.user();
                for segment in &plan.segments {
                    // The ends of what comes from the file, and the first byte that does not.
                    let file_end = segment.range.start + segment.file_len as u64;
                    for addr in [
                        segment.range.start,
                        file_end.saturating_sub(1),
                        file_end,
                        segment.range.end - 1,
                    ] {
                        if !segment.range.contains(&addr) || !segment.prot.contains(Prot::READ) {
                            continue;
                        }
                        let mut byte = [0xaa];
                        user.read_bytes(image.mm.mm(), addr, &mut byte).expect("frames enough");
                        let at = (addr - segment.range.start) as usize;
                        let expected =
                            if at < segment.file_len { file[segment.file_offset + at] } else { 0 };
                        assert_eq!(byte, [expected], "{addr:#x} of {segment:?}");
                    }
                }
                let mut count = [0; 8];
                user.read_bytes(image.mm.mm(), image.sp, &mut count[..target.class.word()])
                    .expect("a stack");
                // A program always has a name, if an empty one.
                assert_eq!(u64::from_le_bytes(count), argv.len().max(1) as u64, "argc");
            }
        }
        ground.settle();
        assert_eq!(frames.allocated(), before, "frames are left");
    });
});
