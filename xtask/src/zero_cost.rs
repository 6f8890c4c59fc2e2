//! Proving that the hook costs nothing where it is not used.
//!
//! `crates/zero-cost` has the fork, exec and attach paths of a kernel whose architecture has a kernel root
//! of its own. It is compiled, with all crates below it, in four variants:
//!
//! | sources | feature `pgd-init-late` |
//! |---|---|
//! | this workspace | off |
//! | this workspace | on: the default hooks are called |
//! | a copy without the hooks | off |
//! | a copy without the hooks | on: a call that was overlooked does not compile |
//!
//! The machine code of all of them must be the same. The copy is made by edits of exact text, so when the
//! sources change under an edit, the command fails and does not compare the wrong thing.
//!
//! `--self-check` shows that a difference would be seen: in a copy whose default hook is one `nop`.

mod addresses;
mod assembly;

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use assembly::Assembly;
use serde_json::Value;

/// Prove that the hook costs nothing: compare the machine code of fork paths with and without it
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Also show that the comparison sees a default hook of a single instruction
    #[arg(long)]
    self_check: bool,
}

/// The package that is compared, and its feature.
const PACKAGE: &str = "zero-cost";
const FEATURE: &str = "pgd-init-late";

/// One replacement in the copy. Line numbers stay, because panics carry them into the machine code.
struct Edit {
    file: &'static str,
    find: &'static str,
    replace: &'static str,
}

/// What takes the hooks out. The docs above the two methods stay, and become those of the next one.
const WITHOUT_HOOKS: [Edit; 4] = [
    Edit {
        file: "mm-generic/src/arch.rs",
        find: "    #[inline(always)]\n    fn pgd_init_late(&self, _pgd: &Self::Pgd) {}\n",
        replace: "\n\n",
    },
    Edit {
        file: "mm-generic/src/arch.rs",
        find: "    #[inline(always)]\n    fn pgd_attach(&self, _pgd: &Self::Pgd) {}\n",
        replace: "\n\n",
    },
    Edit {
        file: "mm-generic/src/publish.rs",
        find: "        #[cfg(feature = \"pgd-init-late\")]\n        \
               self.0.init_mm().arch().pgd_init_late(self.0.pgd());\n",
        replace: "\n\n",
    },
    Edit {
        file: "mm-generic/src/publish.rs",
        find: "        #[cfg(feature = \"pgd-init-late\")]\n        \
               self.0.init_mm().arch().pgd_attach(self.0.pgd());\n",
        replace: "\n\n",
    },
];

/// The least that a default hook could do. The functions named must be found to differ.
const WITH_A_NOP: [(Edit, &[&str]); 2] = [
    (
        Edit {
            file: "mm-generic/src/arch.rs",
            find: "fn pgd_init_late(&self, _pgd: &Self::Pgd) {}",
            replace: "fn pgd_init_late(&self, _pgd: &Self::Pgd) { unsafe { core::arch::asm!(\"nop\", \
                      options(nomem, nostack, preserves_flags)) } }",
        },
        &["fork_path", "copy_process_path", "exec_path"],
    ),
    (
        Edit {
            file: "mm-generic/src/arch.rs",
            find: "fn pgd_attach(&self, _pgd: &Self::Pgd) {}",
            replace: "fn pgd_attach(&self, _pgd: &Self::Pgd) { unsafe { core::arch::asm!(\"nop\", \
                      options(nomem, nostack, preserves_flags)) } }",
        },
        &["attach_path", "copy_process_path", "use_mm_path"],
    ),
];

/// Compares the variants.
pub(crate) fn run(arguments: &Arguments) -> crate::Outcome {
    let workspace = Workspace::find()?;
    let copy = workspace.scratch.join("copy");
    let off = workspace.compile(&workspace.root, "original", false)?;
    println!(
        "compiled for a separate kernel root: {} functions, {} instructions",
        off.functions(),
        off.instructions()
    );

    let on = workspace.compile(&workspace.root, "original", true)?;
    let mut same = report("feature on, the default hooks are called", &off, &on);
    workspace.copy_to(&copy, &WITHOUT_HOOKS)?;
    let unaware = workspace.compile(&copy, "copy", false)?;
    same &= report("sources without the hooks, feature off", &off, &unaware);
    let unaware = workspace.compile(&copy, "copy", true)?;
    same &= report("sources without the hooks, feature on", &off, &unaware);

    if arguments.self_check {
        for (edit, expected) in &WITH_A_NOP {
            workspace.copy_to(&copy, std::slice::from_ref(edit))?;
            let with_a_nop = workspace.compile(&copy, "copy", true)?;
            let differing = off.differing(&with_a_nop);
            if let Some(missed) = expected.iter().find(|name| !differing.contains(**name)) {
                return Err(format!(
                    "self-check: a nop in `{}` is not seen in {missed}",
                    edit.find
                )
                .into());
            }
            println!("self-check: a nop in the default `{}` is seen", edit.find);
        }
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints how a variant compares with the one that has the feature off; returns whether they are the same.
fn report(variant: &str, off: &Assembly, other: &Assembly) -> bool {
    match off.compare(other) {
        Ok(()) => {
            println!("same machine code: {variant}");
            true
        }
        Err(difference) => {
            println!("DIFFERENT machine code: {variant}\n{difference}");
            false
        }
    }
}

/// Where things are.
struct Workspace {
    cargo: OsString,
    root: PathBuf,
    /// The folders of all packages.
    packages: Vec<PathBuf>,
    /// Folder for the copy and for what is compiled.
    scratch: PathBuf,
    /// The host's target triple. Named to cargo, it keeps our flags away from procedural macros.
    target: String,
}

impl Workspace {
    fn find() -> Result<Self, Box<dyn Error>> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let metadata = Command::new(&cargo)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()?;
        if !metadata.status.success() {
            return Err("cargo metadata failed".into());
        }
        let metadata: Value = serde_json::from_slice(&metadata.stdout)?;
        let path = |value: &Value| value.as_str().map(PathBuf::from).ok_or("a path in metadata");
        let packages = metadata["packages"].as_array().ok_or("packages in metadata")?;
        let packages: Result<Vec<_>, _> = packages
            .iter()
            .map(|package| path(&package["manifest_path"]).map(|manifest| folder_of(&manifest)))
            .collect();
        let version = Command::new(&cargo).arg("-vV").output()?;
        let version = String::from_utf8(version.stdout)?;
        let target = version.lines().find_map(|line| line.strip_prefix("host: "));
        Ok(Self {
            root: path(&metadata["workspace_root"])?,
            packages: packages?,
            scratch: path(&metadata["target_directory"])?.join(PACKAGE),
            target: target.ok_or("cargo does not say what its host is")?.to_owned(),
            cargo,
        })
    }

    /// Makes a fresh copy of the workspace in `to`, with `edits`.
    fn copy_to(&self, to: &Path, edits: &[Edit]) -> Result<(), Box<dyn Error>> {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        fs::create_dir_all(to)?;
        for file in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(self.root.join(file), to.join(file))?;
        }
        for package in &self.packages {
            copy_folder(package, &to.join(package.strip_prefix(&self.root)?))?;
        }
        for Edit { file, find, replace } in edits {
            let path = to.join(file);
            let text = fs::read_to_string(&path)?;
            let found = text.matches(find).count();
            if found != 1 {
                return Err(format!(
                    "{file}: expected once, found {found} times:\n{find}\n\
                     The sources have changed: adapt the edits of `cargo xtask zero-cost`."
                )
                .into());
            }
            fs::write(&path, text.replace(find, replace))?;
        }
        Ok(())
    }

    /// Compiles the package and what it depends on from the workspace at `root`, and reads the assembly.
    fn compile(&self, root: &Path, name: &str, feature: bool) -> Result<Assembly, Box<dyn Error>> {
        let mut cargo = Command::new(&self.cargo);
        cargo
            .current_dir(root)
            .args(["build", "--quiet", "--lib", "--package", PACKAGE])
            .args(["--target", &self.target])
            // Not the workspace's own folder, so that builds with other flags stay valid. And one for
            // each root: cargo takes equal packages in two places for one.
            .arg("--target-dir")
            .arg(self.scratch.join(name))
            .args(["--message-format", "json-render-diagnostics"])
            .args(["--profile", "zero-cost"])
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
            .stderr(Stdio::inherit());
        for setting in PROFILE {
            cargo.args(["--config", &format!("profile.zero-cost.{setting}")]);
        }
        if feature {
            cargo.args(["--features", FEATURE]);
        }
        let output = cargo.output()?;
        if !output.status.success() {
            return Err(format!("{} does not build in {}", PACKAGE, root.display()).into());
        }
        let mut assembly = Assembly::default();
        for message in String::from_utf8(output.stdout)?.lines() {
            if let Some((name, path)) = assembly_of(&serde_json::from_str(message)?, root) {
                let text = fs::read_to_string(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                assembly.add(&name, &text);
            }
        }
        Ok(assembly.resolve())
    }
}

/// How the variants are compiled: as a kernel would be, each crate as one unit.
const PROFILE: [&str; 5] =
    ["inherits='release'", "opt-level=3", "codegen-units=1", "panic='abort'", "debug=false"];

const FLAGS: [&str; 4] = [
    "--emit=asm",
    // Names with all type arguments in them, so that a name stands for one function.
    "-Csymbol-mangling-version=v0",
    "-Cforce-unwind-tables=no",
    // In the copy, an import is unused.
    "-Awarnings",
];

/// The crate's name and the assembly file that belong to a message of cargo's, if it reports a crate of the workspace.
fn assembly_of(message: &Value, root: &Path) -> Option<(String, PathBuf)> {
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    if !Path::new(message["manifest_path"].as_str()?).starts_with(root) {
        return None;
    }
    let metadata = message["filenames"].as_array()?.iter().find_map(|file| {
        let file = Path::new(file.as_str()?);
        (file.extension()? == "rmeta").then_some(file)
    })?;
    let name = metadata.file_stem()?.to_str()?.strip_prefix("lib")?;
    Some((
        message["target"]["name"].as_str()?.to_owned(),
        metadata.with_file_name(name).with_extension("s"),
    ))
}

/// The folder of a manifest.
fn folder_of(manifest: &Path) -> PathBuf {
    manifest.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Copies a package; its build outputs and hidden files stay behind.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let (from, to) = (entry.path(), to.join(&name));
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
