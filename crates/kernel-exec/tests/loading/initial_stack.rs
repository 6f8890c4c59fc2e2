//! Stacks as a program reads them, and stacks that must not be built.

use kernel_exec::elf::Class;
use kernel_exec::stack::{
    ARG_CEILING, ARG_MAX, AuxValues, InitialStack, MAX_ARG_STRLEN, StackError, StackImage,
    StackLimits, StackString,
};
use proptest::prelude::*;

use crate::stack_reader::{Found, Memory};

const CLASSES: [Class; 2] = [Class::Elf32, Class::Elf64];

const RANDOM: [u8; 16] = *b"\x01\x00seed of canary";

fn aux() -> AuxValues<'static> {
    AuxValues {
        phdr: 0x40_0040,
        phent: 56,
        phnum: 9,
        pagesz: 4096,
        base: 0,
        entry: 0x40_1010,
        uid: 1000,
        euid: 1001,
        gid: 100,
        egid: 101,
        secure: true,
        hwcap: 0x178b_fbff,
        clktck: 250,
        platform: b"x86_64",
        random: RANDOM,
        execfn: b"/bin/true",
        sysinfo_ehdr: None,
    }
}

fn stack<'a>(class: Class, argv: &'a [&'a [u8]], envp: &'a [&'a [u8]]) -> InitialStack<'a> {
    let stack_top = match class {
        Class::Elf32 => 0xc000_0000,
        Class::Elf64 => 0x7fff_ffff_f000,
    };
    InitialStack { class, stack_top, limits: StackLimits::linux(8 << 20), argv, envp, aux: aux() }
}

fn read(stack: &InitialStack<'_>, image: &StackImage) -> Found {
    Memory { class: stack.class, base: image.base, bytes: &image.bytes }.read(image.sp)
}

fn texts(found: &[(u64, Vec<u8>)]) -> Vec<&[u8]> {
    found.iter().map(|(_, text)| text.as_slice()).collect()
}

fn assert_sound(stack: &InitialStack<'_>, image: &StackImage) {
    assert_eq!(image.sp % 16, 0, "the psABI wants the stack pointer aligned at entry");
    assert_eq!(image.base, image.sp / 4096 * 4096);
    assert_eq!(image.base + image.bytes.len() as u64, stack.stack_top);
    let below = (image.sp - image.base) as usize;
    assert!(image.bytes[..below].iter().all(|&byte| byte == 0), "below the stack pointer");
}

#[test]
fn a_program_finds_its_arguments_its_environment_and_its_auxv() {
    for class in CLASSES {
        let argv: [&[u8]; 3] = [b"ls", b"", b"-l \xff"];
        let envp: [&[u8]; 2] = [b"HOME=/", b"PATH=/bin"];
        let stack = stack(class, &argv, &envp);
        let image = stack.build().expect("it is small");
        assert_sound(&stack, &image);
        let found = read(&stack, &image);
        let memory = Memory { class, base: image.base, bytes: &image.bytes };

        assert_eq!(texts(&found.argv), argv);
        assert_eq!(texts(&found.envp), envp);
        let pointer = |tag| found.aux(tag).expect("the pair is there");
        assert_eq!(memory.random(pointer(25)), RANDOM);
        assert_eq!(memory.string(pointer(31)), b"/bin/true");
        assert_eq!(memory.string(pointer(15)), b"x86_64");
        let values: Vec<_> =
            found.auxv.iter().copied().filter(|(tag, _)| ![25, 31, 15].contains(tag)).collect();
        assert_eq!(
            values,
            [
                (16, 0x178b_fbff), // AT_HWCAP
                (6, 4096),         // AT_PAGESZ
                (17, 250),         // AT_CLKTCK
                (3, 0x40_0040),    // AT_PHDR
                (4, 56),           // AT_PHENT
                (5, 9),            // AT_PHNUM
                (7, 0),            // AT_BASE
                (8, 0),            // AT_FLAGS
                (9, 0x40_1010),    // AT_ENTRY
                (11, 1000),        // AT_UID
                (12, 1001),        // AT_EUID
                (13, 100),         // AT_GID
                (14, 101),         // AT_EGID
                (23, 1),           // AT_SECURE
            ]
        );
    }
}

#[test]
fn the_vdso_is_announced_only_if_there_is_one() {
    let mut stack = stack(Class::Elf64, &[b"a"], &[]);
    let image = stack.build().expect("small");
    assert_eq!(read(&stack, &image).aux(33), None);
    stack.aux.sysinfo_ehdr = Some(0x7fff_0000_0000);
    let image = stack.build().expect("small");
    assert_eq!(read(&stack, &image).auxv[0], (33, 0x7fff_0000_0000));
}

#[test]
fn argument_strings_run_on_into_environment_strings_up_to_the_top() {
    // setproctitle overwrites both as one buffer; /proc/pid/cmdline relies on it too.
    let stack = stack(Class::Elf64, &[b"one", b"two"], &[b"A=1", b"B="]);
    let image = stack.build().expect("small");
    let tail = b"one\0two\0A=1\0B=\0/bin/true\0\0\0\0\0\0\0\0\0";
    assert!(image.bytes.ends_with(tail));
}

#[test]
fn a_program_without_arguments_gets_one_empty_argument() {
    // CVE-2021-4034: pkexec read envp[0] as argv[1].
    for class in CLASSES {
        let stack = stack(class, &[], &[b"X=1"]);
        let image = stack.build().expect("small");
        let found = read(&stack, &image);
        assert_eq!(texts(&found.argv), [b""]);
        assert_eq!(texts(&found.envp), [b"X=1"]);
    }
}

#[test]
fn the_limit_is_on_bytes_from_the_stack_pointer_to_the_top() {
    for class in CLASSES {
        let mut stack = stack(class, &[b"prog", b"argument"], &[b"A=B"]);
        let image = stack.build().expect("small");
        let need = (stack.stack_top - image.sp) as usize;
        stack.limits.max_bytes = need;
        assert_eq!(stack.build().as_ref(), Ok(&image));
        stack.limits.max_bytes = need - 1;
        assert_eq!(stack.build(), Err(StackError::TooBig { need, limit: need - 1 }));
    }
}

#[test]
fn a_stack_does_not_reach_below_address_zero() {
    let argument = [b'a'; 8000];
    let argv: [&[u8]; 1] = [&argument];
    let low = InitialStack { stack_top: 0x2000, ..stack(Class::Elf64, &argv, &[]) };
    let error = low.build().expect_err("8000 bytes and the vectors do not fit in 8192");
    assert!(matches!(error, StackError::TooBig { limit: 0x2000, .. }), "{error}");
    let nowhere = InitialStack { stack_top: 0, ..low };
    assert!(matches!(nowhere.build(), Err(StackError::TooBig { limit: 0, .. })));
}

#[test]
fn a_string_may_be_as_long_as_the_limit_with_its_nul() {
    let long = vec![b'x'; MAX_ARG_STRLEN];
    let fits: &[u8] = &long[1..];
    let argv: [&[u8]; 2] = [b"p", fits];
    stack(Class::Elf64, &argv, &[]).build().expect("exactly the limit");

    let error =
        |which| StackError::StringTooLong { which, len: MAX_ARG_STRLEN + 1, limit: MAX_ARG_STRLEN };
    let argv: [&[u8]; 2] = [b"p", &long];
    assert_eq!(stack(Class::Elf64, &argv, &[]).build(), Err(error(StackString::Arg(1))));
    let envp: [&[u8]; 3] = [b"", b"", &long];
    assert_eq!(stack(Class::Elf64, &[], &envp).build(), Err(error(StackString::Env(2))));
    let mut named = stack(Class::Elf64, &[], &[]);
    named.aux.execfn = &long;
    assert_eq!(named.build(), Err(error(StackString::ExecFn)));
}

#[test]
fn a_nul_within_a_string_is_named_by_place_and_position() {
    let nul = |which, position| Err(StackError::InteriorNul { which, position });
    let class = Class::Elf64;
    assert_eq!(stack(class, &[b"p", b"ab\0c\0"], &[]).build(), nul(StackString::Arg(1), 2));
    assert_eq!(stack(class, &[b"p"], &[b"\0"]).build(), nul(StackString::Env(0), 0));
    let mut named = stack(class, &[b"p"], &[]);
    named.aux.execfn = b"/bin/x\0";
    assert_eq!(named.build(), nul(StackString::ExecFn, 6));
    named.aux.execfn = b"/bin/x";
    named.aux.platform = b"x86\0_64";
    assert_eq!(named.build(), nul(StackString::Platform, 3));
    assert_eq!(
        StackError::InteriorNul { which: StackString::Arg(1), position: 2 }.to_string(),
        "argv[1] has a NUL at byte 2"
    );
}

#[test]
fn a_top_that_is_no_page_boundary_of_the_class_is_refused() {
    for (class, stack_top) in [
        (Class::Elf64, 0x7fff_ffff_eff0),
        (Class::Elf32, 0xc000_0001),
        (Class::Elf32, 0x1_0000_1000),
    ] {
        let bad = InitialStack { stack_top, ..stack(class, &[], &[]) };
        assert_eq!(bad.build(), Err(StackError::BadTop { stack_top }));
    }
    let highest = InitialStack { stack_top: 1 << 32, ..stack(Class::Elf32, &[b"p"], &[]) };
    let image = highest.build().expect("a 32-bit stack may end at 4 GiB");
    assert_eq!(texts(&read(&highest, &image).argv), [b"p"]);
}

#[test]
fn a_value_that_a_32_bit_word_cannot_hold_is_refused() {
    let mut narrow = stack(Class::Elf32, &[b"p"], &[]);
    narrow.aux.phdr = 0xffff_ffff;
    narrow.build().expect("the widest word");
    narrow.aux.phdr = 1 << 32;
    assert_eq!(narrow.build(), Err(StackError::ValueTooWide { tag: 3, value: 1 << 32 }));
    narrow.class = Class::Elf64;
    narrow.build().expect("64-bit words hold it");
}

#[test]
fn linux_gives_arguments_a_quarter_of_the_stack_within_bounds() {
    assert_eq!(StackLimits::linux(8 << 20).max_bytes, 2 << 20);
    assert_eq!(StackLimits::linux(4096).max_bytes, ARG_MAX);
    assert_eq!(StackLimits::linux(usize::MAX).max_bytes, ARG_CEILING);
    assert_eq!(StackLimits::linux(0).max_string, 131_072);
}

fn strings() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(1..=u8::MAX, 0..300), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_in_comes_out_again(
        wide in any::<bool>(),
        argv in strings(),
        envp in strings(),
        execfn in prop::collection::vec(1..=u8::MAX, 0..300),
        platform in prop::collection::vec(1..=u8::MAX, 0..20),
        random in any::<[u8; 16]>(),
        vdso in prop::option::of(1..0xc000_0000_u64),
    ) {
        let class = if wide { Class::Elf64 } else { Class::Elf32 };
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        let envp: Vec<&[u8]> = envp.iter().map(Vec::as_slice).collect();
        let mut stack = stack(class, &argv, &envp);
        stack.aux.execfn = &execfn;
        stack.aux.platform = &platform;
        stack.aux.random = random;
        stack.aux.sysinfo_ehdr = vdso;

        let image = stack.build().expect("far below the limits");
        assert_sound(&stack, &image);
        let found = read(&stack, &image);
        let memory = Memory { class, base: image.base, bytes: &image.bytes };
        if argv.is_empty() {
            prop_assert_eq!(texts(&found.argv), [b""]);
        } else {
            prop_assert_eq!(texts(&found.argv), argv);
        }
        prop_assert_eq!(texts(&found.envp), envp);
        prop_assert_eq!(found.aux(33), vdso);
        let random_at = found.aux(25).expect("AT_RANDOM");
        prop_assert_eq!(memory.random(random_at), random);
        prop_assert_eq!(memory.string(found.aux(31).expect("AT_EXECFN")), execfn);
        prop_assert_eq!(memory.string(found.aux(15).expect("AT_PLATFORM")), platform);
        // Nothing overlaps: the vectors end before the random bytes, those before the strings.
        prop_assert!(found.vectors_end <= random_at);
        prop_assert!(random_at + 16 <= found.argv[0].0);
        // And less than one alignment is wasted.
        prop_assert!(random_at - found.vectors_end < 16);
    }
}
