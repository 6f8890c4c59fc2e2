//! The plan and the stack against what Linux itself makes of the same file and arguments.
//!
//! A freestanding probe is linked in several ways, run, and asked what it found. The linker that
//! Rust itself needs builds it; without one these tests fail, as they should.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kernel_exec::elf::{Class, LoadPlan, PAGE_SIZE, Segment, parse};
use kernel_exec::stack::{AuxValues, InitialStack, StackImage, StackLimits};
use mm_generic::prot::Prot;

use crate::elf_file::target;
use crate::soundness::assert_sound;
use crate::stack_reader::{Found, Memory};

/// Ways to link a static program; each lays out its segments differently.
const LINKS: [(&str, &[&str]); 6] = [
    ("exec", &["-static"]),
    ("exec_joined_code", &["-static", "-Wl,-z,noseparate-code"]),
    ("exec_one_segment", &["-static", "-Wl,-N"]),
    ("exec_stack", &["-static", "-Wl,-z,execstack"]),
    ("pie", &["-static-pie", "-fPIE"]),
    ("pie_huge_pages", &["-static-pie", "-fPIE", "-Wl,-z,max-page-size=0x200000"]),
];

#[test]
fn linux_loads_a_file_where_and_as_the_plan_says() {
    for (name, flags) in LINKS {
        let program = link(name, flags);
        let file = std::fs::read(&program).expect("the linker wrote it");
        let target = target(Class::Elf64);
        let plan = parse(&file, &target).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_sound(&plan, &file, &target);

        let seen = run(&program, &plan, &[]);
        let found = seen.stack().read(seen.sp);
        let aux = |tag| found.aux(tag).expect("Linux always gives it");
        let slide = aux(9).wrapping_sub(plan.entry);
        if plan.bias == 0 {
            assert_eq!(slide, 0, "{name}: AT_ENTRY");
        }
        let phdr = plan.phdr.map_or(0, |phdr| phdr.wrapping_add(slide));
        assert_eq!(aux(3), phdr, "{name}: AT_PHDR");
        assert_eq!(aux(4), u64::from(plan.phentsize), "{name}: AT_PHENT");
        assert_eq!(aux(5), u64::from(plan.phnum), "{name}: AT_PHNUM");

        for (segment, memory) in plan.segments.iter().zip(&seen.segments) {
            assert_shows(segment, memory, &file, name);
            for page in segment.range.clone().step_by(PAGE_SIZE as usize) {
                let prot = seen.prot(page.wrapping_add(slide));
                assert_eq!(prot, Some(segment.prot), "{name}: page {page:#x} of {segment:x?}");
            }
        }
        assert_eq!(seen.stack_exec(), plan.stack_exec, "{name}: stack");
    }
}

/// Compares what Linux put into a segment with what the plan says.
///
/// They differ, by design, in the last page of a segment without bss: there the file goes on in
/// Linux, and the plan has zeroes.
fn assert_shows(segment: &Segment, memory: &[u8], file: &[u8], name: &str) {
    let (shown, tail) = memory.split_at(segment.file_len);
    let (planned, next) = file[segment.file_offset..].split_at(segment.file_len);
    assert!(shown == planned, "{name}: file bytes of {segment:x?}");

    let zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    let next = &next[..next.len().min(tail.len())];
    let goes_on = tail.starts_with(next) && zero(&tail[next.len()..]);
    let has_bss = tail.len() >= PAGE_SIZE as usize;
    assert!(zero(tail) || goes_on && !has_bss, "{name}: zeroes of {segment:x?}");
}

#[test]
fn linux_builds_the_same_stack_from_the_same_arguments() {
    let program = link("stack", &["-static"]);
    let file = std::fs::read(&program).expect("the linker wrote it");
    let plan = parse(&file, &target(Class::Elf64)).expect("a linker made it");
    let long = ("LONG", "a variable of some length, to move everything below it");
    for envp in [&[][..], &[("A", "1")], &[("EMPTY", ""), long]] {
        let seen = run(&program, &plan, envp);
        let theirs = seen.stack().read(seen.sp);
        assert_eq!(
            seen.end % PAGE_SIZE,
            0,
            "Linux puts one word above execfn, then the stack ends"
        );

        let image = rebuild(&seen, &theirs);
        let memory = Memory { class: Class::Elf64, base: image.base, bytes: &image.bytes };
        let found = memory.read(image.sp);

        assert_eq!(found.argv, theirs.argv, "strings and their addresses");
        assert_eq!(found.envp, theirs.envp, "strings and their addresses");
        assert_eq!(found.aux(31), theirs.aux(31), "AT_EXECFN");
        let strings_at = (theirs.argv[0].0 - image.base) as usize;
        assert_eq!(image.bytes[strings_at..], seen.stack[(theirs.argv[0].0 - seen.sp) as usize..]);

        // Linux has tags that this kernel does not offer; those offered come in the same order,
        // with the same values but for the two that Linux moves about at random.
        let moved = [15, 25];
        let offered: Vec<u64> = found.auxv.iter().map(|pair| pair.0).collect();
        let stable = |auxv: &[(u64, u64)]| -> Vec<_> {
            auxv.iter()
                .filter(|pair| offered.contains(&pair.0))
                .map(|&(tag, value)| (tag, if moved.contains(&tag) { 0 } else { value }))
                .collect()
        };
        assert_eq!(stable(&found.auxv), stable(&theirs.auxv));
        assert_eq!(seen.sp % 16, image.sp % 16);
    }
}

/// Builds a stack from what a program found on the one that Linux gave it.
fn rebuild(seen: &Seen, theirs: &Found) -> StackImage {
    let aux = |tag| theirs.aux(tag).expect("Linux always gives it");
    let argv: Vec<&[u8]> = theirs.argv.iter().map(|(_, text)| text.as_slice()).collect();
    let envp: Vec<&[u8]> = theirs.envp.iter().map(|(_, text)| text.as_slice()).collect();
    let memory = seen.stack();
    let id = |tag| u32::try_from(aux(tag)).expect("ids have 32 bits");
    let stack = InitialStack {
        class: Class::Elf64,
        stack_top: seen.end,
        limits: StackLimits::linux(8 << 20),
        argv: &argv,
        envp: &envp,
        aux: AuxValues {
            phdr: aux(3),
            phent: aux(4) as u16,
            phnum: aux(5) as u16,
            pagesz: aux(6),
            base: aux(7),
            entry: aux(9),
            uid: id(11),
            euid: id(12),
            gid: id(13),
            egid: id(14),
            secure: aux(23) != 0,
            hwcap: aux(16),
            clktck: aux(17),
            platform: &memory.string(aux(15)),
            random: memory.random(aux(25)),
            execfn: &memory.string(aux(31)),
            sysinfo_ehdr: theirs.aux(33),
        },
    };
    stack.build().expect("Linux could")
}

/// What the probe reported.
struct Seen {
    sp: u64,
    end: u64,
    stack: Vec<u8>,
    segments: Vec<Vec<u8>>,
    maps: String,
}

impl Seen {
    fn stack(&self) -> Memory<'_> {
        Memory { class: Class::Elf64, base: self.sp, bytes: &self.stack }
    }

    /// Rights of the mapping at `address`, by /proc/self/maps.
    fn prot(&self, address: u64) -> Option<Prot> {
        self.maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            if !(number(start)?..number(end)?).contains(&address) {
                return None;
            }
            let mut prot = Prot::empty();
            prot.set(Prot::READ, rest.as_bytes()[0] == b'r');
            prot.set(Prot::WRITE, rest.as_bytes()[1] == b'w');
            prot.set(Prot::EXEC, rest.as_bytes()[2] == b'x');
            Some(prot)
        })
    }

    fn stack_exec(&self) -> bool {
        self.prot(self.sp).expect("the stack is mapped").contains(Prot::EXEC)
    }
}

fn link(name: &str, flags: &[&str]) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe_{name}"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loading/probe.c");
    let output = Command::new("cc")
        .args([
            "-O1",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-fcf-protection=none",
        ])
        .args(flags)
        .arg("-o")
        .args([&program, &source])
        .output()
        .expect("`cc`, which also links Rust programs, must be there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path, plan: &LoadPlan, envp: &[(&str, &str)]) -> Seen {
    let hex = |address: u64| format!("{address:x}");
    let ranges = plan.segments.iter().flat_map(|s| [hex(s.range.start), hex(s.range.end)]);
    let output = Command::new(program)
        .arg0("probe, by another name")
        .arg(hex(plan.entry))
        .args(ranges)
        .env_clear()
        .envs(envp.iter().copied())
        .output()
        .expect("Linux accepts what the plan accepts");
    assert!(output.status.success(), "the probe failed: {}", output.status);

    let mut rest = output.stdout.as_slice();
    let mut take = |len: usize| {
        let (taken, left) = rest.split_at(len);
        rest = left;
        taken.to_vec()
    };
    let mut word = || u64::from_le_bytes(take(8).try_into().expect("8 bytes"));
    let (sp, end) = (word(), word());
    let stack = take((end - sp) as usize);
    let segments =
        plan.segments.iter().map(|s| take((s.range.end - s.range.start) as usize)).collect();
    let maps = String::from_utf8(rest.to_vec()).expect("maps are text");
    Seen { sp, end, stack, segments, maps }
}
