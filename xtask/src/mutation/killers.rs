//! What may kill a mutant: tests of a mutated copy, built once and run with a mutant's number.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Test binaries that are built by one call of cargo.
#[derive(Debug)]
pub(super) struct Suite {
    /// Whether the model checker's atomics are in it.
    pub(super) loom: bool,
    pub(super) packages: &'static [&'static str],
    pub(super) features: &'static [&'static str],
    /// Names of test binaries; `lib` for the unit tests of the packages.
    pub(super) tests: &'static [&'static str],
    /// Beginnings of the names of tests that kill nothing: they are none of the product, or find what they find by luck.
    pub(super) left_out: &'static [&'static str],
    /// Parts of the names of tests that do on other machines, or under the other scheme, what another test does.
    pub(super) repeated: &'static [&'static str],
    /// Where cargo builds, from the root: where the dependencies have been built before.
    pub(super) target: &'static str,
    /// Whether its tests are fast to build, so that CI runs a sample of mutants against them.
    pub(super) is_sampled: bool,
}

/// How many times its limit a test may take by the clock.
const PATIENCE: u32 = 20;

/// What a process has had of the processors; `None` when it is gone.
fn processor_time(process: u32) -> Option<Duration> {
    // Fields 14 and 15 of proc(5), counted behind the name, which ends with the last parenthesis; in ticks of 10 ms.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// One test.
#[derive(Debug, Clone)]
pub(super) struct Killer {
    /// `binary::test`.
    pub(super) name: String,
    /// The model checker runs it.
    pub(super) is_model: bool,
    binary: PathBuf,
    test: String,
    directory: PathBuf,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// Failed.
    Failed {
        /// In which execution, if it counts them.
        executions: Option<u64>,
        /// After how many milliseconds of processor time.
        millis: u64,
    },
    /// Neither in the time that it had.
    NotYet,
}

impl Suite {
    /// Tells whether the test of this name is one of the suite's.
    pub(super) fn has(&self, killer: &str) -> bool {
        let Some((binary, _)) = killer.split_once("::") else { return false };
        let is_lib = || self.packages.iter().any(|package| package.replace('-', "_") == binary);
        self.tests.contains(&binary) || (self.tests.contains(&"lib") && is_lib())
    }

    /// Builds the tests in `copy`, and returns them.
    ///
    /// # Errors
    ///
    /// When cargo fails, or a test that is left out does not exist.
    pub(super) fn build(&self, root: &Path, copy: &Path) -> Result<Vec<Killer>, Box<dyn Error>> {
        let mut command = Command::new(env!("CARGO"));
        command
            .current_dir(copy)
            .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
            .arg("--target-dir")
            .arg(root.join(self.target))
            .stdout(Stdio::piped())
            // What a mutant leaves unused is nobody's concern.
            .stderr(Stdio::piped());
        if self.loom {
            // As `loom.rs` has it, so that the dependencies are built once for both.
            command.arg("--release").env("RUSTFLAGS", "--cfg loom");
        }
        for package in self.packages {
            command.args(["--package", package]);
        }
        if !self.features.is_empty() {
            command.arg("--features").arg(self.features.join(","));
        }
        for &test in self.tests {
            if test == "lib" {
                command.arg("--lib");
            } else {
                command.args(["--test", test]);
            }
        }
        let output = command.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the mutated copy does not build:\n{said}").into());
        }
        let mut killers = Vec::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let message: serde_json::Value = serde_json::from_str(line)?;
            let Some(binary) = message["executable"].as_str() else { continue };
            let target = message["target"]["name"].as_str().ok_or("a target without name")?;
            let manifest = message["manifest_path"].as_str().ok_or("no manifest")?;
            let directory = Path::new(manifest).parent().ok_or("no directory")?;
            // Another build of the same tests in the same directory takes the name, and this link keeps the file.
            let kept = copy.with_extension("tests").join(target);
            fs::create_dir_all(kept.parent().ok_or("no directory")?)?;
            let _ = fs::remove_file(&kept);
            fs::hard_link(binary, &kept)?;
            killers.extend(tests_of(target, &kept, directory, self.loom)?);
        }
        for left_out in self.left_out {
            if !killers.iter().any(|killer| killer.name.starts_with(left_out)) {
                return Err(format!("no test {left_out} to be left out").into());
            }
        }
        killers.retain(|killer| {
            !self.left_out.iter().any(|left_out| killer.name.starts_with(left_out))
                && !self.repeated.iter().any(|part| killer.name.contains(part))
        });
        Ok(killers)
    }
}

fn tests_of(
    target: &str,
    binary: &Path,
    directory: &Path,
    is_model: bool,
) -> Result<Vec<Killer>, Box<dyn Error>> {
    let output = Command::new(binary).args(["--list", "--format=terse"]).output()?;
    let tests = String::from_utf8(output.stdout)?;
    Ok(tests
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(|test| Killer {
            name: format!("{target}::{test}"),
            is_model,
            binary: binary.to_owned(),
            test: test.to_owned(),
            directory: directory.to_owned(),
        })
        .collect())
}

impl Killer {
    /// Runs the test with mutant `number`, 0 for none, for at most `limit` of processor time, and of [`PATIENCE`] times that by the clock. `scratch` is a file for what it prints.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(super) fn run(
        &self,
        number: usize,
        limit: Duration,
        scratch: &Path,
    ) -> Result<Verdict, Box<dyn Error>> {
        self.run_with(number, limit, scratch, None)
    }

    /// Returns the numbers of the mutants whose sites the test executes within `limit`.
    ///
    /// # Errors
    ///
    /// When the test fails without a mutant, or cannot be started.
    ///
    /// What has been found out of the same binary is kept beside it.
    pub(super) fn reached(
        &self,
        limit: Duration,
        scratch: &Path,
    ) -> Result<BTreeSet<usize>, Box<dyn Error>> {
        let kept = format!("{}.reached-by-{}", self.binary.display(), self.test.replace("::", "-"));
        let kept = Path::new(&kept);
        let built = fs::metadata(&self.binary)?.modified()?;
        let is_new = |kept: fs::Metadata| kept.modified().is_ok_and(|kept| kept > built);
        let reached = scratch.with_extension("reached");
        let _ = fs::remove_file(&reached);
        if fs::metadata(kept).is_ok_and(is_new) {
            let numbers = fs::read_to_string(kept)?;
            return Ok(numbers.lines().filter_map(|line| line.parse().ok()).collect());
        }
        if let Verdict::Failed { .. } = self.run_with(0, limit, scratch, Some(&reached))? {
            let said = fs::read_to_string(scratch)?;
            return Err(format!("{} fails without a mutant:\n{said}", self.name).into());
        }
        let numbers = fs::read_to_string(&reached).unwrap_or_default();
        fs::write(kept, &numbers)?;
        Ok(numbers.lines().filter_map(|line| line.parse().ok()).collect())
    }

    fn run_with(
        &self,
        number: usize,
        limit: Duration,
        scratch: &Path,
        reached: Option<&Path>,
    ) -> Result<Verdict, Box<dyn Error>> {
        let output = File::create(scratch)?;
        let mut command = Command::new(&self.binary);
        command
            .current_dir(&self.directory)
            .args([&self.test, "--exact", "--nocapture", "--test-threads=1"])
            .env("MUTANT", number.to_string())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        if let Some(path) = reached {
            command.env("MUTANTS_REACHED", path);
        }
        let started = Instant::now();
        let mut running = command.spawn()?;
        let mut used = Duration::ZERO;
        let status = loop {
            if let Some(status) = running.try_wait()? {
                break status;
            }
            // Processor time: what others do on the machine decides nothing.
            used = processor_time(running.id()).unwrap_or(used);
            if used > limit || started.elapsed() > limit * PATIENCE {
                running.kill()?;
                running.wait()?;
                return Ok(Verdict::NotYet);
            }
            thread::sleep(Duration::from_millis(5));
        };
        if status.success() {
            return Ok(Verdict::Passed);
        }
        // By the tests' own count; a test that dies at once has none.
        let said = fs::read(scratch)?;
        let said = String::from_utf8_lossy(&said);
        let executions = said
            .lines()
            .rev()
            .find_map(|line| line.split_once("failed in execution ")?.1.trim().parse().ok());
        let millis = u64::try_from(used.as_millis()).unwrap_or(u64::MAX);
        Ok(Verdict::Failed { executions, millis })
    }
}
