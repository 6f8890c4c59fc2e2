//! The kernel's own access to user memory.

use hosted::mmu;
use mm_generic::arch::ArchPgd;
use mm_generic::user::{Access, FaultError};

use super::kernel::Pattern;
use super::world::{PAGE, PRIVATE, R, RW, World, on_every_mmu};

on_every_mmu!(
    bytes_cross_pages_both_ways,
    the_programs_rights_bind_the_kernel,
    what_the_kernel_stores_is_copied_on_write,
    a_string_is_read_up_to_its_zero_byte,
);

fn bytes_cross_pages_both_ways<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - 2 * PAGE;
    process.map(base..base + 4 * PAGE, RW, PRIVATE);
    let bytes: Vec<u8> = (0..2 * PAGE + 100).map(|at| (at % 251) as u8).collect();
    let addr = base + PAGE - 33;
    process.user().write_bytes(&process.mm, addr, &bytes).unwrap();
    for at in [0, 32, 33, 34, PAGE + 32, PAGE + 33, 2 * PAGE + 99] {
        assert_eq!(process.load(addr + at), Ok(bytes[at as usize]), "byte {at}");
    }
    let mut back = vec![0; bytes.len()];
    process.user().read_bytes(&process.mm, addr, &mut back).unwrap();
    assert_eq!(back, bytes);
    assert_eq!(process.load(addr - 1), Ok(0));
}

fn the_programs_rights_bind_the_kernel<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - PAGE;
    process.map(base..base + PAGE, RW, PRIVATE);
    process.map(base + PAGE..base + 2 * PAGE, R, PRIVATE);
    let mut user = process.user();
    let addr = base + PAGE;
    assert_eq!(
        user.write_bytes(&process.mm, addr - 3, &[1; 8]),
        Err(FaultError::Denied { addr, access: Access::Write, prot: R })
    );
    let mut bytes = [0xff; 8];
    user.read_bytes(&process.mm, addr - 3, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 1, 1, 0, 0, 0, 0, 0], "what comes before the fault is stored");
    let end = base + 2 * PAGE;
    assert_eq!(
        user.read_bytes(&process.mm, end - 4, &mut bytes),
        Err(FaultError::NotMapped { addr: end })
    );
    let kernel = world.kernel_start();
    assert_eq!(
        user.write_bytes(&process.mm, kernel, &[1]),
        Err(FaultError::NotMapped { addr: kernel })
    );
    assert!(user.read_bytes(&process.mm, u64::MAX - 1, &mut bytes).is_err());
    assert_eq!(user.read_bytes(&process.mm, kernel, &mut []), Ok(()), "no byte, no fault");
}

fn what_the_kernel_stores_is_copied_on_write<A: ArchPgd>(world: &World<A>) {
    let addr = world.seam();
    let parent = world.process();
    parent.map(addr..addr + PAGE, RW, PRIVATE);
    parent.store(addr, 1).unwrap();
    let child = parent.fork();
    child.user().write_bytes(&child.mm, addr, &[2]).unwrap();
    assert_eq!((parent.load(addr), child.load(addr)), (Ok(1), Ok(2)));
    // Into a child that shows nothing there yet.
    child.user().write_bytes(&child.mm, addr + 1, &[3]).unwrap();
    assert_ne!(
        parent.translate(addr, mmu::Access::USER_READ),
        child.translate(addr, mmu::Access::USER_READ)
    );
}

fn a_string_is_read_up_to_its_zero_byte<A: ArchPgd>(world: &World<A>) {
    let process = world.process();
    let base = world.seam() - PAGE;
    process.map(base..base + 2 * PAGE, RW, PRIVATE);
    let mut user = process.user();
    let mm = &process.mm;
    // The string ends with the last byte of the mapping: what follows is never touched.
    let end = base + 2 * PAGE;
    user.write_bytes(mm, end - 6, b"hello\0").unwrap();
    let mut buf = [0xff; 64];
    assert_eq!(user.read_string(mm, end - 6, &mut buf), Ok(Some(5)));
    assert_eq!(&buf[..6], b"hello\0");
    assert_eq!(user.read_string(mm, end - 6, &mut buf[..5]), Ok(None));
    assert_eq!(user.read_string(mm, end - 6, &mut buf[..6]), Ok(Some(5)));
    user.write_bytes(mm, base + PAGE - 2, b"across\0").unwrap();
    assert_eq!(user.read_string(mm, base + PAGE - 2, &mut buf), Ok(Some(6)));
    assert_eq!(&buf[..6], b"across");
    user.write_bytes(mm, end - 2, b"xy").unwrap();
    assert_eq!(user.read_string(mm, end - 2, &mut buf), Err(FaultError::NotMapped { addr: end }));
    drop(user);
    let file = Pattern { seed: 0, bad_from: 0 };
    process.map_file(base..base + PAGE, R, PRIVATE, (file, 0, PAGE));
    let result = process.user().read_string(mm, base, &mut buf);
    assert!(matches!(result, Err(FaultError::Object { .. })));
}
