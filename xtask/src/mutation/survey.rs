//! All mutants of a set of crates, and a copy of the workspace that has every one of them in it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use super::sites::{self, Mutant};

/// What is mutated, and what is built with it.
#[derive(Debug)]
pub(super) struct Project {
    /// The workspace.
    pub(super) root: PathBuf,
    /// Directories of the crates that are mutated. The first is the lowest: all others depend on it.
    pub(super) crates: &'static [&'static str],
    /// The name of the first one in code.
    pub(super) lowest: &'static str,
    /// What `runtime.rs` has beyond itself in this project.
    pub(super) runtime: &'static str,
    /// Files of the mutated crates, and what the copy has at their ends.
    pub(super) additions: &'static [(&'static str, &'static str)],
    /// Directories and files that are copied as they are. The copy does without other members of the workspace.
    pub(super) others: &'static [&'static str],
}

/// The mutants of a project, the first of which has number 1.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) mutants: Vec<Mutant>,
    /// Functions that are nothing but a barrier.
    #[cfg(test)]
    pub(super) barriers: BTreeSet<String>,
    /// Files of the mutated crates, with all mutants in them.
    pub(super) files: Vec<(PathBuf, String)>,
}

const RUNTIME: &str = include_str!("runtime.rs");

impl Survey {
    /// Reads the crates of `project`.
    ///
    /// # Errors
    ///
    /// Files that cannot be read or understood, names of publications that no function has, reasons that belong to nothing.
    pub(super) fn of(project: &Project) -> Result<Self, Box<dyn Error>> {
        let mut sources = Vec::new();
        for (index, krate) in project.crates.iter().enumerate() {
            let lib = Path::new(krate).join("src/lib.rs");
            let of_crate = sources.len();
            read_modules(&project.root, &lib, &Path::new(krate).join("src"), &mut sources)?;
            for source in &mut sources[of_crate..] {
                source.in_lowest = index == 0;
            }
        }
        let mut barriers = BTreeSet::new();
        for source in &sources {
            barriers.extend(sites::named_barriers(&source.tree));
        }
        let (mut mutants, mut files, mut idle) = (Vec::new(), Vec::new(), Vec::new());
        for source in &sources {
            let runtime = if source.in_lowest {
                String::from("crate::mutation")
            } else {
                format!("::{}::mutation", project.lowest)
            };
            let name = source.path.to_str().ok_or("a path that is no text")?;
            let found = sites::find(name, &source.text, mutants.len() + 1, &runtime, &barriers)?;
            idle.extend(found.idle_reasons.iter().map(|line| format!("{name}:{line}")));
            mutants.extend(found.mutants);
            files.push((source.path.clone(), found.text));
        }
        if !idle.is_empty() {
            let idle = idle.join(", ");
            return Err(format!("`// MUTATION:` comments that no mutant is under: {idle}").into());
        }
        Ok(Self {
            mutants,
            #[cfg(test)]
            barriers,
            files,
        })
    }

    /// Writes the copy to `to`. Files that are right already keep their time, so that cargo builds what has changed.
    ///
    /// # Errors
    ///
    /// What the file system refuses.
    pub(super) fn write(&self, project: &Project, to: &Path) -> Result<(), Box<dyn Error>> {
        let mut written = BTreeSet::new();
        let mut write = |path: PathBuf, bytes: &[u8]| -> Result<(), Box<dyn Error>> {
            let target = to.join(&path);
            if fs::read(&target).ok().as_deref() != Some(bytes) {
                fs::create_dir_all(target.parent().ok_or("no directory")?)?;
                fs::write(&target, bytes)?;
            }
            written.insert(path);
            Ok(())
        };
        let mutated: BTreeSet<&PathBuf> = self.files.iter().map(|(path, _)| path).collect();
        for directory in project.crates.iter().chain(project.others) {
            for path in files_below(&project.root, Path::new(directory))? {
                if !mutated.contains(&path) {
                    write(path.clone(), &fs::read(project.root.join(path))?)?;
                }
            }
        }
        let lowest = Path::new(project.crates[0]).join("src");
        for (path, text) in &self.files {
            let mut text = text.clone();
            if *path == lowest.join("lib.rs") {
                text.push_str("\npub mod mutation;\n");
            }
            for (_, addition) in project.additions.iter().filter(|(at, _)| path == Path::new(at)) {
                text.push_str(addition);
            }
            write(path.clone(), text.as_bytes())?;
        }
        let runtime = format!("{RUNTIME}{}", project.runtime);
        write(lowest.join("mutation.rs"), runtime.as_bytes())?;
        let manifest = fs::read_to_string(project.root.join("Cargo.toml"))?;
        write(PathBuf::from("Cargo.toml"), manifest_of_copy(&manifest, project).as_bytes())?;
        let lock = fs::read(project.root.join("Cargo.lock"))?;
        // Cargo takes out what the copy does without.
        if !to.join("Cargo.lock").exists() {
            fs::write(to.join("Cargo.lock"), lock)?;
        }
        written.insert(PathBuf::from("Cargo.lock"));
        for path in files_below(to, Path::new(""))? {
            if !written.contains(&path) {
                fs::remove_file(to.join(path))?;
            }
        }
        Ok(())
    }
}

/// The workspace's manifest without the members that are not copied, and without lints: what stands around a mutant is not pretty.
fn manifest_of_copy(manifest: &str, project: &Project) -> String {
    let mut is_member = false;
    let is_copied = |member: &str| {
        project.crates.iter().chain(project.others).any(|it| member == format!("\"{it}\","))
    };
    let lines = manifest.lines().filter(|line| {
        let line = line.trim();
        is_member = (is_member || line == "members = [") && line != "]";
        let is_left_out = is_member && line.starts_with('"') && !is_copied(line);
        !is_left_out && !line.starts_with("default-members")
    });
    let lines =
        lines.map(|line| line.replace("\"deny\"", "\"allow\"").replace("\"warn\"", "\"allow\""));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

struct Source {
    /// From the root.
    path: PathBuf,
    text: String,
    tree: syn::File,
    in_lowest: bool,
}

/// Reads `file` and the files of its modules, which are in `directory`.
fn read_modules(
    root: &Path,
    file: &Path,
    directory: &Path,
    sources: &mut Vec<Source>,
) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(root.join(file))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let tree = syn::parse_file(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let modules = sites::modules(&tree);
    sources.push(Source { path: file.to_owned(), text, tree, in_lowest: false });
    for module in modules {
        let below = directory.join(&module);
        read_modules(root, &below.with_extension("rs"), &below, sources)?;
    }
    Ok(())
}

/// Paths of the files below `directory`, or the file of that name, from `root`.
fn files_below(root: &Path, directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let start = root.join(directory);
    if start.is_file() {
        return Ok(vec![directory.to_owned()]);
    }
    let mut files = Vec::new();
    let entries = fs::read_dir(&start).map_err(|error| format!("{}: {error}", start.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if !entry.file_type()?.is_dir() {
            files.push(path);
        } else if entry.file_name() != "target" {
            files.extend(files_below(root, &path)?);
        }
    }
    Ok(files)
}
