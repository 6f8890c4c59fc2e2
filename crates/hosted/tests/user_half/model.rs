//! Random histories of a few related processes against a model that knows what each page holds.
//!
//! The model has no frames, tables, TLBs or sharing of copies: a private page is a byte of its
//! process's own, a shared page is a byte that several processes have a number of. Frames also run
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
    Map { process: usize, pages: Range<u64>, prot: Prot, shared: bool, file: bool },
    Unmap { process: usize, pages: Range<u64> },
    Protect { process: usize, pages: Range<u64>, prot: Prot },
    Load { process: usize, page: u64 },
    Store { process: usize, page: u64, value: u8 },
    KernelStore { process: usize, page: u64, value: u8 },
    Fork { process: usize, child: usize },
    Exit { process: usize },
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
    let page = 0..PAGES;
    let value = 1..=u8::MAX;
    prop_oneof![
        4 => (process.clone(), pages(), prot(), any::<bool>(), any::<bool>()).prop_map(
            |(process, pages, prot, shared, file)| Op::Map { process, pages, prot, shared, file }
        ),
        2 => (process.clone(), pages()).prop_map(|(process, pages)| Op::Unmap { process, pages }),
        3 => (process.clone(), pages(), prot())
            .prop_map(|(process, pages, prot)| Op::Protect { process, pages, prot }),
        8 => (process.clone(), page.clone()).prop_map(|(process, page)| Op::Load { process, page }),
        10 => (process.clone(), page.clone(), value.clone())
            .prop_map(|(process, page, value)| Op::Store { process, page, value }),
        2 => (process.clone(), page, value)
            .prop_map(|(process, page, value)| Op::KernelStore { process, page, value }),
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
    Own(u8),
    /// A number in [`Model::shared`].
    Shared(usize),
}

type ModelProcess = Vec<Option<ModelPage>>;

#[derive(Default)]
struct Model {
    shared: Vec<u8>,
}

impl Model {
    fn value(&self, page: &ModelPage) -> u8 {
        match page.holds {
            Holds::Own(value) => value,
            Holds::Shared(number) => self.shared[number],
        }
    }

    fn store(&mut self, page: &mut ModelPage, value: u8) {
        match &mut page.holds {
            Holds::Own(own) => *own = value,
            Holds::Shared(number) => self.shared[*number] = value,
        }
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

    /// Each page has its byte somewhere else, so that a frame in the wrong place shows.
    fn addr(&self, page: u64) -> u64 {
        self.base + page * PAGE + page * 301 % PAGE
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
            Op::Load { process, page } => {
                let addr = self.addr(*page);
                if let Some(Pair { process, model }) = &self.pairs[*process] {
                    let result = process.load(addr);
                    let page = model[*page as usize].as_ref();
                    let expected =
                        expect(page, addr, Access::Read).map(|page| self.model.value(page));
                    check(result, expected)?;
                }
            }
            Op::Store { process, page, value } | Op::KernelStore { process, page, value } => {
                let addr = self.addr(*page);
                if let Some(Pair { process, model }) = &mut self.pairs[*process] {
                    let result = if matches!(op, Op::Store { .. }) {
                        process.store(addr, *value)
                    } else {
                        process.user().write_bytes(&process.mm, addr, &[*value])
                    };
                    let page = model[*page as usize].as_mut();
                    let expected = expect(page.as_deref(), addr, Access::Write).map(drop);
                    check(result, expected)?;
                    if let Some(page) = page.filter(|_| result.is_ok()) {
                        self.model.store(page, *value);
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
            let first = page * PAGE + page * 301 % PAGE;
            let value = if in_file { pattern.byte(first) } else { 0 };
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

    /// Reads every page of every process.
    fn verify(&self) {
        for Pair { process, model } in self.pairs.iter().flatten() {
            process.assert_no_stale_tlb_entry();
            for (number, page) in (0..).zip(model) {
                let addr = self.addr(number);
                let expected = expect(page.as_ref(), addr, Access::Read);
                let value = expected.map(|page| self.model.value(page));
                assert_eq!(process.load(addr), value, "page {number}");
            }
        }
    }
}

fn expect<'m>(
    page: Option<&'m ModelPage>,
    addr: u64,
    access: Access,
) -> Result<&'m ModelPage, FaultError> {
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
            run.verify();
            drop(run);
            world.assert_allocated(before);
            Ok(())
        })
        .unwrap();
    assert!(steps.take() > 1000);
}
