//! From a file to a running program: what is in its memory, what is on its stack, and what a refusal leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use arch_x86::geometry::Geometry;
use hosted::kernel::HostFile;
use hosted::mmu;
use kernel_exec::elf::{Class, ElfError, Target};
use kernel_exec::load::{Credentials, LoadError, LoadRequest, LoadedImage, Platform, load};
use kernel_exec::stack::{StackError, StackLimits, StackString};
use kernel_fork::args::CloneArgs;
use mm_generic::frames::Frame;
use mm_generic::user::{Access, FaultDone, FaultError, STACK_GUARD_GAP, STACK_MAX};
use mm_generic::vma::VmaError;

use super::kernel::{TestKernel, cr3};
use super::program::{Piece, Program, R, W, X, target};
use super::world::{PAGE, Task, World, on_every_geometry};

/// Programs of this geometry's word size, and where their stacks end.
pub(crate) fn shape<G: Geometry>(world: &World<G>) -> (Class, u64) {
    let end = world.geometry.user_end() - PAGE;
    (if end >> 32 == 0 { Class::Elf32 } else { Class::Elf64 }, end)
}

const ARGV: [&[u8]; 3] = [b"sample", b"-x", b""];
const ENVP: [&[u8]; 2] = [b"HOME=/root", b"LANG=C"];
const RANDOM: [u8; 16] = *b"four by four dic";

pub(crate) fn request(target: &Target, stack_top: u64) -> LoadRequest<'_> {
    LoadRequest {
        target,
        stack_top,
        stack_limits: StackLimits::linux(STACK_MAX as usize),
        argv: &ARGV,
        envp: &ENVP,
        execfn: b"/bin/sample",
        credentials: Credentials { uid: 1, euid: 2, gid: 3, egid: 4, secure: true },
        platform: Platform { name: b"i686", hwcap: 0xfeed, clktck: 100 },
        random: RANDOM,
        vdso: None,
    }
}

pub(crate) fn load_file<G: Geometry>(
    world: &World<G>,
    bytes: &[u8],
    request: &LoadRequest<'_>,
) -> Result<LoadedImage<TestKernel<G>>, LoadError> {
    load(world.init_mm, &HostFile(Arc::from(bytes)), bytes, request)
}

/// Room for the stack and the gap below it.
fn target_below<G: Geometry>(world: &World<G>) -> Target {
    let (class, stack_top) = shape(world);
    target(class, stack_top - STACK_MAX - STACK_GUARD_GAP)
}

/// A program that runs on CPU 1, in a child of init.
struct Started<G: Geometry> {
    task: Task<G>,
    entry: u64,
    sp: u64,
    brk_start: u64,
    bias: u64,
}

fn start<G: Geometry>(world: &World<G>, program: &Program) -> Started<G> {
    let task = world.fork(&world.init(), &CloneArgs::FORK);
    world.load(1, &task);
    let target = target_below(world);
    let image = load_file(world, &program.to_bytes(), &request(&target, shape(world).1));
    let LoadedImage { mm, entry, sp, brk_start, bias } = image.expect("a good program");
    let root = mm.mm().root();
    drop(world.exec(&task, mm).expect("one user thread"));
    assert_eq!(cr3(), Some(root));
    Started { task, entry, sp, brk_start, bias }
}

on_every_geometry!(
    a_program_is_in_memory_what_it_is_in_its_file,
    programs_of_one_file_share_no_stores,
    the_stack_is_what_a_libc_expects,
    the_stack_grows_and_keeps_its_distance,
    the_stack_is_executable_where_the_file_says_so,
    refusals_leave_nothing,
    a_file_that_lost_its_bytes_is_a_bus_error,
);

fn a_program_is_in_memory_what_it_is_in_its_file<G: Geometry>(world: &'static World<G>) {
    for pie in [false, true] {
        let program = Program::sample(shape(world).0, pie);
        let started = start(world, &program);
        let target = target_below(world);
        assert_eq!(started.bias, if pie { target.pie_base } else { 0 });
        assert_eq!(started.entry, program.entry + started.bias);
        let pages = program.pages(started.bias);
        let last = *pages.keys().next_back().expect("a program has pages");
        assert_eq!(started.brk_start, last + PAGE);

        let mm = world.mm_of(&started.task);
        let root = mm.root();
        let mut frames = Vec::new();
        for (&page, expected) in &pages {
            let fault = |access| mm.user().fault(&mm, page, access);
            let reaches = |access| world.translate(root, page, access).is_ok();
            assert!(!reaches(mmu::Access::USER_READ), "{page:#x} is not read before it is touched");
            let is = |flag| expected.flags & flag != 0;
            if expected.flags == 0 {
                assert!(matches!(fault(Access::Read), Err(FaultError::Denied { .. })), "{page:#x}");
                continue;
            }
            assert_eq!(fault(Access::Read), Ok(FaultDone::PagedIn), "{page:#x}");
            let bytes = world.user_bytes(root, page, PAGE as usize);
            assert!(bytes == expected.bytes, "{page:#x} differs from the file");
            assert_eq!(fault(Access::Write).is_ok(), is(W), "{page:#x}");
            assert_eq!(reaches(mmu::Access::USER_WRITE), is(W), "{page:#x}");
            assert_eq!(fault(Access::Exec).is_ok(), is(X), "{page:#x}");
            assert_eq!(reaches(mmu::Access::USER_EXEC), is(X) || !G::HAS_NX, "{page:#x}");
            let phys = world.translate(root, page, mmu::Access::USER_READ).expect("paged in");
            frames.push(phys);
        }
        frames.sort_unstable();
        frames.dedup();
        assert_eq!(frames.len(), pages.values().filter(|page| page.flags != 0).count());
        // Nothing beside the program.
        for beside in pages.keys().flat_map(|page| [page - PAGE, page + PAGE]) {
            if !pages.contains_key(&beside) {
                assert!(mm.user().vmas().find(beside).is_none(), "{beside:#x}");
                assert!(mm.user().fault(&mm, beside, Access::Read).is_err(), "{beside:#x}");
            }
        }
        assert!(world.translate(root, started.entry, mmu::Access::USER_EXEC).is_ok());
        world.end_child(&world.init(), &started.task);
    }
}

fn programs_of_one_file_share_no_stores<G: Geometry>(world: &'static World<G>) {
    let program = Program::sample(shape(world).0, false);
    let first = start(world, &program).task;
    let second = start(world, &program).task;
    let forked = world.fork(&first, &CloneArgs::FORK);
    let addr = program.pieces[3].vaddr;
    let page = &program.pages(0)[&(addr - addr % PAGE)].bytes;
    let in_page = (addr % PAGE) as usize;
    let of_file = u32::from_le_bytes(page[in_page..in_page + 4].try_into().expect("four bytes"));
    world.store(&world.mm_of(&first), addr, 0x1111_1111);
    for task in [&second, &forked] {
        assert_eq!(world.user_word(&world.mm_of(task), addr), of_file);
    }
    world.store(&world.mm_of(&forked), addr, 0x2222_2222);
    assert_eq!(world.user_word(&world.mm_of(&first), addr), 0x1111_1111);
    world.end_child(&first, &forked);
    world.end_child(&world.init(), &second);
    world.end_child(&world.init(), &first);
}

/// Reads as `_start` does: from the stack pointer up, by pointers only.
struct Stack<'w, G: Geometry> {
    world: &'w World<G>,
    root: Frame,
    word: usize,
    at: u64,
}

impl<G: Geometry> Stack<'_, G> {
    fn next(&mut self) -> u64 {
        let bytes = self.world.user_bytes(self.root, self.at, self.word);
        self.at += self.word as u64;
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    }

    fn string(&self, addr: u64) -> Vec<u8> {
        (addr..)
            .map(|at| self.world.user_bytes(self.root, at, 1)[0])
            .take_while(|&byte| byte != 0)
            .collect()
    }

    fn strings(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| Some(self.next()).filter(|&addr| addr != 0))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|addr| self.string(addr))
            .collect()
    }
}

fn the_stack_is_what_a_libc_expects<G: Geometry>(world: &'static World<G>) {
    let (class, stack_top) = shape(world);
    for pie in [false, true] {
        let program = Program::sample(class, pie);
        let started = start(world, &program);
        let mm = world.mm_of(&started.task);
        assert_eq!(started.sp % 16, 0);
        let mut stack = Stack { world, root: mm.root(), word: class.word(), at: started.sp };
        assert_eq!(stack.next(), ARGV.len() as u64);
        assert_eq!(stack.strings(), ARGV);
        assert_eq!(stack.strings(), ENVP);
        let mut aux = BTreeMap::new();
        loop {
            match (stack.next(), stack.next()) {
                (0, _) => break,
                (tag, value) => assert_eq!(aux.insert(tag, value), None, "AT {tag} twice"),
            }
        }
        // AT_PAGESZ, AT_PHENT, AT_PHNUM, AT_BASE, AT_ENTRY, ids, AT_HWCAP, AT_CLKTCK, AT_SECURE.
        let values = [
            (6, PAGE),
            (4, program.phdr_len()),
            (5, program.phnum()),
            (7, 0),
            (9, started.entry),
            (11, 1),
            (12, 2),
            (13, 3),
            (14, 4),
            (16, 0xfeed),
            (17, 100),
            (23, 1),
        ];
        for (tag, value) in values {
            assert_eq!(aux.get(&tag), Some(&value), "AT {tag}");
        }
        // AT_SYSINFO_EHDR: there is no vDSO.
        assert!(!aux.contains_key(&33));
        // AT_RANDOM, AT_EXECFN, AT_PLATFORM.
        assert_eq!(world.user_bytes(mm.root(), aux[&25], 16), RANDOM);
        assert_eq!(stack.string(aux[&31]), b"/bin/sample");
        assert_eq!(stack.string(aux[&15]), b"i686");
        // AT_PHDR: the table itself, in the program's own memory.
        mm.user().fault(&mm, aux[&3], Access::Read).expect("the headers are loaded");
        let phdrs = program.phdrs();
        let in_memory = world.user_bytes(mm.root(), aux[&3], phdrs.len());
        assert_eq!(in_memory, program.to_bytes()[phdrs]);
        // The last word is zero, and the stack ends behind it.
        stack.at = stack_top - class.word() as u64;
        assert_eq!(stack.next(), 0);
        assert!(world.translate(mm.root(), stack_top, mmu::Access::USER_READ).is_err());
        world.end_child(&world.init(), &started.task);
    }
}

fn the_stack_grows_and_keeps_its_distance<G: Geometry>(world: &'static World<G>) {
    let program = Program::sample(shape(world).0, false);
    let started = start(world, &program);
    let mm = world.mm_of(&started.task);
    let base = started.sp - started.sp % PAGE;
    let store = |addr| mm.user().fault(&mm, addr, Access::Write);
    assert!(mm.user().vmas().find(base - 1).is_none(), "as much as it has contents for");
    assert_eq!(store(base - 1), Ok(FaultDone::PagedIn));
    assert_eq!(store(shape(world).1 - STACK_MAX), Ok(FaultDone::PagedIn));
    let beyond = shape(world).1 - STACK_MAX - 1;
    assert!(matches!(store(beyond), Err(FaultError::StackLimit { .. })));
    world.end_child(&world.init(), &started.task);
}

fn the_stack_is_executable_where_the_file_says_so<G: Geometry>(world: &'static World<G>) {
    let class = shape(world).0;
    // Without a PT_GNU_STACK, i386 has an executable stack.
    for (stack, exec) in
        [(Some(R | W), false), (Some(R | W | X), true), (None, class == Class::Elf32)]
    {
        let program = Program { stack, ..Program::sample(class, false) };
        let started = start(world, &program);
        let reaches =
            |access| world.translate(world.mm_of(&started.task).root(), started.sp, access).is_ok();
        assert!(reaches(mmu::Access::USER_WRITE));
        assert_eq!(reaches(mmu::Access::USER_EXEC), exec || !G::HAS_NX);
        world.end_child(&world.init(), &started.task);
    }
}

fn refusals_leave_nothing<G: Geometry>(world: &'static World<G>) {
    let (class, stack_top) = shape(world);
    let good = Program::sample(class, false);
    let near = target_below(world);
    let refuse = |program: &Program, request: &LoadRequest<'_>| {
        let before = world.account();
        let refused = load_file(world, &program.to_bytes(), request).map(drop);
        assert_eq!(world.account(), before);
        refused.expect_err("a program that cannot run")
    };
    let with = |piece: Piece| {
        let mut program = good.clone();
        program.pieces.push(piece);
        program
    };
    let page_at = |vaddr| with(Piece { flags: R | W, vaddr, filesz: 8, memsz: PAGE });

    // The file: any prefix of it that lacks a header or a segment, and what the parser refuses.
    let bytes = good.to_bytes();
    for len in (0..bytes.len()).step_by(97) {
        let before = world.account();
        let refused = load_file(world, &bytes[..len], &request(&near, stack_top)).map(drop);
        assert!(matches!(refused, Err(LoadError::Elf(_))), "{len} bytes: {refused:?}");
        assert_eq!(world.account(), before);
    }
    let entry = good.pieces[0].vaddr;
    let refused = refuse(&Program { entry, ..good.clone() }, &request(&near, stack_top));
    assert_eq!(refused, LoadError::Elf(ElfError::EntryNotExecutable { entry }));
    let other = match class {
        Class::Elf32 => Class::Elf64,
        Class::Elf64 => Class::Elf32,
    };
    let refused = refuse(&Program::sample(other, false), &request(&near, stack_top));
    assert!(matches!(refused, LoadError::Elf(ElfError::WrongClass { .. })));

    // The arguments.
    let limits = StackLimits { max_bytes: 64, max_string: 64 };
    let refused = refuse(&good, &LoadRequest { stack_limits: limits, ..request(&near, stack_top) });
    assert!(matches!(refused, LoadError::Stack(StackError::TooBig { limit: 64, .. })));
    let argv: [&[u8]; 1] = [b"a\0b"];
    let refused = refuse(&good, &LoadRequest { argv: &argv, ..request(&near, stack_top) });
    let error = StackError::InteriorNul { which: StackString::Arg(0), position: 1 };
    assert_eq!(refused, LoadError::Stack(error));
    let refused = refuse(&good, &request(&near, stack_top - 1));
    assert_eq!(refused, LoadError::Stack(StackError::BadTop { stack_top: stack_top - 1 }));

    // Addresses that the geometry does not have, below and above.
    let all = Target { user: 0..stack_top + PAGE, ..near.clone() };
    for vaddr in [PAGE, stack_top] {
        let refused = refuse(&page_at(vaddr), &request(&all, stack_top - PAGE));
        let outside = matches!(&refused,
            LoadError::MapSegment(VmaError::OutsideUser { start, .. }) if *start == vaddr);
        assert!(outside, "{refused:?}");
    }
    let refused = refuse(&good, &request(&near, stack_top + PAGE));
    assert!(matches!(refused, LoadError::MapStack(VmaError::OutsideUser { .. })), "{refused:?}");

    // A segment in the stack's way, and one that does not let it grow.
    let refused = refuse(&page_at(stack_top - PAGE), &request(&all, stack_top));
    assert!(matches!(refused, LoadError::MapStack(VmaError::Overlap { .. })), "{refused:?}");
    let below = stack_top - PAGE - STACK_GUARD_GAP;
    let refused = refuse(&page_at(below - PAGE), &request(&all, stack_top));
    assert_eq!(refused, LoadError::StackGuard { base: stack_top - PAGE, below });
    // A page further down there is room for one page more, and no more.
    let program = page_at(below - 2 * PAGE);
    let image = load_file(world, &program.to_bytes(), &request(&all, stack_top));
    let mm = image.expect("room enough").mm;
    let store = |addr| mm.user().fault(mm.mm(), addr, Access::Write);
    let base = stack_top - PAGE;
    assert_eq!(store(base - 1), Ok(FaultDone::PagedIn));
    assert!(matches!(store(base - PAGE - 1), Err(FaultError::StackGuard { .. })));
}

/// The file is longer when it is checked than when its pages are read.
fn a_file_that_lost_its_bytes_is_a_bus_error<G: Geometry>(world: &'static World<G>) {
    let program = Program::sample(shape(world).0, false);
    let bytes = program.to_bytes();
    let target = target_below(world);
    let lost = HostFile(Arc::from(&bytes[..0x1800]));
    let image = load(world.init_mm, &lost, &bytes, &request(&target, shape(world).1));
    let mm = image.expect("nothing of the file is read yet").mm;
    let text = program.pieces[1].vaddr;
    assert!(mm.user().fault(mm.mm(), program.pieces[0].vaddr, Access::Read).is_ok());
    for page in [text, text + PAGE] {
        let fault = mm.user().fault(mm.mm(), page, Access::Exec);
        assert!(matches!(fault, Err(FaultError::Object { addr, .. }) if addr == page), "{fault:?}");
    }
}
