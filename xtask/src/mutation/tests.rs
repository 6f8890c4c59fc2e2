//! The tool on crates small enough to know what it has to find.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::killers::Suite;
use super::sites::{self, Mutant};
use super::survey::Project;
use super::table::{self, Fate, Row};
use super::{Bench, bare, fs, sample};

fn find(text: &str) -> Vec<Mutant> {
    let barriers = sites::named_barriers(&syn::parse_file(text).expect("Rust"));
    sites::find("a.rs", text, 1, "crate::mutation", &barriers).expect("understood").mutants
}

fn mutations(text: &str) -> Vec<String> {
    find(text).into_iter().map(|mutant| mutant.mutation).collect()
}

#[test]
fn each_ordering_is_weakened_by_one_step_and_relaxed_not_at_all() {
    let text = "fn f(a: &A) {
        a.load(Ordering::Acquire);
        let _ = a.swap(1, Ordering::AcqRel);
        let _ = a.compare_exchange(1, 2, Ordering::Release, Ordering::Acquire);
        let _ = a.load(Ordering::SeqCst);
        let _ = a.load(Ordering::Relaxed);
    }";
    assert_eq!(
        mutations(text),
        [
            "Acquire -> Relaxed",
            "AcqRel -> Acquire",
            "AcqRel -> Release",
            "Release -> Relaxed",
            "Acquire -> Relaxed on failure",
            "SeqCst -> Acquire",
        ]
    );
}

#[test]
fn a_named_barrier_is_removed_and_weakened_where_it_is_called() {
    let text = "fn stored_before_walk() { smp_mb(); }
        fn one() { stored_before_walk(); }
        fn other() { stored_before_walk(); }";
    let found = find(text);
    let places: Vec<_> = found.iter().map(|it| (&*it.function, &*it.mutation)).collect();
    assert_eq!(
        places,
        [
            ("one", "removed"),
            ("one", "acquire-release only"),
            ("other", "removed"),
            ("other", "acquire-release only"),
        ]
    );
}

#[test]
fn publications_flushes_deferrals_and_locks_are_found() {
    assert_eq!(
        mutations("fn f(m: &M) { m.prepare(); m.join(); }"),
        ["before the statement above", "removed"]
    );
    assert_eq!(mutations("fn f() { K::flush_kernel_tlb(range); }"), ["removed"]);
    assert_eq!(mutations("fn f() { R::call_rcu(move || free()); }"), ["runs at once"]);
    assert_eq!(mutations("fn f(l: &L) { let _held = l.lock(); }"), ["not taken"]);
    assert_eq!(
        mutations("fn f(a: &A) { a.store(1, Ordering::Release); }"),
        ["removed", "Release -> Relaxed"]
    );
}

#[test]
fn tests_and_what_only_the_model_checker_has_are_left_out() {
    let text =
        "#[cfg(all(test, not(loom)))] mod tests { fn f(a: &A) { a.load(Ordering::Acquire); } }
        fn f() { #[cfg(loom)] if weak() { return fence(Ordering::AcqRel); } }";
    assert_eq!(find(text), []);
}

#[test]
fn what_is_not_understood_is_an_error() {
    let barriers = BTreeSet::new();
    let order = sites::find("a.rs", "fn f() { let o = Ordering::Acquire; }", 1, "m", &barriers);
    assert!(order.expect_err("a bare ordering").contains("no argument of an access"));
    let barrier = sites::find("a.rs", "fn f() -> () { g(smp_mb()) }", 1, "m", &barriers);
    assert!(barrier.expect_err("nested").contains("no statement of its own"));
}

#[test]
fn a_reason_is_taken_from_the_comment_at_the_site_and_is_for_one_mutation_if_it_says_so() {
    let text = "fn f(a: &A) {
        // Acquire: for nothing.
        // MUTATION(AcqRel -> Release): nobody
        // looks.
        let _ = a.swap(1, Ordering::AcqRel);
    }";
    let reasons: Vec<_> = find(text).into_iter().map(|it| it.reason).collect();
    assert_eq!(reasons, [None, Some(String::from("nobody looks."))]);
    let idle = "// MUTATION: of nothing\nfn f() {}";
    let found = sites::find("a.rs", idle, 1, "m", &BTreeSet::new()).expect("understood");
    assert_eq!(found.idle_reasons, [1]);
}

#[test]
fn a_table_is_read_as_it_was_written() {
    let mutants = find(
        "fn f(a: &A) { a.store(x | y, Ordering::Release); a.store(x | y, Ordering::Release); }",
    );
    let fates =
        [killed(Some(7), 1230), killed(None, 0), Fate::Carried("a | b".into()), Fate::Unknown];
    let rows = fates.map(|fate| Row { fate, source: 0xfedc_ba98_7654_3210 });
    let read = table::read(&table::written(&mutants, &rows)).expect("a table");
    let expected: BTreeMap<_, _> = table::keys(&mutants).into_iter().zip(rows).collect();
    assert_eq!(read, expected);
}

fn killed(executions: Option<u64>, millis: u64) -> Fate {
    Fate::Killed { killer: String::from("flag::raised_flag_is_seen"), executions, millis }
}

/// A crate whose test notices that a flag is not stored, and cannot notice that it is stored without release.
const FIXTURE: &str = "use core::sync::atomic::{AtomicBool, Ordering};
pub struct Flag(AtomicBool);
impl Flag {
    pub const fn new() -> Self { Self(AtomicBool::new(false)) }
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }
    pub fn is_raised(&self) -> bool { self.0.load(Ordering::Relaxed) }
}
";

const FIXTURE_TEST: &str = "#[test]
fn raised_flag_is_seen() {
    let flag = fixture::Flag::new();
    flag.raise();
    assert!(flag.is_raised());
}
";

fn fixture(name: &str, source: &str) -> Bench {
    let root = super::root().join("target/mutation-fixtures").join(name);
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file")).expect("a directory");
        fs::write(path, text).expect("written");
    };
    write("Cargo.toml", "[workspace]\nmembers = [\"fixture\"]\nresolver = \"3\"\n");
    write("Cargo.lock", "version = 4\n");
    write(
        "fixture/Cargo.toml",
        "[package]\nname = \"fixture\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    write("fixture/src/lib.rs", source);
    write("fixture/tests/flag.rs", FIXTURE_TEST);
    let project = Project {
        root,
        crates: &["fixture"],
        lowest: "fixture",
        runtime: "",
        additions: &[],
        others: &[],
    };
    let mut bench = Bench::new(project).expect("understood");
    let suite = Suite {
        loom: false,
        packages: &["fixture"],
        features: &[],
        tests: &["flag"],
        left_out: &[],
        repeated: &[],
        is_sampled: true,
        target: "target",
    };
    bench.build([suite].iter()).expect("built");
    bench
}

/// The table that says `fates` of the bench's mutants, all of them just found out.
fn recorded(bench: &Bench, fates: &[Fate]) -> BTreeMap<table::Key, Row> {
    let mutants = &bench.survey.mutants;
    let rows = mutants
        .iter()
        .zip(fates)
        .map(|(mutant, fate)| Row { fate: fate.clone(), source: mutant.source });
    table::keys(mutants).into_iter().zip(rows).collect()
}

fn searched(bench: &Bench, known: &BTreeMap<table::Key, Row>) -> Vec<Row> {
    bench.search(known, None, Duration::from_secs(5), &|_| Ok(())).expect("searched")
}

fn is_killed(row: &Row) -> bool {
    matches!(&row.fate, Fate::Killed { killer, .. } if killer == "flag::raised_flag_is_seen")
}

#[test]
fn a_planted_mutant_is_killed_and_an_unneeded_ordering_survives_and_fails_the_check() {
    let bench = fixture("mutation-planted", FIXTURE);
    let rows = searched(&bench, &BTreeMap::new());
    assert!(is_killed(&rows[0]), "{rows:?}");
    assert_eq!(rows[1].fate, Fate::Survives);

    let drifted = bench.compare(&BTreeMap::new()).expect_err("an empty table").to_string();
    assert_eq!(drifted.matches("not in the table").count(), 2, "{drifted}");

    let all = [1, 2];
    let found: Vec<Fate> = rows.into_iter().map(|row| row.fate).collect();
    let survivor =
        bench.check(&recorded(&bench, &found), &all).expect_err("a survivor").to_string();
    assert!(survivor.contains("survives") && survivor.contains("Release -> Relaxed"), "{survivor}");

    let reason = [killed(None, 0), Fate::Carried(String::from("said who?"))];
    let wrong = bench.check(&recorded(&bench, &reason), &all).expect_err("no reason").to_string();
    assert!(wrong.contains("no comment says why"), "{wrong}");

    let killer = [killed(None, 0), killed(None, 0)];
    let wrong =
        bench.check(&recorded(&bench, &killer), &all).expect_err("kills no more").to_string();
    assert!(wrong.contains("no longer kills") && !wrong.contains("removed"), "{wrong}");
}

#[test]
fn a_search_goes_on_where_it_was_stopped_and_does_again_what_was_found_of_other_code() {
    let bench = fixture("mutation-again", FIXTURE);
    // Nobody runs this one: it would be seen to be killed by the test.
    let mark = Fate::Killed {
        killer: String::from("flag::raised_flag_is_seen"),
        executions: Some(99),
        millis: 0,
    };
    let known = recorded(&bench, &[mark.clone(), Fate::Survives]);
    assert_eq!(searched(&bench, &known)[0].fate, mark);
    let older: BTreeMap<_, _> =
        known.into_iter().map(|(key, row)| (key, Row { source: row.source + 1, ..row })).collect();
    let rows = searched(&bench, &older);
    assert!(is_killed(&rows[0]) && rows[0].fate != mark, "{rows:?}");
    assert_eq!(rows[0].source, bench.survey.mutants[0].source);
}

#[test]
fn a_survivor_with_a_reason_at_its_site_passes_until_its_function_changes() {
    let site = "        self.0.store(true";
    let reason =
        "        // MUTATION(Release -> Relaxed): the flag says nothing of anything else.\n";
    let bench = fixture("mutation-reason", &FIXTURE.replace(site, &format!("{reason}{site}")));
    let rows = searched(&bench, &BTreeMap::new());
    let reason = String::from("the flag says nothing of anything else.");
    assert_eq!(rows[1].fate, Fate::Carried(reason));
    let known: BTreeMap<_, _> = table::keys(&bench.survey.mutants).into_iter().zip(rows).collect();
    let covered = bench.check(&known, &[1, 2]).expect("all accounted for");
    assert_eq!(covered, "1 mutants killed by 1 tests, 1 for a reason given at the site");
    let older =
        known.into_iter().map(|(key, row)| (key, Row { source: row.source + 1, ..row })).collect();
    let stale = bench.compare(&older).expect_err("changed").to_string();
    assert!(stale.contains("search it again") && !stale.contains("removed"), "{stale}");
}

#[test]
fn a_function_has_changed_when_its_code_has_and_not_its_comments() {
    let source = |text: &str| find(text)[0].source;
    let text = "fn f(a: &A) { a.store(1, Ordering::Release); }";
    assert_eq!(
        source(text),
        source("/// New.\nfn f(a: &A) {\n // Why.\n a.store(1, Ordering::Release);\n}")
    );
    assert_ne!(source(text), source("fn f(a: &A) { g(); a.store(1, Ordering::Release); }"));
    assert_eq!(source(text), source(&format!("fn g() {{}} {text}")));
}

#[test]
fn a_publication_comes_after_the_hook_or_without_it() {
    assert_eq!(
        mutations(
            "fn f(mm: M) { let (published, old) = mm.publish(p); load(published.init_late()); }"
        ),
        ["after the hook", "without the hook"]
    );
    assert_eq!(
        mutations(
            "fn f(mm: M) { let (attached, ()) = publish_again(mm, p); attached.init_late(); }"
        ),
        ["after the hook", "without the hook"]
    );
    let point = "impl PublicationPoint<K> for P { fn publish(self, mm: M) -> O { self.0.lock().replace(mm) } }";
    assert_eq!(mutations(point), ["removed"]);
}

#[test]
fn the_sample_has_of_each_file_what_is_killed_fastest_and_no_more_than_there_is_time_for() {
    let of = |file: &str| {
        sites::find(file, "fn f() { g(); smp_mb(); }", 1, "m", &BTreeSet::new())
            .expect("understood")
            .mutants[0]
            .clone()
    };
    let mutants = [of("a.rs"), of("a.rs"), of("b.rs"), of("b.rs")];
    let rows =
        [killed(None, 900), killed(None, 100), killed(None, 200), Fate::Carried(String::new())]
            .map(|fate| Row { fate, source: 0 });
    let of = |number: usize| (&mutants[number - 1], &rows[number - 1]);
    assert_eq!(sample(&[1, 2, 3, 4], of, |_| true, Duration::from_secs(9)), [2, 3, 1]);
    assert_eq!(sample(&[1, 2, 3, 4], of, |_| true, Duration::from_secs(1)), [2, 3]);
    assert!(sample(&[1, 2, 3, 4], of, |_| false, Duration::from_secs(9)).is_empty());
}

#[test]
fn every_ordering_barrier_and_publication_of_the_product_has_a_mutant() {
    let project = super::product();
    let survey = super::survey::Survey::of(&project).expect("understood");
    let barriers: Vec<&str> = survey.barriers.iter().map(String::as_str).collect();
    let (mut lacking, mut unused) = (Vec::new(), sites::NO_SITES.to_vec());
    for (path, _) in &survey.files {
        let text = fs::read_to_string(project.root.join(path)).expect("read before");
        let path = path.to_str().expect("text");
        let mutants: Vec<&Mutant> = survey.mutants.iter().filter(|it| it.file == path).collect();
        for word in bare::words(&text, &barriers) {
            let has = mutants.iter().any(|mutant| {
                let names_it = || mutant.code.contains(&word.word) || mutant.site.len() > 100;
                if word.is_ordering {
                    mutant.site.start == word.at
                        || (mutant.code.starts_with("fence") && mutant.site.contains(&word.at))
                } else {
                    mutant.site.contains(&word.at) && names_it()
                }
            });
            let is_no_site = |no: &(&str, &str, &str)| (no.0, no.1) == (path, word.word.as_str());
            if !has && !sites::NO_SITES.iter().any(is_no_site) {
                lacking.push(format!("{path}:{}: {}", word.line, word.word));
            }
            unused.retain(|no| has || !is_no_site(no));
        }
    }
    assert!(lacking.is_empty(), "no mutant:\n{}", lacking.join("\n"));
    assert_eq!(unused, [], "exceptions that are none");
}

#[test]
fn the_product_has_a_mutant_for_every_name_that_publishes() {
    let survey = super::survey::Survey::of(&super::product()).expect("understood");
    for name in sites::PUBLISHES {
        let has = survey.mutants.iter().any(|mutant| mutant.code.contains(&format!("{name}(")));
        assert!(has, "nothing is called {name} in the protocol crates any more");
    }
    assert!(survey.mutants.len() > 150, "{} mutants", survey.mutants.len());
    assert!(
        survey.mutants.iter().any(|it| Path::new(&it.file) == Path::new("arch-x86/src/sync.rs"))
    );
}
