//! Loading: a file, arguments and an environment become a new mm, ready for [`exec_mmap`].
//!
//! This is the part of an exec that can fail, and all of it comes before the point of no return, while
//! the task runs on its old mm. A malformed file, arguments that are too long, a lack of frames: the
//! caller gets an error, the new mm is freed, and the task has noticed nothing. A kernel's `execve`:
//!
//! ```text
//! copy path, argv and envp out of the old mm
//! load                             a new mm that nobody can find
//! end the process's other threads  (`de_thread`); the last thing that may fail
//! preemption off
//!     exec_mmap                    the point of no return
//! preemption on
//! drop the old mm                  what the CPU has translated through until now
//! close-on-exec, signal handlers, registers: entry, sp
//! ```
//!
//! A function that did all of this in one would save a kernel the two lines around `exec_mmap` and take
//! from it the place between `load` and `exec_mmap`, where it must end threads and may map a vDSO.
//!
//! Nothing of the file is read into pages here. Segments become VMAs over the file, and their pages come
//! when they are touched, as those of any mapping do; what lies past the file's bytes reads as zeros.
//! Only the initial stack is written now, for its contents exist nowhere else.
//!
//! [`exec_mmap`]: crate::exec_mmap::exec_mmap

use mm_generic::init_mm::InitMm;
use mm_generic::kernel::Kernel;
use mm_generic::mm::NewMmError;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::user::{FaultError, STACK_GUARD_GAP};
use mm_generic::vma::{Backing, Vma, VmaError, VmaFlags};
use thiserror::Error;

use crate::elf::{self, ElfError, LoadPlan, PAGE_SIZE, Segment, Target};
use crate::stack::{AuxValues, InitialStack, StackError, StackImage, StackLimits};

/// How a program is to be started.
#[derive(Debug, Clone, Copy)]
pub struct LoadRequest<'a> {
    /// The processes it may become. Its user addresses end where the stack's room begins.
    pub target: &'a Target,
    /// First address past the stack, page-aligned, at most the end of
    /// [`VmaSet::limits`](mm_generic::vma::VmaSet::limits).
    pub stack_top: u64,
    /// How much arguments and environment may weigh.
    pub stack_limits: StackLimits,
    /// Arguments, without NULs.
    pub argv: &'a [&'a [u8]],
    /// Environment, without NULs.
    pub envp: &'a [&'a [u8]],
    /// Path by which the program is executed, without NUL (`AT_EXECFN`).
    pub execfn: &'a [u8],
    /// On whose behalf it runs.
    pub credentials: Credentials,
    /// What it runs on.
    pub platform: Platform<'a>,
    /// 16 unpredictable bytes (`AT_RANDOM`).
    pub random: [u8; 16],
    /// Where the kernel will map its vDSO, if it has one (`AT_SYSINFO_EHDR`). Mapping it into
    /// [`LoadedImage::mm`] is the kernel's.
    pub vdso: Option<u64>,
}

/// On whose behalf a program runs, once the set-id bits of its file have been taken into account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credentials {
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Whether the program gained privileges by being executed (`AT_SECURE`).
    pub secure: bool,
}

/// What a program is told about the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform<'a> {
    /// Name of the processor, without NUL: `x86_64`, `i686`.
    pub name: &'a [u8],
    /// Processor features: EDX of CPUID leaf 1.
    pub hwcap: u64,
    /// Ticks per second of `times(2)`.
    pub clktck: u64,
}

/// A program in a new mm, for `exec_mmap` or for the first process. Dropped, it leaves nothing behind.
#[must_use = "an image that is dropped is freed"]
pub struct LoadedImage<K: Kernel> {
    /// The address space. Nobody can find it yet, and the kernel may map more into it.
    pub mm: NewMm<K>,
    /// Address of the first instruction.
    pub entry: u64,
    /// Stack pointer before the first instruction.
    pub sp: u64,
    /// Where the heap begins and, so far, ends (`brk`).
    pub brk_start: u64,
    /// What was added to every address of the file; 0 unless it is position-independent.
    pub bias: u64,
}

/// A program that could not be loaded. The task goes on with its old mm, and nothing of the new one is left.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is no executable for this target (`ENOEXEC`), or there is no memory for the plan.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// Arguments and environment are refused (`E2BIG`), or there is no memory for their image.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// No PGD, or no heap for the mm (`ENOMEM`).
    #[error(transparent)]
    NewMm(#[from] NewMmError),
    /// A segment lies where this geometry has no user addresses: the request's target promises more of them
    /// than there are.
    #[error("mapping a segment: {0}")]
    MapSegment(VmaError),
    /// The stack lies where there are no user addresses, or where a segment is.
    #[error("mapping the stack: {0}")]
    MapStack(VmaError),
    /// The stack's first page beyond its initial contents would come too close to a segment.
    #[error("a stack from {base:#x} up comes too close to the segment that ends at {below:#x}")]
    StackGuard {
        /// First byte of the initial stack.
        base: u64,
        /// Where the highest segment below it ends.
        below: u64,
    },
    /// The initial stack could not be written: no frame for a page or a table (`ENOMEM`).
    #[error("writing the stack: {0}")]
    WriteStack(FaultError),
}

/// Loads the executable `file`, whose contents are `bytes`, into a new mm.
///
/// Neither may change as long as the mm lives: what was checked here is mapped later, page by page. A
/// kernel denies writes to a file that is being executed (`ETXTBSY`).
///
/// # Errors
///
/// See [`LoadError`]; nothing of the new mm is left.
pub fn load<K: Kernel>(
    init_mm: &'static InitMm<K>,
    file: &K::Object,
    bytes: &[u8],
    request: &LoadRequest<'_>,
) -> Result<LoadedImage<K>, LoadError> {
    let plan = elf::parse(bytes, request.target)?;
    let stack = request.initial_stack(&plan).build()?;
    check_guard(&plan, &stack)?;
    let mm = NewMm::new(init_mm)?;
    map_segments(&mm, file, &plan)?;
    map_stack(&mm, &stack, request.stack_top, plan.stack_exec)?;
    let LoadPlan { entry, brk_start, bias, .. } = plan;
    Ok(LoadedImage { mm, entry, sp: stack.sp, brk_start, bias })
}

impl<'a> LoadRequest<'a> {
    /// The stack of the program that `plan` describes.
    fn initial_stack(&self, plan: &LoadPlan) -> InitialStack<'a> {
        let Credentials { uid, euid, gid, egid, secure } = self.credentials;
        let Platform { name, hwcap, clktck } = self.platform;
        InitialStack {
            class: self.target.class,
            stack_top: self.stack_top,
            limits: self.stack_limits,
            argv: self.argv,
            envp: self.envp,
            aux: AuxValues {
                phdr: plan.phdr.unwrap_or(0),
                phent: plan.phentsize,
                phnum: plan.phnum,
                pagesz: PAGE_SIZE,
                // No interpreter: programs are static.
                base: 0,
                entry: plan.entry,
                uid,
                euid,
                gid,
                egid,
                secure,
                hwcap,
                clktck,
                platform: name,
                random: self.random,
                execfn: self.execfn,
                sysinfo_ehdr: self.vdso,
            },
        }
    }
}

/// Refuses a stack that could not grow by a single page, which the program would learn from a signal.
fn check_guard(plan: &LoadPlan, stack: &StackImage) -> Result<(), LoadError> {
    let base = stack.base;
    let below = plan.segments.iter().map(|segment| segment.range.end).rfind(|&end| end <= base);
    match below {
        Some(below) if base - below <= STACK_GUARD_GAP => {
            Err(LoadError::StackGuard { base, below })
        }
        _ => Ok(()),
    }
}

fn map_segments<K: Kernel>(
    mm: &NewMm<K>,
    file: &K::Object,
    plan: &LoadPlan,
) -> Result<(), LoadError> {
    let mut user = mm.user();
    for segment in &plan.segments {
        let vma = Vma::new(
            segment.range.clone(),
            segment.prot,
            VmaFlags::empty(),
            backing(segment, file),
        );
        vma.and_then(|vma| user.mmap(vma)).map_err(LoadError::MapSegment)?;
    }
    Ok(())
}

/// Where a segment's pages come from. One that is all bss does not hold on to the file, and may merge
/// with the heap behind it.
fn backing<O: Clone>(segment: &Segment, file: &O) -> Backing<O> {
    match segment.file_len {
        0 => Backing::Anonymous,
        len => Backing::Object {
            object: file.clone(),
            offset: segment.file_offset as u64,
            len: len as u64,
        },
    }
}

/// Maps as much stack as `stack` has contents for, and writes them. Beyond, the program gets it as any
/// stack does: by touching it.
fn map_stack<K: Kernel>(
    mm: &NewMm<K>,
    stack: &StackImage,
    stack_top: u64,
    executable: bool,
) -> Result<(), LoadError> {
    let mut prot = Prot::READ | Prot::WRITE;
    prot.set(Prot::EXEC, executable);
    let vma = Vma::new(stack.base..stack_top, prot, VmaFlags::GROWS_DOWN, Backing::Anonymous);
    let mut user = mm.user();
    vma.and_then(|vma| user.mmap(vma)).map_err(LoadError::MapStack)?;
    user.write_bytes(mm.mm(), stack.base, &stack.bytes).map_err(LoadError::WriteStack)
}
