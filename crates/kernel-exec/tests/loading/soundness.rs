//! What every plan promises, however odd the file it came from.

use kernel_exec::elf::{LoadPlan, PAGE_SIZE, Target};
use mm_generic::prot::Prot;

pub(crate) fn assert_sound(plan: &LoadPlan, file: &[u8], target: &Target) {
    assert!(!plan.segments.is_empty(), "a plan maps something");
    for segment in &plan.segments {
        let size = segment.range.end - segment.range.start;
        assert!(segment.range.start < segment.range.end, "{segment:x?}");
        assert_eq!(segment.range.start % PAGE_SIZE, 0, "{segment:x?}");
        assert_eq!(segment.range.end % PAGE_SIZE, 0, "{segment:x?}");
        assert!(target.user.start <= segment.range.start, "{segment:x?}");
        assert!(segment.range.end <= target.user.end, "{segment:x?}");
        assert_eq!(segment.file_offset as u64 % PAGE_SIZE, 0, "{segment:x?}");
        assert!(segment.file_len as u64 <= size, "{segment:x?}");
        assert!(segment.file_offset + segment.file_len <= file.len(), "{segment:x?}");
    }
    for pair in plan.segments.windows(2) {
        assert!(pair[0].range.end <= pair[1].range.start, "{pair:x?}");
    }

    let entered = plan.segments.iter().find(|segment| segment.range.contains(&plan.entry));
    assert!(entered.is_some_and(|segment| segment.prot.contains(Prot::EXEC)), "{plan:x?}");
    assert_eq!(plan.brk_start, plan.segments.last().expect("checked above").range.end);
    assert_eq!(plan.bias % PAGE_SIZE, 0);

    if let Some(phdr) = plan.phdr {
        let end = phdr + u64::from(plan.phentsize) * u64::from(plan.phnum);
        let holds = plan.segments.iter().any(|segment| {
            segment.range.start <= phdr && end <= segment.range.start + segment.file_len as u64
        });
        assert!(holds, "AT_PHDR names file bytes: {plan:x?}");
    }
}

/// The memory that a plan makes of a file: pages by address, as exec would fill them.
pub(crate) fn load(plan: &LoadPlan, file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    plan.segments
        .iter()
        .map(|segment| {
            let size = (segment.range.end - segment.range.start) as usize;
            let mut memory = file[segment.file_offset..][..segment.file_len].to_vec();
            memory.resize(size, 0);
            (segment.range.start, memory)
        })
        .collect()
}
