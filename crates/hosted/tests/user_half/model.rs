//! Random histories of a few related processes against a model that knows what each page holds.
//!
//! The model has no frames, tables, TLBs or sharing of copies: a private page is two bytes of its
//! process's own, a shared page is two bytes that several processes have a number of. Frames also run
//! out at random moments; what fails then must have changed nothing.

use std::cell::RefCell;
use std::ops::Range;

use mm_generic::arch::ArchPgd;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::user::{Access, FaultError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::kernel::Pattern;
use super::tlb;
use super::world::{PAGE, PRIVATE, Process, SHARED, World, on_every_mmu};

on_every_mmu!(any_history_reads_as_the_model_says);

const PAGES: u64 = 12;
const PROCESSES: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    Map {
        process: usize,
        pages: Range<u64>,
        prot: Prot,
        shared: bool,
        file: bool,
    },
    Unmap {
        process: usize,
        pages: Range<u64>,
    },
    Protect {
        process: usize,
        pages: Range<u64>,
        prot: Prot,
    },
    /// Loads every byte of the model, and leaves a TLB full of entries.
    Load {
        process: usize,
    },
    Store {
        process: usize,
        at: At,
        value: u8,
    },
    KernelStore {
        process: usize,
        at: At,
        value: u8,
    },
    Fork {
        process: usize,
        child: usize,
    },
    Exit {
        process: usize,
    },
}

/// One of the two bytes of a page. Storing one shows whether a copy takes the other along.
#[derive(Debug, Clone, Copy)]
struct At {
    page: u64,
    second: bool,
}

impl At {
    /// Where the byte is, from the page's start: elsewhere in each page, so that a frame in the
    /// wrong place shows.
    fn offset(self) -> u64 {
        if self.second { PAGE - 1 - self.page } else { self.page * 301 % (PAGE / 2) }
    }
}

fn both(page: u64) -> [At; 2] {
    [false, true].map(|second| At { page, second })
}

fn at() -> impl Strategy<Value = At> {
    (0..PAGES, any::<bool>()).prop_map(|(page, second)| At { page, second })
}

fn pages() -> impl Strategy<Value = Range<u64>> {
    (0..PAGES, 1..=5u64).prop_map(|(start, len)| start..(start + len).min(PAGES))
}

fn prot() -> impl Strategy<Value = Prot> {
    prop_oneof![
        5 => Just(Prot::READ | Prot::WRITE),
        2 => Just(Prot::READ),
        1 => Just(Prot::READ | Prot::EXEC),
        1 => Just(Prot::empty()),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let process = 0..PROCESSES;
    let value = 1..=u8::MAX;
    prop_oneof![
        4 => (process.clone(), pages(), prot(), any::<bool>(), any::<bool>()).prop_map(
            |(process, pages, prot, shared, file)| Op::Map { process, pages, prot, shared, file }
        ),
        2 => (process.clone(), pages()).prop_map(|(process, pages)| Op::Unmap { process, pages }),
        3 => (process.clone(), pages(), prot())
            .prop_map(|(process, pages, prot)| Op::Protect { process, pages, prot }),
        5 => process.clone().prop_map(|process| Op::Load { process }),
        12 => (process.clone(), at(), value.clone())
            .prop_map(|(process, at, value)| Op::Store { process, at, value }),
        2 => (process.clone(), at(), value)
            .prop_map(|(process, at, value)| Op::KernelStore { process, at, value }),
        4 => (process.clone(), process.clone())
            .prop_map(|(process, child)| Op::Fork { process, child }),
        1 => process.prop_map(|process| Op::Exit { process }),
    ]
}

/// An operation, the CPU it runs on, and the allocation within it that fails.
fn step() -> impl Strategy<Value = (Op, usize, Option<u64>)> {
    (op(), 0..tlb::CPUS, prop::option::weighted(0.15, 0..6u64))
}

#[derive(Debug, Clone)]
struct ModelPage {
    prot: Prot,
    holds: Holds,
}

#[derive(Debug, Clone)]
enum Holds {
    Own([u8; 2]),
    /// A number in [`Model::shared`].
    Shared(usize),
}

type ModelProcess = Vec<Option<ModelPage>>;

#[derive(Default)]
struct Model {
    shared: Vec<[u8; 2]>,
}

impl Model {
    fn value(&self, page: &ModelPage, at: At) -> u8 {
        match page.holds {
            Holds::Own(own) => own[usize::from(at.second)],
            Holds::Shared(number) => self.shared[number][usize::from(at.second)],
        }
    }

    fn store(&mut self, page: &mut ModelPage, at: At, value: u8) {
        let bytes = match &mut page.holds {
            Holds::Own(own) => own,
            Holds::Shared(number) => &mut self.shared[*number],
        };
        bytes[usize::from(at.second)] = value;
    }
}

/// A process and what it should see.
struct Pair<'w, A: ArchPgd> {
    process: Process<'w, A>,
    model: ModelProcess,
}

struct Run<'w, A: ArchPgd> {
    world: &'w World<A>,
    base: u64,
    model: Model,
    pairs: [Option<Pair<'w, A>>; PROCESSES],
}

/// Frames ran out, on purpose. Everything else that was not expected is a failure of the test.
struct RanOut;

impl<'w, A: ArchPgd> Run<'w, A> {
    fn new(world: &'w World<A>) -> Self {
        let mut run = Self {
            world,
            base: world.seam() - PAGES / 2 * PAGE,
            model: Model::default(),
            pairs: [const { None }; PROCESSES],
        };
        run.pairs[0] = Some(Pair { process: world.process(), model: vec![None; PAGES as usize] });
        run
    }

    fn addr(&self, at: At) -> u64 {
        self.base + at.page * PAGE + at.offset()
    }

    fn range(&self, pages: &Range<u64>) -> Range<u64> {
        self.base + pages.start * PAGE..self.base + pages.end * PAGE
    }

    fn apply(&mut self, op: &Op) -> Result<(), RanOut> {
        match op {
            Op::Map { process, pages, prot, shared, file } => {
                self.map(*process, pages, *prot, *shared, *file);
            }
            Op::Unmap { process, pages } => {
                let range = self.range(pages);
                if let Some(Pair { process, model }) = &mut self.pairs[*process] {
                    process.unmap(range);
                    model[pages.start as usize..pages.end as usize].fill(None);
                }
            }
            Op::Protect { process, pages, prot } => {
                let range = self.range(pages);
                if let Some(Pair { process, model }) = &mut self.pairs[*process] {
                    let result = process.user().mprotect(&process.mm, range, *prot);
                    let model = &mut model[pages.start as usize..pages.end as usize];
                    assert_eq!(result.is_ok(), model.iter().all(Option::is_some));
                    if result.is_ok() {
                        model.iter_mut().flatten().for_each(|page| page.prot = *prot);
                    }
                }
            }
            Op::Load { process } => self.load_all(*process)?,
            Op::Store { process, at, value } | Op::KernelStore { process, at, value } => {
                let addr = self.addr(*at);
                if let Some(Pair { process, model }) = &mut self.pairs[*process] {
                    let result = if matches!(op, Op::Store { .. }) {
                        process.store(addr, *value)
                    } else {
                        process.user().write_bytes(&process.mm, addr, &[*value])
                    };
                    let page = model[at.page as usize].as_mut();
                    let expected = expect(page.as_deref(), addr, Access::Write).map(drop);
                    check(result, expected)?;
                    if let Some(page) = page.filter(|_| result.is_ok()) {
                        self.model.store(page, *at, *value);
                    }
                }
            }
            Op::Fork { process, child } => self.fork(*process, *child)?,
            Op::Exit { process } => self.pairs[*process] = None,
        }
        Ok(())
    }

    fn map(&mut self, process: usize, pages: &Range<u64>, prot: Prot, shared: bool, file: bool) {
        let flags = if shared { SHARED } else { PRIVATE };
        let range = self.range(pages);
        let pattern = Pattern::new(0x5a);
        let Some(Pair { process, model }) = &mut self.pairs[process] else { return };
        // The last page of a file's mapping lies behind its bytes.
        let offset = pages.start * PAGE;
        let len = (pages.end - pages.start - 1) * PAGE;
        if file {
            process.map_file(range, prot, flags, (pattern.clone(), offset, len));
        } else {
            process.map(range, prot, flags);
        }
        for page in pages.clone() {
            let in_file = file && page + 1 < pages.end;
            let value = both(page)
                .map(|at| if in_file { pattern.byte(page * PAGE + at.offset()) } else { 0 });
            let holds = if shared {
                self.model.shared.push(value);
                Holds::Shared(self.model.shared.len() - 1)
            } else {
                Holds::Own(value)
            };
            model[page as usize] = Some(ModelPage { prot, holds });
        }
    }

    fn fork(&mut self, parent: usize, child: usize) -> Result<(), RanOut> {
        if parent == child {
            return Ok(());
        }
        let Some(Pair { process, model }) = &self.pairs[parent] else { return Ok(()) };
        let new = NewMm::new(self.world.init_mm).map_err(|_| RanOut)?;
        new.copy_user_half(&process.mm).map_err(|_| RanOut)?;
        let pair = Pair { process: self.world.publish(new), model: model.clone() };
        self.pairs[child] = Some(pair);
        Ok(())
    }

    /// Loads both bytes of every page of a process, and compares.
    fn load_all(&self, process: usize) -> Result<(), RanOut> {
        let Some(Pair { process, model }) = &self.pairs[process] else { return Ok(()) };
        for at in (0..PAGES).flat_map(both) {
            let addr = self.addr(at);
            let page = expect(model[at.page as usize].as_ref(), addr, Access::Read);
            check(process.load(addr), page.map(|page| self.model.value(page, at)))?;
        }
        Ok(())
    }
}

fn expect(page: Option<&ModelPage>, addr: u64, access: Access) -> Result<&ModelPage, FaultError> {
    let page = page.ok_or(FaultError::NotMapped { addr })?;
    let allowed = match access {
        Access::Read => !page.prot.is_empty(),
        _ => page.prot.contains(Prot::WRITE),
    };
    if allowed { Ok(page) } else { Err(FaultError::Denied { addr, access, prot: page.prot }) }
}

fn check<T: PartialEq + std::fmt::Debug>(
    result: Result<T, FaultError>,
    expected: Result<T, FaultError>,
) -> Result<(), RanOut> {
    match result {
        Err(FaultError::OutOfFrames { .. } | FaultError::Map(_)) => Err(RanOut),
        result => {
            assert_eq!(result, expected);
            Ok(())
        }
    }
}

fn any_history_reads_as_the_model_says<A: ArchPgd>(world: &World<A>) {
    let before = world.frames.allocated();
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let steps = RefCell::new(0);
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..70), |history| {
            let mut run = Run::new(world);
            for (op, cpu, failing) in &history {
                tlb::run_on(*cpu);
                if let Some(failing) = failing {
                    world.frames.fail_once_after(*failing);
                }
                let result = run.apply(op);
                world.frames.fail_never();
                assert!(result.is_ok() || failing.is_some(), "frames ran out by themselves");
                *steps.borrow_mut() += 1;
                for pair in run.pairs.iter().flatten() {
                    pair.process.assert_no_stale_tlb_entry();
                }
            }
            for process in 0..PROCESSES {
                assert!(run.load_all(process).is_ok(), "frames ran out by themselves");
            }
            drop(run);
            world.assert_allocated(before);
            Ok(())
        })
        .unwrap();
    assert!(steps.take() > 1000);
}
