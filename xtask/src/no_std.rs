//! Proving that no std is in the product crates.
//!
//! `crates/no-std-guard` is a static library without std that links all of them. That it compiles is the
//! first half of the proof: it has a panic handler, and with std there would be two. This file looks at the result for
//! the second half: every product crate is really in it, std is not, and what it leaves undefined
//! comes from nowhere but the compiler and the guard's own missing half.
//!
//! `--self-check` shows that both halves can fail.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use elf::ElfBytes;
use elf::abi::SHN_UNDEF;
use elf::endian::AnyEndian;
use serde_json::Value;

/// Prove that no std is in the product crates
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also show that std and the C library would be noticed
    #[arg(long)]
    self_check: bool,
}

/// The crates that a kernel links.
const PRODUCT: [&str; 6] =
    ["arch_x86", "kernel_exec", "kernel_fork", "kernel_sync", "kernel_task", "mm_generic"];

/// Crates of std, and those that are there for it alone.
const STD: [&str; 4] = ["std", "panic_unwind", "panic_abort", "libc"];

/// Functions that compiled code and the prebuilt core call, and that every freestanding program brings along; the
/// last two because that core can unwind.
const FREESTANDING: [&str; 8] = [
    "bcmp",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "strlen",
    "rust_eh_personality",
    "_Unwind_Resume",
];

/// Prefix of what is missing in the kernel that the guard instantiates (`crates/zero-cost/src/outside.rs`).
const OUTSIDE: &str = "kernel_";

/// What rustc says when there are two panic handlers.
const DUPLICATE: &str = "E0152";

/// Builds the guard with the feature off and on, and looks at the result.
pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    for features in ["", "pgd-init-late"] {
        let library = Library::read(&built(features)?)?;
        library.check().map_err(|error| format!("features [{features}]: {error}"))?;
        let asks: Vec<_> = library.undefined().filter(|name| !name.starts_with(OUTSIDE)).collect();
        println!("no std in {} product crates, features [{features}]", PRODUCT.len());
        println!("  what the library leaves to others: {}", asks.join(" "));
    }
    if arguments.self_check {
        self_check()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows that std, and the C library without std, are noticed.
fn self_check() -> Result<(), Box<dyn Error>> {
    let output = build("self-check-std")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !said.contains(DUPLICATE) {
        return Err(format!("self-check: std in a dependency is not noticed:\n{said}").into());
    }
    println!("self-check: std in a dependency is noticed ({DUPLICATE})");
    match Library::read(&built("self-check-c")?)?.check() {
        Err(error) if error.contains("getpid") => {
            println!("self-check: a call of the C library is noticed ({error})");
            Ok(())
        }
        other => {
            Err(format!("self-check: a call of the C library is not noticed: {other:?}").into())
        }
    }
}

/// Builds the guard and returns the path of the library.
fn built(features: &str) -> Result<PathBuf, Box<dyn Error>> {
    let output = build(features)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the guard does not build with features [{features}]:\n{said}").into());
    }
    String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "no_std_guard")
        .find_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo built the guard and did not say where it is".into())
}

fn build(features: &str) -> Result<Output, Box<dyn Error>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), PathBuf::from);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Ok(Command::new(cargo)
        .current_dir(workspace.join("crates/no-std-guard"))
        .args(["build", "--quiet", "--features", features])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(std::path::absolute(target)?.join("no-std"))
        // Flags for other builds, such as `--cfg loom`, would bring std in.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()?)
}

/// What a static library consists of.
#[derive(Debug, Default)]
struct Library {
    crates: BTreeSet<String>,
    defined: BTreeSet<String>,
    needed: BTreeSet<String>,
}

impl Library {
    fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let bytes = fs::read(path)?;
        let mut library = Self::default();
        for (name, object) in members(&bytes).ok_or("the library is no archive")? {
            // The members of crate `a_b` are called `a_b-<hash>.a_b.<hash>-cgu.0.rcgu.o`.
            if let Some((krate, _)) = name.split_once('-') {
                library.crates.insert(krate.to_owned());
            }
            library.add_symbols(object)?;
        }
        Ok(library)
    }

    fn add_symbols(&mut self, object: &[u8]) -> Result<(), Box<dyn Error>> {
        let elf = ElfBytes::<AnyEndian>::minimal_parse(object)?;
        let Some((symbols, names)) = elf.symbol_table()? else { return Ok(()) };
        for symbol in symbols.iter() {
            let name = names.get(symbol.st_name as usize)?.to_owned();
            let set =
                if symbol.st_shndx == SHN_UNDEF { &mut self.needed } else { &mut self.defined };
            set.insert(name);
        }
        // The first symbol of every table is nothing.
        self.needed.remove("");
        Ok(())
    }

    /// Symbols that the library needs and does not have.
    fn undefined(&self) -> impl Iterator<Item = &str> {
        self.needed.difference(&self.defined).map(String::as_str)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(missing) = PRODUCT.iter().find(|krate| !self.crates.contains(**krate)) {
            return Err(format!("{missing} is not in the guard"));
        }
        if let Some(krate) = STD.iter().find(|krate| self.crates.contains(**krate)) {
            return Err(format!("{krate} is in the guard"));
        }
        let strange: Vec<_> = self
            .undefined()
            .filter(|name| !name.starts_with(OUTSIDE) && !FREESTANDING.contains(name))
            .collect();
        if strange.is_empty() { Ok(()) } else { Err(format!("undefined: {}", strange.join(" "))) }
    }
}

/// The object files of an archive, with their names; `None` when it is malformed.
fn members(archive: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    const HEADER: usize = 60;
    let mut rest = archive.strip_prefix(b"!<arch>\n")?;
    let mut long_names: &[u8] = &[];
    let mut members = Vec::new();
    while rest.len() >= HEADER {
        let (header, after) = rest.split_at(HEADER);
        let name = str::from_utf8(&header[..16]).ok()?.trim_end();
        let size: usize = str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
        let contents = after.get(..size)?;
        match name.strip_prefix('/') {
            Some("/") => long_names = contents,
            // The table of symbols.
            Some("" | "SYM64/") => {}
            // `/<offset>`: the name stands in the table of long names, and ends with a slash.
            Some(offset) => {
                let name =
                    long_names.get(offset.parse().ok()?..)?.split(|&byte| byte == b'/').next()?;
                members.push((str::from_utf8(name).ok()?, contents));
            }
            None => members.push((name.trim_end_matches('/'), contents)),
        }
        // Members begin at even offsets.
        rest = after.get(size.next_multiple_of(2)..).unwrap_or_default();
    }
    Some(members)
}
