/*
 * The kernel half of every process's PGD under x86-TSO: fork, exec, attach, exit and lazy borrowing on one side, growth, replace
 * and reclaim on the other. One slot of the kernel half stands for all. A file of scenarios/ says who does what, and includes this one.
 *
 * Each CPU has a FIFO store buffer, which a process of its own drains at any moment. A load takes the newest store of its own
 * CPU's buffer, else memory; a full barrier and a locked instruction wait until the buffer is empty. Each CPU's MMU reads the
 * loaded PGD from memory at any moment and remembers what it found until it is told to forget it, over loads of CR3 as
 * well, as for global pages.
 *
 * What the updaters' lock or a PGD's lock makes indivisible for everybody is one step: the loads in it are of words that only the
 * lock's holders write, and its stores go to the buffer, the lock's release last, and are seen one by one.
 *
 * Where the product has a locked instruction for another reason than order (bits of sets, locks' release, reference counts that
 * do not reach zero), or one that another kernel may not have (a load of CR3, entry to a read-side section), the model has none: it
 * is weaker than the product.
 *
 * FN(name) names the function of the product that the steps after it stand for; a test of xtask keeps the names in step.
 * Every MUTANT_ is a wrong variant, and a scenario says that it catches it.
 */
#define FN(name)

#ifndef CPUS
#define CPUS 2
#endif
#ifndef MMS
#define MMS 1             /* mms, from 1 on; 0 is no mm: the reference PGD */
#endif
#ifndef TABLES
#define TABLES 2          /* frames for the table below the slot, from 1 on */
#endif
#define DEPTH 6           /* of a store buffer; asserted to be enough, so no run is cut off by it */

/* How far an mm has come. */
#define NEW 0
#define PUBLISHED 1
#define READY 2

/* What an entry holds: none, the table in frame 1..TABLES, or late init's mark. */
#define NONE 0
#define UNSETTLED 15
#define IS_LIVE(v) ((v) != NONE && (v) != UNSETTLED)

/* Memory. */
#define REF        0                               /* the slot in the reference PGD */
#define GEN        1
#define POPULATED  2
#define USED       3
#define SYNCED     4
#define UPDATE     5                               /* the updaters' lock */
#define TASK(c)    (6 + (c))                       /* the mm of the task that lives on CPU c */
#define LOADED(c)  (6 + CPUS + (c))                /* what walkers see of CR3 */
#define PGD(m)     (5 + 2 * CPUS + (m))            /* the slot in the PGD of mm m */
#define STAMP(m)   (5 + 2 * CPUS + MMS + (m))
#define LOCK(m)    (5 + 2 * CPUS + 2 * MMS + (m))  /* that PGD's own lock */
#define STAGE(m)   (5 + 2 * CPUS + 3 * MMS + (m))
#define CHILD      (6 + 2 * CPUS + 4 * MMS)        /* the mm of a task that has not run yet */
#ifdef HAS_USER_FLUSH
#define ANNOUNCED  (7 + 2 * CPUS + 4 * MMS)        /* the root that CPU 0 translates through, or is about to */
#define NAMED      (8 + 2 * CPUS + 4 * MMS)        /* what its `LoadedMm` names */
#define ENTRY      (9 + 2 * CPUS + 4 * MMS)        /* of a page in the user half of root 2 */
#define PAGE       (10 + 2 * CPUS + 4 * MMS)       /* 1 when the page's frame is free */
#define WORDS      (11 + 2 * CPUS + 4 * MMS)
#else
#define WORDS      (7 + 2 * CPUS + 4 * MMS)
#endif

byte mem[WORDS];
byte length[CPUS];
byte addr[CPUS * DEPTH];
byte value[CPUS * DEPTH];

/* What the updaters' lock protects: `SlotState`. */
byte shares, changed_at;
bool flush_due;

/* The machine. */
byte cr3[CPUS];
byte tlb[CPUS];                  /* what the CPU's MMU remembers of the slot */

/* Frames of tables, and RCU. */
#define FREE 0
#define IN_USE 1
#define GRACE 2
byte frame[TABLES + 1];
byte waits[TABLES + 1];          /* the sections that the frame's grace period waits for */
byte mm_count[MMS + 1];          /* `MmRef`s */
byte mm[MMS + 1];                /* FREE only at the end */
byte mm_waits[MMS + 1];
byte sections;                   /* CPUs in a read-side section */

/* For the assertions only. */
byte handed;                     /* ranges that a growth has handed out and nobody has given back */
bool gone[TABLES + 1];           /* a replace or reclaim of the table has returned */
bool reclaimed[TABLES + 1];      /* the table was taken out of the slot by reclaim */
byte mapped_in;                  /* the table that the growth which returned last has mapped its page in, until the table changes */

#define DRAINED (length[me] == 0)

inline load(a, v) {
    d_step {
        v = mem[a];
        i = 0;
        do
        :: i < length[me] ->
            if
            :: addr[me * DEPTH + i] == (a) -> v = value[me * DEPTH + i]
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

inline store(a, v) {
    d_step {
        assert(length[me] < DEPTH);
        addr[me * DEPTH + length[me]] = a;
        value[me * DEPTH + length[me]] = v;
        length[me]++
    }
}

proctype Buffer(byte me) {
    byte i;
end:
    do
    :: d_step {
        length[me] > 0 ->
        mem[addr[me * DEPTH]] = value[me * DEPTH];
        length[me]--;
        do
        :: i < length[me] ->
            addr[me * DEPTH + i] = addr[me * DEPTH + i + 1];
            value[me * DEPTH + i] = value[me * DEPTH + i + 1];
            i++
        :: else -> break
        od;
        addr[me * DEPTH + length[me]] = 0;
        value[me * DEPTH + length[me]] = 0;
        i = 0
    }
    od
}

/* What the MMU of CPU c finds, in memory. */
#define FOUND(c) (cr3[c] == 0 -> mem[REF] : mem[PGD(cr3[c])])
#define IS_WRONG(v) (frame[v] == FREE || gone[v] || (handed > 0 && reclaimed[v]) || (mapped_in != 0 && v != mapped_in))

/* The CPU's MMU, and a program on the CPU that uses the addresses as soon as they have been handed out. */
proctype Mmu(byte c) {
end:
    do
    :: d_step { tlb[c] == NONE && IS_LIVE(FOUND(c)) -> tlb[c] = FOUND(c) }
    /* A table that is free, or that a finished replace or reclaim has taken away, or that is not what was handed out, or that lacks
     * the page that was handed out last. */
    :: d_step { tlb[c] != NONE && IS_WRONG(tlb[c]) -> assert(false) }
    :: d_step { IS_LIVE(FOUND(c)) && IS_WRONG(FOUND(c)) -> assert(false) }
    /* An address that was handed out is missing. */
    :: d_step { handed > 0 && tlb[c] == NONE && !IS_LIVE(FOUND(c)) -> assert(false) }
    /* A PGD is freed under the CPU. */
    :: d_step { cr3[c] != 0 && mm[cr3[c]] == FREE -> assert(false) }
    od
}

/* A callback runs when the sections that existed when it was queued have ended. */
inline read_lock() { sections = sections | (1 << me) }
inline read_unlock() {
    d_step {
        DRAINED ->
        sections = sections & ~(1 << me);
        i = 1;
        do
        :: i <= TABLES -> waits[i] = waits[i] & ~(1 << me); i++
        :: else -> break
        od;
        i = 1;
        do
        :: i <= MMS -> mm_waits[i] = mm_waits[i] & ~(1 << me); i++
        :: else -> break
        od;
        i = 0
    }
}
#define CAN_BE_FREED(f) (frame[f] == GRACE && waits[f] == 0)

proctype Rcu() {
    byte i;
end:
    do
    :: d_step { CAN_BE_FREED(1) -> FN(free_retired) frame[1] = FREE }
#if TABLES > 1
    :: d_step { CAN_BE_FREED(2) -> frame[2] = FREE }
#endif
#if TABLES > 2
    :: d_step { CAN_BE_FREED(3) -> frame[3] = FREE }
#endif
    :: d_step { mm[1] == GRACE && mm_waits[1] == 0 -> FN(pgd_free) mm[1] = FREE }
#if MMS > 1
    :: d_step { mm[2] == GRACE && mm_waits[2] == 0 -> mm[2] = FREE }
#endif
#if MMS > 2
    :: d_step { mm[3] == GRACE && mm_waits[3] == 0 -> mm[3] = FREE }
#endif
    od
}

/* ---- One PGD. */

inline exchange(m, from, to) {
    atomic {
        DRAINED ->
        assert(mm[m] != FREE);
        found = mem[PGD(m)];
        if
        :: found == from -> mem[PGD(m)] = to
        :: else
        fi
    }
}

/* A PGD that a CPU may have loaded: walkers and attach take turns, and late init may come in between. */
inline settle(m) {
    FN(settle) FN(mm_found_before_reference_read)
#ifdef MUTANT_SETTLE_BY_STORE
    load(REF, v);
    atomic { assert(mm[m] != FREE); load(PGD(m), current) }
    if
    :: v == current
    :: else -> store(PGD(m), v)
    fi;
#else
    atomic { assert(mm[m] != FREE); load(PGD(m), current) }
    do
    :: true ->
       load(REF, v);
       if
       :: v == current -> break
       :: else ->
           exchange(m, current, v);
           if
           :: found == current -> break
           :: else -> current = found
           fi
       fi
    od;
#endif
    v = 0; current = 0; found = 0
}

inline settle_in_turn(m) {
#ifndef MUTANT_NO_TURNS
    atomic { DRAINED && mem[LOCK(m)] == 0 -> mem[LOCK(m)] = 1 }
#endif
    settle(m);
#ifndef MUTANT_NO_TURNS
    store(LOCK(m), 0)
#endif
}

/* A PGD that no CPU has loaded: the one late init of its mm, without a lock. What the slot holds may be freed by now, and be stored anew
 * meanwhile, so nothing is compared with it. */
inline complete(m) {
    FN(complete)
#ifdef MUTANT_COMPLETE_BY_COMPARISON
    settle(m)
#else
#ifdef MUTANT_REFERENCE_BEFORE_MARK
    load(REF, v);
#endif
    /* Under TSO the exchange drains the store buffer, and the barrier behind it has nothing left to order. */
    FN(unsettled_before_reference_read)
    atomic { DRAINED -> assert(mm[m] != FREE); mem[PGD(m)] = UNSETTLED }
#ifndef MUTANT_REFERENCE_BEFORE_MARK
    load(REF, v);
#endif
#ifdef MUTANT_COMPLETE_BY_STORE
    store(PGD(m), v);
#else
    exchange(m, UNSETTLED, v);
#endif
    d_step { v = 0; found = 0 }
#endif
}

/* ---- CPU A: fork, exec, attach, exit. */

inline mm_visible_before_reference_read() {
    FN(mm_visible_before_reference_read) FN(smp_mb)
#ifndef MUTANT_NO_BARRIER_AT_BIRTH
    DRAINED
#else
    skip
#endif
}

#ifdef MUTANT_SETTLE_POPULATED_ONLY
#define EVER_USED POPULATED
#else
#define EVER_USED USED
#endif

inline pgd_init_late(m) {
    FN(pgd_init_late)
    load(GEN, g);
    load(STAMP(m), s);
    if
    :: g == s
    :: else ->
        load(EVER_USED, v);
        if
        :: v -> v = 0; complete(m)
        :: else
        fi;
        store(STAMP(m), g)
    fi;
    d_step { g = 0; s = 0; v = 0 }
}

/* Whatever the stamp says: a walker may have been inside since before late init. */
inline pgd_attach(m) {
    FN(pgd_attach) FN(settle_used)
#ifdef MUTANT_ATTACH_BY_STAMP
    load(GEN, g);
    load(STAMP(m), s);
#endif
    if
#ifdef MUTANT_ATTACH_BY_STAMP
    :: g == s
#endif
    :: else ->
        load(EVER_USED, v);
        if
        :: v -> v = 0; settle_in_turn(m)
        :: else
        fi
    fi;
    d_step { g = 0; s = 0; v = 0 }
}

inline drop_mm(m) {
    atomic {
        DRAINED ->
        mm_count[m]--;
        if
        :: mm_count[m] == 0 ->
#ifndef MUTANT_PGD_FREED_AT_ONCE
            mm[m] = GRACE; mm_waits[m] = sections
#else
            mm[m] = FREE
#endif
        :: else
        fi
    }
}

/* CR3 first, then what walkers see of it. */
inline switch_mm(m) {
    FN(switch_mm) FN(leave_mm)
    if
    :: cr3[me] == (m)
    :: else ->
        atomic { old_mm = cr3[me]; mm_count[m]++; cr3[me] = m }
        store(LOADED(me), m);
        if
        :: old_mm != 0 -> drop_mm(old_mm); old_mm = 0
        :: else
        fi
    fi
}

/* A PGD that nobody else can reach: stores to it are as good as in memory, for the publication comes behind them. */
inline pgd_alloc(m) {
    FN(pgd_alloc) FN(copy_populated)
#ifndef MUTANT_STAMP_AFTER_COPY
    load(GEN, s);
#endif
    load(POPULATED, v);
    if
    :: v ->
        load(REF, v);
        mem[PGD(m)] = v
    :: else
    fi;
#ifdef MUTANT_STAMP_AFTER_COPY
    load(GEN, s);
#endif
    d_step { mem[STAMP(m)] = s; mm[m] = IN_USE; mm_count[m] = 1; s = 0; v = 0 }
}

/* Nobody looks at it but who wants a child's mm. */
inline set_stage(m, how_far) {
    FN(set_stage)
#ifdef HAS_CHILD
    store(STAGE(m), how_far)
#else
    skip
#endif
}

/* The mm may have been made before the model begins. */
inline made(m) {
    if
    :: mm[m] == FREE -> pgd_alloc(m)
    :: else
    fi
}

/* The task's old mm, if it has one, stays held until the new one is loaded. */
inline fork_or_exec(m) {
    made(m);
    held = task;
    FN(copy_process) FN(exec_mmap) FN(publish)
    set_stage(m, PUBLISHED);
    store(TASK(me), m);
    task = m;
    mm_visible_before_reference_read();
    pgd_init_late(m);
    set_stage(m, READY);
    switch_mm(m);
    if
    :: held != 0 -> drop_mm(held); held = 0
    :: else
    fi
}

/* A fork whose child has not run yet. */
inline spawn(m) {
    made(m);
    FN(copy_process) FN(publish)
    set_stage(m, PUBLISHED);
    store(CHILD, m);
    mm_visible_before_reference_read();
#ifdef MUTANT_READY_BEFORE_LATE_INIT
    set_stage(m, READY);
#endif
    pgd_init_late(m);
#ifndef MUTANT_READY_BEFORE_LATE_INIT
    set_stage(m, READY)
#endif
}

/* Somebody has a share in the child's mm, and a kernel thread is to work in it, if it has come so far. */
inline adopt() {
    FN(of)
    atomic {
        if
        :: mem[CHILD] != 0 -> m = mem[CHILD]; mm_count[m]++
        :: else
        fi
    }
    if
    :: m == 0
    :: else ->
        load(STAGE(m), v);
        if
#ifndef MUTANT_ATTACH_BEFORE_READY
        :: v != READY -> drop_mm(m)
#endif
        :: else ->
            v = 0;
            found = m;
            m = 0;
            attach_held(found)
        fi
    fi;
    d_step { v = 0; m = 0 }
}

/* A child with CLONE_VM, which has not run yet. */
inline clone_vm() {
    FN(copy_process) FN(publish_again)
    mm_count[task]++;
    store(CHILD, task);
    mm_visible_before_reference_read();
    pgd_attach(task)
}

/* The child is scheduled, on this CPU. */
inline run_child() {
    load(CHILD, found);
    switch_mm(found);
    found = 0
}

/* kthread_use_mm: somebody held the mm, and no walk need have found it. */
inline attach_held(m) {
    FN(kthread_use_mm) FN(publish_again)
    task = m;
    store(TASK(me), task);
    found = 0;
#ifndef MUTANT_ATTACH_WITHOUT_LATE_INIT
    mm_visible_before_reference_read();
    pgd_attach(task);
#endif
    switch_mm(task)
}

inline attach(m) {
    mm_count[m]++;
    attach_held(m)
}

/* The task lets its mm go, and the CPU stays on it, lazily. */
inline exit() {
    FN(exit) FN(kthread_unuse_mm)
    store(TASK(me), 0);
    drop_mm(task);
    task = 0
}

/* ---- CPU B: growth, replace, reclaim. */

#define CAN_UPDATE (DRAINED && mem[UPDATE] == 0)
inline lock() { mem[UPDATE] = 1 }
inline unlock() { store(UPDATE, 0) }

/* Under the updaters' lock. */
inline change(v) {
    FN(store) FN(bump)
    load(GEN, g);
    g++;
    changed_at = g;
#ifdef MUTANT_BUMP_BEFORE_STORE
    store(GEN, g);
#endif
    store(REF, v);
#ifndef MUTANT_BUMP_BEFORE_STORE
    store(GEN, g);
#endif
    g = 0
}

inline reference_stored_before_walk() {
    FN(reference_stored_before_walk) FN(smp_mb)
#ifndef MUTANT_NO_BARRIER_BEFORE_WALK
    DRAINED
#else
    skip
#endif
}

inline visit(word) {
    atomic { load(word, m) };
    if
    :: m != 0 -> settle_in_turn(m)
    :: else
    fi;
    m = 0
}

inline for_each_published() {
    FN(for_each_published)
#ifdef HAS_CHILD
    visit(CHILD);
#endif
    visit(TASK(0));
#if CPUS > 1
    visit(TASK(1));
#endif
#if CPUS > 2
    visit(TASK(2));
#endif
}

inline for_each_loaded() {
    FN(for_each_loaded)
    visit(LOADED(0));
#if CPUS > 1
    visit(LOADED(1));
#endif
#if CPUS > 2
    visit(LOADED(2));
#endif
}

inline flush_kernel_tlb() {
    FN(flush_kernel_tlb)
#ifndef MUTANT_NO_FLUSH
#ifndef MUTANT_FLUSH_PASSES_A_CPU_BY
    tlb[0] = NONE;
#endif
#if CPUS > 1
    tlb[1] = NONE;
#endif
#if CPUS > 2
    tlb[2] = NONE;
#endif
#endif
    flushed = 1
}

inline flush_if_due() {
    FN(is_flush_due)
    atomic { CAN_UPDATE -> v = flush_due }
    if
    :: v -> flush_kernel_tlb()
    :: else
    fi;
    v = 0
}

inline sync_global_pgds() {
    FN(sync_global_pgds)
    load(GEN, walked_from);
    reference_stored_before_walk();
#ifdef MUTANT_FLUSH_BEFORE_WALK
    flush_if_due();
#endif
#ifdef MUTANT_CPUS_BEFORE_TASKS
    for_each_loaded();
    for_each_published();
#else
    for_each_published();
#ifndef MUTANT_NO_VISIT_OF_CPUS
    for_each_loaded();
#endif
#endif
#if !defined(MUTANT_FLUSH_BEFORE_WALK) && !defined(MUTANT_HELPER_DOES_NOT_FLUSH)
    flush_if_due();
#endif
    FN(mark_synced)
    atomic {
        CAN_UPDATE ->
        lock();
        if
#ifndef MUTANT_MARK_WITHOUT_LOOKING
        :: changed_at <= walked_from ->
#else
        :: true ->
#endif
            flush_due = 0;
            load(POPULATED, v);
            if
            :: v -> store(SYNCED, 1)
            :: else
            fi
#ifndef MUTANT_MARK_WITHOUT_LOOKING
        :: else
#endif
        fi;
        unlock();
        v = 0; walked_from = 0
    }
}

/* A frame for a table; none when there is none. */
inline take_frame() {
    atomic {
        if
        :: frame[1] == FREE -> f = 1
#if TABLES > 1
        :: frame[2] == FREE -> f = 2
#endif
#if TABLES > 2
        :: frame[3] == FREE -> f = 3
#endif
        :: else -> f = 0
        fi;
        if
        :: f != 0 -> frame[f] = IN_USE; gone[f] = 0; reclaimed[f] = 0
        :: else
        fi
    }
}

inline give_back_frame() {
    d_step {
        if
        :: f != 0 -> frame[f] = FREE; f = 0
        :: else
        fi
    }
}

inline grow() {
    FN(grow)
    read_lock();
    FN(populate)
    do
    :: load(POPULATED, v);
       if
       :: !v && f == 0 -> take_frame(); if :: f == 0 -> goto out_of_frames :: else fi
       :: else
       fi;
       atomic {
           CAN_UPDATE ->
           load(POPULATED, v);
           if
           :: v -> lock(); shares++; mine++; unlock(); break
           :: !v && f != 0 ->
               lock();
               shares++; mine++;
               store(USED, 1);
               store(POPULATED, 1);
               change(f);
               f = 0;
               unlock();
               break
           :: else     /* reclaimed since it was looked at */
           fi
       }
    od;
    give_back_frame();
    FN(is_synced)
#ifdef MUTANT_PRESENT_IS_SYNCED
    load(POPULATED, v);
#else
    load(SYNCED, v);
#endif
    if
    :: v -> v = 0
    :: else -> sync_global_pgds()
    fi;
    atomic { flushed = 0; v = 0; handed++ }
#ifdef HAS_REPLACE
    d_step { mapped_in = mem[REF] }
#endif
out_of_frames:
    read_unlock()
}

/* The rest of a reclaim whose entry is gone from the reference already, and from everybody's mind. */
inline late_walk() {
    read_lock();
    sync_global_pgds();
    flushed = 0;
    read_unlock()
}

/* Frees a table a grace period after the walk and the flush. */
inline call_rcu() {
    FN(call_rcu)
    atomic {
        DRAINED ->
        gone[old] = 1;
#ifdef MUTANT_NO_GRACE_PERIOD
        frame[old] = FREE;
#else
        frame[old] = GRACE;
        waits[old] = sections;
#endif
        old = 0
    }
}

inline sync_retired() {
    FN(sync_retired)
#ifdef MUTANT_FREED_BEFORE_WALK
    if
    :: old != 0 -> call_rcu()
    :: else
    fi;
#endif
    sync_global_pgds();
    if
    :: flushed -> flushed = 0
    :: else ->
        /* For the pages that this one has unmapped; the model has none. */
        flush_kernel_tlb();
        flushed = 0
    fi;
    if
    :: old != 0 -> call_rcu()
    :: else
    fi
}

inline replace() {
    take_frame();
    if
    :: f == 0
    :: else ->
        FN(replace)
        read_lock();
        atomic {
            CAN_UPDATE ->
            if
            :: shares == 1 && mine == 1 ->
                lock();
                load(REF, old);
                mapped_in = 0;
#ifndef MUTANT_REPLACED_WITHOUT_FLUSH
                flush_due = 1;
#endif
#ifndef MUTANT_REPLACED_STAYS_SYNCED
                store(SYNCED, 0);
#endif
                change(f);
                f = 0;
                unlock()
            :: else
            fi
        }
        if
        :: old != 0 -> sync_retired()
        :: else -> give_back_frame()
        fi;
        read_unlock()
    fi
}

inline reclaim() {
    if
    :: mine == 0
    :: else ->
        FN(reclaim)
        atomic { handed--; mine--; mapped_in = 0 }
        read_lock();
        FN(retire)
        atomic {
            CAN_UPDATE ->
            lock();
            shares--;
            if
            :: shares == 0 ->
                load(REF, old);
                reclaimed[old] = 1;
                flush_due = 1;
#ifndef MUTANT_RECLAIMED_STAYS_SYNCED
                store(SYNCED, 0);
#endif
#ifndef MUTANT_RECLAIMED_STAYS_POPULATED
                store(POPULATED, 0);
#endif
                change(NONE)
            :: else
            fi;
            unlock()
        }
        sync_retired();
        read_unlock()
    fi
}

/* ---- Software that reads the kernel's tables, and has no range there. */

inline lookup() {
    FN(lookup)
    read_lock();
    load(REF, v);
    if
    :: IS_LIVE(v) -> assert(frame[v] != FREE)
    :: else
    fi;
    v = 0;
    read_unlock()
}

/* ---- The user half: who has a page cached that is taken away. */

#ifdef HAS_USER_FLUSH
inline announce(root) {
    FN(announce)
    store(ANNOUNCED, root);
    FN(root_announced_before_translation)
#ifndef MUTANT_NO_BARRIER_BEHIND_ANNOUNCEMENT
    DRAINED
#else
    skip
#endif
}

/* From root 1 through root 2, whose page is taken away, to root 3. */
inline pass_through() {
    announce(2);
    /* The MMU walks, and remembers. */
    atomic { v = mem[ENTRY] };
    store(NAMED, 2);
    announce(3);
    /* Still on root 2. */
    assert(v == 0 || mem[PAGE] == 0);
    /* CR3 has been loaded. */
    store(NAMED, 3);
    v = 0
}

inline take_away() {
    store(ENTRY, 0);
    FN(entries_changed_before_roots_read)
#ifndef MUTANT_NO_BARRIER_BEFORE_ROOTS
    DRAINED;
#endif
    FN(may_translate)
#ifndef MUTANT_LOADED_BEFORE_ANNOUNCED
    load(ANNOUNCED, v);
    load(NAMED, m);
#else
    load(NAMED, m);
    load(ANNOUNCED, v);
#endif
    if
    :: v == 2 || m == 2 -> skip    /* is flushed */
    :: else -> atomic { mem[PAGE] = 1 }
    fi;
    v = 0; m = 0
}
#endif

/* ---- A CPU, and what it does one after the other. */

#define GROW    1
#define REPLACE 2
#define RECLAIM 3
#define FORK    4    /* and run the child; an exec when the CPU's task has an mm already */
#define ATTACH  5
#define EXIT    6
#define LEAVE   7    /* switch from a borrowed mm to the reference PGD */
#define SPAWN   8    /* a child that does not run yet */
#define ADOPT   9    /* attach the child's mm */
#define CLONE   10   /* a child with CLONE_VM, which does not run yet */
#define RUN_IT  11   /* the child */
#define LOOK_UP 12
#define WALK    13
#define PASS    14
#define TAKE    15
#define THEN(one, other) ((one) + 16 * (other))

/* `own`: the first mm of those that this CPU makes. `mine`: the ranges in its hands. */
proctype Cpu(byte me; int program; byte own; byte mine) {
    byte i, v, current, found, g, s, m, walked_from, f, old, old_mm, held, task;
    bit flushed;
    task = mem[TASK(me)];
    do
#ifdef HAS_GROW
    :: program % 16 == GROW -> grow(); program = program / 16
#endif
#ifdef HAS_REPLACE
    :: program % 16 == REPLACE -> replace(); program = program / 16
#endif
#ifdef HAS_RECLAIM
    :: program % 16 == RECLAIM -> reclaim(); program = program / 16
#endif
#ifdef HAS_FORK
    :: program % 16 == FORK -> fork_or_exec(own); own++; program = program / 16
#endif
#ifdef HAS_ATTACH
    :: program % 16 == ATTACH -> attach(own); own++; program = program / 16
#endif
#ifdef HAS_EXIT
    :: program % 16 == EXIT -> exit(); program = program / 16
    :: program % 16 == LEAVE -> switch_mm(0); program = program / 16
#endif
#ifdef HAS_CHILD
    :: program % 16 == SPAWN -> spawn(own); program = program / 16
    :: program % 16 == ADOPT -> adopt(); program = program / 16
    :: program % 16 == CLONE -> clone_vm(); program = program / 16
    :: program % 16 == RUN_IT -> run_child(); program = program / 16
#endif
#ifdef HAS_WALK
    :: program % 16 == WALK -> late_walk(); program = program / 16
#endif
#ifdef HAS_LOOK_UP
    :: program % 16 == LOOK_UP -> lookup(); program = program / 16
#endif
#ifdef HAS_USER_FLUSH
    :: program % 16 == PASS -> pass_through(); program = program / 16
    :: program % 16 == TAKE -> take_away(); program = program / 16
#endif
    :: program == 0 -> break
    od
}

init {
    byte c;
    atomic {
#ifndef STARTS_EMPTY
        /* One range has been handed out, in the table of frame 1. */
        mem[REF] = 1; mem[POPULATED] = 1; mem[USED] = 1; mem[SYNCED] = 1;
        shares = 1; handed = 1; frame[1] = IN_USE;
#endif
        SETUP;
        c = 0;
        do
        :: c < CPUS -> run Buffer(c); run Mmu(c); c++
        :: else -> break
        od;
        c = 0;
        run Rcu();
        RUN
    }
}
