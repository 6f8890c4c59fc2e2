//! `docs/hardware.md`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::row::Row;

/// Barriers whose absence no race on an x86 processor shows.
const NOT_RACED: &[&str] = &[
    "late init's barrier behind its marks (`mark-barrier-gone`): the mark is put there by `xchg`, which is one",
    "a walker's barrier behind the mm it has found (`found-barrier-gone`): the lock of the PGD right before it is one",
    "the two barriers of the gate of forks and signals to many: they are weakened under loom only; as store buffering they are the first rows",
    "those of RCU's sections and grace periods: as above",
];

/// Writes down what was seen, and on what machine.
pub(super) fn document(
    litmus: &[Row],
    duels: &[Row],
    load: &str,
) -> Result<String, Box<dyn Error>> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let fact = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, value)| value)
    };
    let virtual_machine = if fact("flags").split(' ').any(|flag| flag == "hypervisor") {
        ", under a hypervisor"
    } else {
        ""
    };
    let date = Command::new("date").args(["-u", "+%F"]).output()?;
    let mut text = format!(
        "# What this machine shows of a missing barrier\n\n\
         Written by `cargo xtask hardware`; do not edit.\n\n\
         {} (family {}, model {}, stepping {}), {} processors{virtual_machine}; {}; load before: {load}. Two threads, each kept on a processor of its own. \
         What a race is, and why the delays follow its outcomes, is told in `crates/litmus/src/race.rs` and `crates/storm/src/duel.rs`.\n",
        fact("model name"),
        fact("cpu family"),
        fact("model\t"),
        fact("stepping"),
        cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        String::from_utf8_lossy(&date.stdout).trim(),
    );
    for (title, rows) in
        [("Litmus tests", litmus), ("The crates' fork against their growth: lost updates", duels)]
    {
        write!(
            text,
            "\n## {title}\n\n| form | rounds | seen | rate | expected |\n|---|---|---|---|---|\n"
        )?;
        for row in rows {
            writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                row.name,
                row.rounds,
                row.seen,
                row.rate(),
                row.expected()
            )?;
        }
    }
    text.push_str(
        "\n\"Hidden\": over the list of mms the task lock, taken between joining the list and late init, is a barrier too; through tasks the walk's first \
         read comes too late after the reference store ([findings.md](findings.md)).\n\n\
         ## Not raced\n\nNo race on an x86 processor shows the absence of these; the models do:\n\n",
    );
    for barrier in NOT_RACED {
        writeln!(text, "* {barrier}")?;
    }
    Ok(text)
}
