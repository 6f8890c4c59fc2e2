//! Assembly as rustc emits it, read such that what must differ between builds of the same code does not.
//!
//! Two builds of the same code differ in
//!
//! - the hashes of crates, and so in mangled names, in names of constants, and in the order of functions;
//! - the numbers of labels, which count functions;
//! - what `Error::type_id` returns, a hash;
//! - the choice among equal functions, of which LLVM keeps one (`MergeFunctions`): the first by name;
//! - the place of a `lea` among instructions that have nothing to do with it, which the scheduler takes from where an address was first
//!   named, be it for a call that has vanished since (`addresses.rs`).
//!
//! So functions and constants are compared by contents. A reference to something in the same file
//! stands for what is in there, whatever its name; a reference to something outside stands for its name
//! without hashes, and so does a `type_id`. Nothing else is left out: every instruction and every byte of
//! constant data counts.

use super::addresses;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};

/// Everything that some crates were compiled to.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// By crate, and then by name as it is in the file.
    crates: BTreeMap<String, BTreeMap<String, Item>>,
}

/// A function or a constant.
#[derive(Debug, Default)]
struct Item {
    /// Lines as they are in the file, without comments and without what is not contents.
    lines: Vec<String>,
    /// Others can link to it, by name.
    exported: bool,
    /// Digest of the contents, of the contents of what they refer to, and so on.
    contents: u64,
}

/// Where two builds differ.
#[derive(Debug)]
pub(crate) struct Difference {
    names: BTreeSet<String>,
    excerpt: Option<String>,
}

impl Assembly {
    /// Adds the assembly of crate `name`.
    pub(crate) fn add(&mut self, name: &str, text: &str) {
        self.crates.insert(name.to_owned(), read(text));
    }

    /// Works out the contents of every item. To be called when all crates have been added.
    pub(crate) fn resolve(mut self) -> Self {
        for items in self.crates.values_mut() {
            resolve(items);
        }
        self
    }

    /// Number of functions.
    pub(crate) fn functions(&self) -> usize {
        self.items().filter(|item| item.instructions() > 0).count()
    }

    /// Number of instructions.
    pub(crate) fn instructions(&self) -> usize {
        self.items().map(Item::instructions).sum()
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.crates.values().flat_map(BTreeMap::values)
    }

    /// Compares two builds.
    pub(crate) fn compare(&self, other: &Self) -> Result<(), Difference> {
        let names = self.differing(other);
        if names.is_empty() {
            return Ok(());
        }
        let excerpt = names.iter().find_map(|name| {
            let excerpt = excerpt(&self.text(name), &other.text(name))?;
            Some(format!("  in {name}:\n{excerpt}"))
        });
        Err(Difference { names, excerpt })
    }

    /// Names of the functions and constants that the two builds do not have in common.
    pub(crate) fn differing(&self, other: &Self) -> BTreeSet<String> {
        let (ours, theirs) = (self.identities(), other.identities());
        ours.symmetric_difference(&theirs)
            .map(|identity| match identity {
                Identity::Exported(_, name, _) => name.clone(),
                Identity::Local(krate, contents) => self
                    .local(krate, *contents)
                    .or(other.local(krate, *contents))
                    .unwrap_or_default(),
            })
            .collect()
    }

    /// The functions of a build, and the constants that others can see. The other constants count where a
    /// function refers to them.
    ///
    /// A set: of functions that are equal and that nobody else can see, there may be any number.
    fn identities(&self) -> BTreeSet<Identity> {
        let mut identities = BTreeSet::new();
        for (krate, items) in &self.crates {
            for (name, item) in items {
                if item.exported {
                    let name = readable(name);
                    identities.insert(Identity::Exported(krate.clone(), name, item.contents));
                } else if item.instructions() > 0 {
                    identities.insert(Identity::Local(krate.clone(), item.contents));
                }
            }
        }
        identities
    }

    fn local(&self, krate: &str, contents: u64) -> Option<String> {
        let mut items = self.crates.get(krate)?.iter();
        items.find(|(_, item)| item.contents == contents).map(|(name, _)| readable(name))
    }

    /// The lines of an item by its readable name, for people.
    fn text(&self, name: &str) -> Vec<String> {
        let mut items = self.crates.values().flatten();
        let found = items.find(|(mangled, _)| readable(mangled) == name);
        let lines = found.map_or(&[][..], |(_, item)| &item.lines);
        lines.iter().map(|line| with_references(line, readable)).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// Crate, name, contents.
    Exported(String, String, u64),
    /// Crate, contents.
    Local(String, u64),
}

impl Item {
    fn instructions(&self) -> usize {
        self.lines.iter().filter(|line| !line.starts_with('.') && !line.ends_with(':')).count()
    }
}

/// Reads the items of a file.
fn read(text: &str) -> BTreeMap<String, Item> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let mut exported = BTreeSet::new();
    let mut aliases = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if let Some((alias, target)) = line.split_once(" = ").filter(|_| !word.starts_with('.')) {
            aliases.push((alias.to_owned(), target.to_owned()));
        } else if word == ".set" {
            let (alias, target) = rest.split_once(',').unwrap_or((rest, ""));
            aliases.push((alias.trim().to_owned(), target.trim().to_owned()));
        } else if matches!(word, ".globl" | ".weak") {
            exported.insert(rest.to_owned());
        } else if matches!(word, ".size" | ".section" | ".text" | ".data" | ".bss") {
            current = None;
        } else if let Some(label) = line.strip_suffix(':')
            && !is_within_function(label)
        {
            items.entry(label.to_owned()).or_default();
            current = Some(label.to_owned());
        } else if let Some(item) = current.as_ref().and_then(|current| items.get_mut(current))
            && is_contents(line)
        {
            item.lines.push(line.to_owned());
        }
    }
    for (alias, target) in aliases {
        let lines = items.get(&target).map(|item| item.lines.clone()).unwrap_or_default();
        items.insert(alias, Item { lines, ..Item::default() });
    }
    for (name, item) in &mut items {
        item.exported = exported.contains(name);
        addresses::first(&mut item.lines);
    }
    items
}

/// Tells whether a label is a jump target or marks the end of a function.
fn is_within_function(label: &str) -> bool {
    [".LBB", ".Ltmp", ".Lfunc_end"].iter().any(|prefix| label.starts_with(prefix))
}

/// Tells whether a line is an instruction, data, padding or a jump target.
fn is_contents(line: &str) -> bool {
    let notes =
        ["#", ".cfi_", ".file", ".loc", ".type", ".ident", ".addrsig", ".hidden", ".Lfunc_end"];
    !line.is_empty() && !notes.iter().any(|note| line.starts_with(note))
}

/// How many references deep the contents of an item go.
///
/// Items that differ are found themselves, wherever they are; the depth only has to tell apart what a
/// line could refer to.
const DEPTH: usize = 8;

/// Works out the contents of items that refer to each other, maybe in circles.
///
/// At first all items look alike. In each round those are told apart whose lines differ, or refer to what
/// was told apart in the round before.
fn resolve(items: &mut BTreeMap<String, Item>) {
    let looks: Vec<Looks> = items.iter().map(|(name, item)| Looks::of(name, item, items)).collect();
    for _ in 0..DEPTH {
        let contents: Vec<u64> = looks.iter().map(|looks| looks.contents(items)).collect();
        for (item, contents) in items.values_mut().zip(contents) {
            item.contents = contents;
        }
    }
}

/// An item as it looks by itself, and what it refers to in the same file.
struct Looks {
    alone: u64,
    references: Vec<String>,
}

impl Looks {
    fn of(name: &str, item: &Item, items: &BTreeMap<String, Item>) -> Self {
        let mut references = Vec::new();
        let mut digest = DefaultHasher::new();
        if is_type_id(name) {
            readable(name).hash(&mut digest);
            return Self { alone: digest.finish(), references };
        }
        for line in &item.lines {
            let line = with_references(line, |reference| {
                if items.contains_key(reference) {
                    references.push(reference.to_owned());
                    return "<here>".to_owned();
                }
                readable(reference)
            });
            line.hash(&mut digest);
        }
        Self { alone: digest.finish(), references }
    }

    fn contents(&self, items: &BTreeMap<String, Item>) -> u64 {
        let mut digest = DefaultHasher::new();
        self.alone.hash(&mut digest);
        for reference in &self.references {
            items[reference].contents.hash(&mut digest);
        }
        digest.finish()
    }
}

/// Replaces every symbol and label in a line by what `replace` says.
fn with_references(line: &str, mut replace: impl FnMut(&str) -> String) -> String {
    if line.starts_with(".ascii") || line.starts_with(".asciz") {
        return line.to_owned();
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let mut replaced = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(is_part) {
        let end = rest[start..].find(|c| !is_part(c)).map_or(rest.len(), |length| start + length);
        replaced.push_str(&rest[..start]);
        replaced.push_str(&replace(&rest[start..end]));
        rest = &rest[end..];
    }
    replaced + rest
}

/// A name without what differs from build to build: hashes of crates, numbers of functions and constants.
fn readable(name: &str) -> String {
    if let Some(target) = name.strip_prefix(".LBB") {
        // `.LBB12_3` is jump target 3 of function 12.
        return format!(".LBB{}", target.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    if let Some(constant) = name.strip_prefix(".L") {
        // `.Lanon.<hash>.7`, `.LJTI12_3`.
        let end = constant.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(constant.len());
        return format!(".L{}", &constant[..end]);
    }
    format!("{:#}", rustc_demangle::demangle(name))
}

/// Tells whether a function is `Error::type_id`: it returns a hash of its type, and of its crate in it.
fn is_type_id(name: &str) -> bool {
    readable(name).ends_with(" as core::error::Error>::type_id")
}

/// The first lines that differ, with a few around them; `None` when none do.
fn excerpt(ours: &[String], theirs: &[String]) -> Option<String> {
    const AROUND: usize = 4;
    let same = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
    if same == ours.len() && same == theirs.len() {
        return None;
    }
    let context = ours[same.saturating_sub(AROUND)..same].iter().map(|line| format!("    {line}"));
    let after = |lines: &[String], mark: char| -> Vec<String> {
        lines[same..].iter().take(AROUND).map(|line| format!("  {mark} {line}")).collect()
    };
    let lines: Vec<_> = context.chain(after(ours, '-')).chain(after(theirs, '+')).collect();
    Some(lines.join("\n"))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.names {
            writeln!(f, "  {name}")?;
        }
        match &self.excerpt {
            Some(excerpt) => write!(f, "{excerpt}"),
            None => f.write_str("  (in what they refer to)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function with a jump and a constant, a function that is exported, and what it calls.
    const BUILD: &str = r#"
	.file	"a.1111-cgu.0"
	.section	.text._RNvCs1111_1a4walk,"ax",@progbits
	.p2align	4
	.type	_RNvCs1111_1a4walk,@function
_RNvCs1111_1a4walk:
	cmpq	$7, %rdi
	jne	.LBB0_1
	leaq	.Lanon.1111.0(%rip), %rax
.LBB0_1:
	retq
.Lfunc_end0:
	.size	_RNvCs1111_1a4walk, .Lfunc_end0-_RNvCs1111_1a4walk

	.globl	fork_path
fork_path:
	.cfi_startproc
	callq	_RNvCs1111_1a4walk
	callq	*_RNvCs1111_1b4free@GOTPCREL(%rip)
	retq
.Lfunc_end1:
	.size	fork_path, .Lfunc_end1-fork_path

	.type	.Lanon.1111.0,@object
	.section	.rodata..Lanon.1111.0,"a",@progbits
.Lanon.1111.0:
	.ascii	"slot"
	.size	.Lanon.1111.0, 4
"#;

    fn build(text: &str) -> Assembly {
        let mut assembly = Assembly::default();
        assembly.add("a", text);
        assembly.resolve()
    }

    fn differing(text: &str) -> Vec<String> {
        build(BUILD).differing(&build(text)).into_iter().collect()
    }

    #[test]
    fn hashes_and_numbers_and_order_do_not_count() {
        let other = BUILD.replace("1111", "2222").replace(".LBB0_", ".LBB9_");
        assert_ne!(other, BUILD);
        assert_eq!(differing(&other), [""; 0]);
        let (first, second) = BUILD.split_once("\n\n").expect("an empty line");
        assert_eq!(differing(&format!("{second}\n{first}\n")), [""; 0]);
    }

    #[test]
    fn it_does_not_count_which_of_two_equal_functions_was_kept() {
        assert_eq!(differing(&BUILD.replace("4walk", "4rest")), [""; 0]);
        let both = format!("{BUILD}\n_RNvCs1111_1a4rest = _RNvCs1111_1a4walk\n");
        assert_eq!(differing(&both), [""; 0]);
    }

    #[test]
    fn a_difference_is_found_where_it_is_and_in_what_refers_to_it() {
        for (from, to) in [("$7", "$8"), ("\"slot\"", "\"slit\""), ("jne\t.LBB0_1", "jne\t.LBB0_2")]
        {
            assert_eq!(differing(&BUILD.replace(from, to)), ["a::walk", "fork_path"], "{to}");
        }
        assert_eq!(differing(&BUILD.replace("1b4free", "1b4drop")), ["fork_path"]);
        assert_eq!(differing(&BUILD.replace("fork_path", "exec_path")), ["exec_path", "fork_path"]);
    }

    #[test]
    fn a_difference_comes_with_an_excerpt() {
        let other = build(&BUILD.replace("$7", "$8"));
        let difference = build(BUILD).compare(&other).expect_err("another number");
        let shown = difference.to_string();
        assert!(
            shown.contains("  - cmpq\t$7, %rdi") && shown.contains("  + cmpq\t$8, %rdi"),
            "{shown}"
        );
    }
}
