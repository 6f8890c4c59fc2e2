//! A hundred thousand tasks at once, made by two CPUs while a third grows the kernel; and then none.

use std::sync::atomic::{AtomicBool, Ordering};

use arch_x86::X86;
use arch_x86::geometry::LongMode;
use arch_x86::slots::Slots;
use hosted::frames::HostFrames;
use hosted::kernel::{Host, With};
use hosted::mmu::{Access, MmuKind, translate};
use hosted::world::{Leftovers, World};
use kernel_fork::args::CloneArgs;
use kernel_fork::copy_process::{copy_process, first_process};
use kernel_fork::error::ForkError;
use kernel_fork::exit::{exit, reap};
use kernel_sync::Rcu;
use kernel_task::pid::PidError;
use kernel_task::process::ExitStatus;
use kernel_task::task::TaskRef;
use kernel_task::tasks::Tasks;
use mm_generic::frames::Frames;
use mm_generic::mm::Mm;
use mm_generic::prot::Prot;
use mm_generic::publish::NewMm;
use mm_generic::walk::Walkers;
use tests_host::planted::is_planted;

type Kernel = Host<With<X86<LongMode, HostFrames>>>;
type Task = TaskRef<Kernel>;

/// Tasks beside the first.
const TASKS: u32 = 100_000;

/// One process with an mm of its own for each thread and each process that shares one.
const KINDS: [CloneArgs; 3] = [CloneArgs::FORK, CloneArgs::THREAD, CloneArgs::VFORK];

const SLOT: u64 = 512 << 30;
const FIRST: u64 = 0xffff_8000_0000_0000;

/// Makes tasks until there is no pid. Each is made by the one before, whose kind is another.
fn explode(world: &World<With<X86<LongMode, HostFrames>>>, init: &Task, cpu: usize) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        let parent = tasks.last().unwrap_or(init);
        match copy_process(world.init_mm(), parent, &KINDS[tasks.len() % KINDS.len()], cpu) {
            Ok(child) => tasks.push(child.into_task()),
            Err(error) => {
                let limit = TASKS + 2;
                assert_eq!(error, ForkError::Pid(PidError::Exhausted { limit }));
                return tasks;
            }
        }
    }
}

#[test]
fn a_hundred_thousand_tasks_come_and_go() {
    let frames = HostFrames::new(1 << 17).checked().leak();
    let slots = Slots::with_empty_reference(LongMode::FOUR_LEVEL, frames).expect("a root");
    let tasks = Tasks::new(TASKS + 2, 4).expect("a good limit");
    let world: World<With<_>> = World::boot(frames, 0, X86::new(slots), tasks);
    let cpu = world.cpu_online();
    let mm = NewMm::new(world.init_mm()).expect("frames enough");
    let init = first_process(world.init_mm(), Some(mm), (), 0).expect("room enough").into_task();
    let before = frames.allocated();

    let over = AtomicBool::new(false);
    let mut grown = Vec::new();
    std::thread::scope(|scope| {
        let bombs = [1, 2].map(|number| {
            let (world, init) = (&world, &init);
            scope.spawn(move || {
                let online = world.cpu_online();
                let tasks = explode(world, init, number);
                drop(online);
                tasks
            })
        });
        let (world_of_grower, over) = (&world, &over);
        let grower = scope.spawn(move || {
            let _online = world_of_grower.cpu_online();
            let mut grown = Vec::new();
            for slot in 0..64 {
                if over.load(Ordering::Acquire) && slot > 8 {
                    break;
                }
                let addr = FIRST + slot * SLOT;
                let range = world_of_grower.init_mm().grow(addr, 4096).expect("a free slot");
                let frame = frames.alloc().expect("frames enough");
                let rights = Prot::READ | Prot::WRITE;
                world_of_grower.init_mm().map_kernel(&range, addr, frame, rights).expect("free");
                grown.push((addr, frame));
            }
            grown
        });
        let made: Vec<Vec<Task>> =
            bombs.into_iter().map(|bomb| bomb.join().expect("a bomb ends well")).collect();
        over.store(true, Ordering::Release);
        grown = grower.join().expect("the grower ends well");
        check_everyone(&world, &grown, made.iter().map(Vec::len).sum());
        burn_out(&world, &init, made);
    });

    world_is_empty(&world, &init, cpu.rcu());
    println!("covered {TASKS} tasks at once");
    // A growth keeps a table for its slot, two below it, and the page.
    assert_eq!(frames.allocated(), before + 4 * grown.len());
    // All of them can be had again.
    let again = explode(&world, &init, 0);
    assert_eq!(again.len(), TASKS as usize);
    burn_out(&world, &init, vec![again]);
    drop((init, cpu));
    // SAFETY: no CPU is left, and no reference.
    let left = unsafe { world.shut_down(MmuKind::FourLevel) };
    assert_eq!(left, Leftovers { leaked_frames: 0, pending_callbacks: 0 });
}

/// Every task is on the list once, and every mm shows every growth.
fn check_everyone(
    world: &World<With<X86<LongMode, HostFrames>>>,
    grown: &[(u64, mm_generic::frames::Frame)],
    made: usize,
) {
    assert_eq!(made, TASKS as usize);
    let rcu = <Kernel as mm_generic::kernel::Kernel>::Rcu::read_lock();
    let mut found = 0;
    world.tasks().pids().for_each(&rcu, &mut |_| found += 1);
    assert_eq!(found, TASKS + 1, "tasks on the list");
    let mut mms = 0;
    world.tasks().for_each_published(&rcu, &mut |mm: &Mm<Kernel>| {
        mms += 1;
        for &(addr, frame) in grown {
            let root = mm.root().phys();
            let seen =
                translate(world.frames(), MmuKind::FourLevel, root, addr, Access::KERNEL_READ);
            assert_eq!(seen, Ok(frame.phys()), "{addr:#x} through {root:#x}");
        }
    });
    assert!(mms > TASKS / 3, "{mms} mms were visited");
}

/// Ends all tasks of each bomb, the last first and every third the other way round.
fn burn_out(world: &World<With<X86<LongMode, HostFrames>>>, init: &Task, made: Vec<Vec<Task>>) {
    for tasks in made {
        let mut tasks = std::collections::VecDeque::from(tasks);
        let mut turn = 0;
        while let Some(task) = if turn % 3 == 0 { tasks.pop_back() } else { tasks.pop_front() } {
            turn += 1;
            if turn == 7 && is_planted("lost-task") {
                continue;
            }
            exit(world.init_mm(), &task, ExitStatus::Exited(0), init.process());
            while reap(world.init_mm(), init.process(), |_| true).is_some() {}
        }
    }
    while reap(world.init_mm(), init.process(), |_| true).is_some() {}
}

fn world_is_empty(
    world: &World<With<X86<LongMode, HostFrames>>>,
    init: &Task,
    cpu: &kernel_task::epoch::EpochCpu,
) {
    for _ in 0..16 {
        cpu.flush();
    }
    let rcu = <Kernel as mm_generic::kernel::Kernel>::Rcu::read_lock();
    let mut found = Vec::new();
    world.tasks().pids().for_each(&rcu, &mut |task| found.push(task.pid()));
    assert_eq!(found, [init.pid()], "only the first task is left");
}
