//! The sites: every ordering, barrier, publication, flush, deferral and exclusion of a source file, and how each can be wrong.
//!
//! Taken from the syntax tree, so that a new one cannot be forgotten. What the finder does not understand
//! (an ordering that is no argument of an access, a barrier that is no statement) is an error and not left out.
//!
//! | site | its mutants |
//! |---|---|
//! | `Ordering::X` of an access | one step weaker, each way there is; none for `Relaxed` |
//! | `smp_mb()`, a function that is nothing else, `fence(..)` | removed; weaker |
//! | a call by which something becomes visible ([`PUBLISHES`]) | removed; exchanged with the statement before, and after |
//! | a publication of an mm whose late init follows in the same block | comes after the hook |
//! | that late init | the hook is left out |
//! | the value of a [`PublicationPoint`](POINT)'s `publish` | what it would store is dropped |
//! | a store or exchange that releases, as a statement | removed |
//! | a TLB flush ([`FLUSHES`]) | removed |
//! | `call_rcu` | the callback runs at once |
//! | `let _guard = x.lock()` | the lock is not taken |
//!
//! All mutants of a file are in one text, each behind a number (`runtime.rs`): whoever runs it chooses one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, ExprCall, ExprMethodCall, ExprPath, Local, Pat, Path, Stmt};

/// Methods and functions by which something becomes visible to other CPUs, or stops to be; `mutation.rs` checks that each exists.
pub(super) const PUBLISHES: &[&str] = &[
    "publish",
    "join",
    "leave",
    "init_late",
    "pgd_init_late",
    "pgd_attach",
    "set_stage",
    "mark_synced",
    "sync_global_pgds",
    "for_each_published",
    "for_each_loaded",
    "bump",
    "give_back",
    "announce",
];

/// The trait of places where an mm becomes visible. What the last expression of its `publish` stores is a publication whatever its name is.
const POINT: &str = "PublicationPoint";

/// Sets whose members other CPUs look for.
const SETS: &[&str] = &["populated", "used", "synced"];

/// Functions that flush TLBs.
pub(super) const FLUSHES: &[&str] = &["flush", "flush_tlb", "flush_tlb_pages", "flush_kernel_tlb"];

/// Calls that are named like sites and have no mutant: file, word, and why.
pub(super) const NO_SITES: &[(&str, &str, &str)] = &[
    (
        "mm-generic/src/publish.rs",
        "publish",
        "what `point.publish` stores is mutated in each `PublicationPoint`, and its order with the hook where an mm is published",
    ),
    (
        "crates/kernel-task/src/insert.rs",
        "join",
        "`Process::join` adds to a list that its lock's guard leads to; its order with the publication is mutated at the publication",
    ),
    ("crates/kernel-task/src/epoch.rs", "flush", "runs callbacks, and flushes no TLB"),
];

/// One way in which one site is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mutant {
    /// Path of the file from the root.
    pub(super) file: String,
    /// The function, with its type.
    pub(super) function: String,
    /// What is mutated, on one line.
    pub(super) code: String,
    /// What is done to it.
    pub(super) mutation: String,
    /// Line of the file, which is not part of its identity.
    pub(super) line: usize,
    /// Bytes of the file that are mutated.
    pub(super) site: Range<usize>,
    /// A hash of the function around, without its comments: what has been found out of a mutant is as old as that.
    pub(super) source: u64,
    /// Why nothing needs to kill it, from a `// MUTATION:` comment at the site.
    pub(super) reason: Option<String>,
}

impl Mutant {
    /// Tells whether an access or a barrier is there all the same, and orders less.
    pub(super) fn is_of_ordering(&self) -> bool {
        self.mutation.contains(" -> ") || self.mutation == "acquire-release only"
    }

    /// Where it is and what it is, for people.
    pub(super) fn name(&self) -> String {
        format!("{}:{}: `{}` {}", self.file, self.line, self.code, self.mutation)
    }
}

/// What a file has to say.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Number `first`, as given, is the first one's.
    pub(super) mutants: Vec<Mutant>,
    /// The text with all of them in it.
    pub(super) text: String,
    /// `// MUTATION:` comments, by line, that no mutant has taken for its own.
    pub(super) idle_reasons: Vec<usize>,
}

/// Returns the functions of `file` that are nothing but a full barrier under a name.
pub(super) fn named_barriers(file: &syn::File) -> BTreeSet<String> {
    struct Named(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Named {
        fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
            if is_barrier_alone(&function.block) {
                self.0.insert(function.sig.ident.to_string());
            }
        }
    }
    let mut named = Named(BTreeSet::new());
    named.visit_file(file);
    named.0
}

/// Tells whether `block` is `smp_mb();` and nothing else, but for what only the model checker has.
fn is_barrier_alone(block: &Block) -> bool {
    let mut others = block.stmts.iter().filter(|stmt| !is_left_out_stmt(stmt));
    matches!(
        (others.next(), others.next()),
        (Some(Stmt::Expr(Expr::Call(call), Some(_))), None) if called(call).is_some_and(|name| name == "smp_mb")
    )
}

/// Finds the sites of `text`, whose mutants are numbered from `first`, in a crate that reaches the numbers' module under the path `runtime`.
///
/// # Errors
///
/// Text that does not parse, and sites that the finder does not understand.
pub(super) fn find(
    file: &str,
    text: &str,
    first: usize,
    runtime: &str,
    barriers: &BTreeSet<String>,
) -> Result<Found, String> {
    let tree = syn::parse_file(text).map_err(|error| format!("{file}: {error}"))?;
    let mut finder = Finder {
        file,
        text,
        first,
        runtime,
        barriers,
        within: Vec::new(),
        sources: vec![hash(text)],
        point: false,
        hooks: BTreeMap::new(),
        statements: Vec::new(),
        mutants: Vec::new(),
        edits: Vec::new(),
        reasons_used: BTreeSet::new(),
        errors: Vec::new(),
    };
    finder.visit_file(&tree);
    if !finder.errors.is_empty() {
        return Err(finder.errors.join("\n"));
    }
    let idle_reasons = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.trim_start().starts_with("// MUTATION"))
        .map(|(index, _)| index + 1)
        .filter(|line| !finder.reasons_used.contains(line))
        .collect();
    Ok(Found { text: edited(text, finder.edits), mutants: finder.mutants, idle_reasons })
}

/// Text around a range, and what of it goes.
#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    before: String,
    after: String,
    removed: Option<Range<usize>>,
}

/// Applies edits that lie within each other or apart.
fn edited(text: &str, edits: Vec<Edit>) -> String {
    // At one place, what ends comes before what begins; of two that begin the longer comes first, of two that end the shorter.
    let mut pieces: Vec<(usize, bool, usize, String)> = Vec::new();
    let mut removed: Vec<Range<usize>> = Vec::new();
    for edit in edits {
        let len = edit.range.len();
        pieces.push((edit.range.start, true, usize::MAX - len, edit.before));
        pieces.push((edit.range.end, false, len, edit.after));
        removed.extend(edit.removed);
    }
    pieces.sort_by_key(|piece| (piece.0, piece.1, piece.2));
    let (mut out, mut at) = (String::with_capacity(text.len() * 2), 0);
    let copy = |out: &mut String, from: usize, to: usize| {
        for (index, byte) in text[from..to].char_indices() {
            if !removed.iter().any(|range| range.contains(&(from + index))) {
                out.push(byte);
            }
        }
    };
    for (place, _, _, piece) in pieces {
        copy(&mut out, at, place);
        at = place;
        out.push_str(&piece);
    }
    copy(&mut out, at, text.len());
    out
}

struct Finder<'a> {
    file: &'a str,
    text: &'a str,
    first: usize,
    runtime: &'a str,
    barriers: &'a BTreeSet<String>,
    /// Types and functions around.
    within: Vec<String>,
    /// Hashes of the file and of the functions around.
    sources: Vec<u64>,
    /// Around is an implementation of [`POINT`].
    point: bool,
    /// Late inits of what is published in a block around, by where they begin: the numbers of their two mutants.
    hooks: BTreeMap<usize, [usize; 2]>,
    /// Where the statements around begin.
    statements: Vec<usize>,
    mutants: Vec<Mutant>,
    edits: Vec<Edit>,
    reasons_used: BTreeSet<usize>,
    errors: Vec<String>,
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_left_out(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_left_out(&item.attrs) {
            return;
        }
        let name = match &*item.self_ty {
            syn::Type::Path(path) => last(&path.path),
            _ => String::from("impl"),
        };
        let of = item.trait_.as_ref().map(|(path, _)| last(path));
        self.point = of.is_some_and(|of| of == POINT);
        self.inside(name, |this| visit::visit_item_impl(this, item));
        self.point = false;
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.inside(item.ident.to_string(), |this| visit::visit_item_trait(this, item));
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        // What a named barrier is made of is mutated where it is called.
        if !is_left_out(&function.attrs) && !is_barrier_alone(&function.block) {
            self.function(&function.sig, Some(&function.block), |this| {
                visit::visit_item_fn(this, function);
            });
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_left_out(&function.attrs) {
            self.function(&function.sig, Some(&function.block), |this| {
                if this.point && function.sig.ident == "publish" {
                    this.stores_nothing(&function.block);
                }
                visit::visit_impl_item_fn(this, function);
            });
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.function(&function.sig, function.default.as_ref(), |this| {
            visit::visit_trait_item_fn(this, function);
        });
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let stmts: Vec<&Stmt> = block.stmts.iter().filter(|stmt| !is_left_out_stmt(stmt)).collect();
        self.exchanges(&stmts);
        self.hooks(&stmts);
        for stmt in stmts {
            self.statements.push(range(stmt).start);
            self.statement(stmt);
            self.visit_stmt(stmt);
            self.statements.pop();
        }
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        if call_of(&closure.body).is_some_and(|call| call.publishes()) {
            let body = range(&*closure.body);
            let gone = self.mutant(body.clone(), body.clone(), "removed");
            self.wrap(body, format!("if {gone} {{}} else {{ "), " }");
        }
        visit::visit_expr_closure(self, closure);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.statements.push(arm.span().byte_range().start);
        visit::visit_arm(self, arm);
        self.statements.pop();
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        let name = called(call).unwrap_or_default();
        if name == "fence" {
            // Mutated as a statement.
            self.note_barrier(call);
            return;
        }
        let unqualified = matches!(&*call.func, Expr::Path(path) if path.path.segments.len() == 1);
        if name == "smp_mb" || self.barriers.contains(&name) {
            self.note_barrier(call);
        } else if FLUSHES.contains(&name.as_str()) && (unqualified == (name == "flush")) {
            let range = range(call);
            let number = self.mutant(range.clone(), range.clone(), "removed");
            self.wrap(range, format!("if {number} {{}} else {{ "), " }");
        } else if name == "call_rcu" && !unqualified {
            self.at_once(call);
        }
        self.orderings(&name, &call.args, range(call));
        self.visit_expr(&call.func);
        call.args.iter().for_each(|argument| self.visit_argument(argument));
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if let Some([moved, removed]) = self.hooks.get(&range(call).start).copied() {
            let method = range(&call.method);
            self.rename(method, "init_late_unless");
            let opened = call.paren_token.span.open().byte_range().end;
            self.wrap(opened..opened, format!("[{moved}, {removed}]"), "");
        }
        self.orderings(&call.method.to_string(), &call.args, range(call));
        self.visit_expr(&call.receiver);
        call.args.iter().for_each(|argument| self.visit_argument(argument));
    }

    fn visit_expr_path(&mut self, path: &'ast ExprPath) {
        if ordering(path).is_some_and(|order| order != "Relaxed") {
            self.error(range(path), "an ordering that is no argument of an access");
        }
    }
}

impl Finder<'_> {
    fn inside(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.within.push(name);
        visit(self);
        self.within.pop();
    }

    fn function(
        &mut self,
        signature: &syn::Signature,
        body: Option<&Block>,
        visit: impl FnOnce(&mut Self),
    ) {
        let start = range(signature).start;
        let end = body.map_or_else(|| range(signature).end, |body| range(body).end);
        self.sources.push(hash(&self.text[start..end]));
        self.inside(signature.ident.to_string(), visit);
        self.sources.pop();
    }

    /// What a place of publication is told to store, it drops.
    fn stores_nothing(&mut self, body: &Block) {
        let Some(Stmt::Expr(value @ Expr::MethodCall(call), None)) = body.stmts.last() else {
            return;
        };
        let [Expr::Path(stored)] = &call.args.iter().collect::<Vec<_>>()[..] else { return };
        let (whole, stored) = (range(value), last(&stored.path));
        let gone = self.mutant(whole.clone(), whole.clone(), "removed");
        self.wrap(
            whole,
            format!("if {gone} {{ drop({stored}); Default::default() }} else {{ "),
            " }",
        );
    }

    /// Publications of mms in a block, each with its late init further down: in the other order, and the one without the other.
    fn hooks(&mut self, stmts: &[&Stmt]) {
        for (index, stmt) in stmts.iter().enumerate() {
            let Stmt::Local(Local { pat: Pat::Tuple(names), init: Some(init), .. }) = stmt else {
                continue;
            };
            let (Some(call), Some(Pat::Ident(mm))) = (call_of(&init.expr), names.elems.first())
            else {
                continue;
            };
            let name = call.name();
            if !["publish", "publish_again"].contains(&name.as_str()) {
                continue;
            }
            let mut late = LateInit { of: mm.ident.to_string(), found: None };
            stmts[index + 1..].iter().for_each(|stmt| late.visit_stmt(stmt));
            let whole = range(&*init.expr);
            let Some(hook) = late.found else { continue };
            let moved = self.number(whole.clone(), whole.clone(), "after the hook");
            let removed = self.number(hook.clone(), hook.clone(), "without the hook");
            self.hooks.insert(hook.start, [moved, removed]);
            let (renamed, opened) = match &call {
                Call::Function(call) => (range(&*call.func), call.paren_token.span.open()),
                Call::Method(call) => (range(&call.method), call.paren_token.span.open()),
            };
            let opened = opened.byte_range().end;
            match call {
                Call::Function(_) => {
                    self.rename(renamed, "::mm_generic::publish::publish_again_or_late");
                }
                Call::Method(_) => self.rename(renamed, "publish_or_late"),
            }
            self.wrap(opened..opened, format!("{moved}, "), "");
        }
    }

    /// Puts another name in the place of one.
    fn rename(&mut self, name: Range<usize>, new: &str) {
        self.edits.push(Edit {
            range: name.clone(),
            before: String::from(new),
            after: String::new(),
            removed: Some(name),
        });
    }

    fn error(&mut self, range: Range<usize>, what: &str) {
        let line = self.line(range.start);
        let code = one_line(&self.text[range]);
        self.errors.push(format!("{}:{line}: {what}: {code}", self.file));
    }

    /// Adds a mutant; returns the expression that is true when it is chosen.
    fn mutant(&mut self, site: Range<usize>, code: Range<usize>, mutation: &str) -> String {
        let number = self.number(site, code, mutation);
        format!("{}::is({number})", self.runtime)
    }

    fn number(&mut self, site: Range<usize>, code: Range<usize>, mutation: &str) -> usize {
        let line = self.line(site.start);
        let source = self.sources.last().copied().unwrap_or_default();
        let mut lines = vec![line, self.line(code.start)];
        lines.extend(self.statements.iter().rev().map(|&start| self.line(start)));
        let reason = lines.into_iter().find_map(|line| self.reason(line, mutation));
        self.mutants.push(Mutant {
            file: self.file.to_owned(),
            function: self.within.join("::"),
            code: one_line(&self.text[code]),
            mutation: mutation.to_owned(),
            line,
            site,
            source,
            reason,
        });
        self.first + self.mutants.len() - 1
    }

    fn wrap(&mut self, range: Range<usize>, before: impl Into<String>, after: impl Into<String>) {
        self.edits.push(Edit { range, before: before.into(), after: after.into(), removed: None });
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// What the comment that ends above `line` says of `mutation`.
    fn reason(&mut self, line: usize, mutation: &str) -> Option<String> {
        let above: Vec<(usize, &str)> = self
            .text
            .lines()
            .enumerate()
            .take(line - 1)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .map(|(index, line)| (index + 1, line.trim_start()))
            .take_while(|(_, line)| line.starts_with("//") || line.starts_with("#["))
            .collect();
        let mut words: Vec<&str> = Vec::new();
        for (number, line) in above {
            let Some(said) = line.strip_prefix("// ") else { continue };
            let Some(said) = said.strip_prefix("MUTATION") else {
                words.push(said);
                continue;
            };
            let (of, said) = match said.strip_prefix('(') {
                Some(said) => said.split_once("): ")?,
                None => (mutation, said.strip_prefix(": ")?),
            };
            if of == mutation {
                self.reasons_used.insert(number);
                words.push(said);
                words.reverse();
                return Some(words.join(" "));
            }
            words.clear();
        }
        None
    }

    /// Mutants of a statement as a whole.
    fn statement(&mut self, stmt: &Stmt) {
        let whole = range(stmt);
        if let Some(call) = statement_call(stmt) {
            let name = call.name();
            let releases = ["store", "swap", "fetch_or", "fetch_and", "fetch_add", "fetch_sub"]
                .contains(&name.as_str())
                && call.orderings().any(|order| order != "Relaxed" && order != "Acquire");
            if name == "fence" {
                self.fence(stmt, &call);
            } else if name == "smp_mb" || self.barriers.contains(&name) {
                let removed = self.mutant(whole.clone(), whole.clone(), "removed");
                let weak = self.mutant(whole.clone(), whole.clone(), "acquire-release only");
                let fence = "::core::sync::atomic::Ordering::AcqRel";
                let fence = format!("{}::fence({fence});", self.runtime);
                self.wrap(
                    whole,
                    format!("if {removed} {{}} else if {weak} {{ {fence} }} else {{ "),
                    " }",
                );
            } else if self.hooks.contains_key(&whole.start) {
                // Mutated together with its publication.
            } else if releases || call.publishes() || call.flushes() {
                let removed = self.mutant(whole.clone(), whole.clone(), "removed");
                self.wrap(whole, format!("if {removed} {{}} else {{ "), " }");
            }
        } else if let Stmt::Local(local) = stmt
            && let Some(lock) = unused_guard(local)
        {
            let lock = range(lock);
            let gone = self.mutant(lock.clone(), lock.clone(), "not taken");
            self.wrap(lock, format!("(!{gone}).then(|| "), ")");
        }
    }

    fn fence(&mut self, stmt: &Stmt, call: &Call<'_>) {
        let whole = range(stmt);
        let order = call.orderings().next().unwrap_or_default();
        let removed = self.mutant(whole.clone(), whole.clone(), "removed");
        let mut before = format!("if {removed} {{}} else ");
        for weaker in weaker_fences(&order) {
            let weak = self.mutant(whole.clone(), whole.clone(), &format!("{order} -> {weaker}"));
            before.push_str(&format!(
                "if {weak} {{ {}::fence(::core::sync::atomic::Ordering::{weaker}); }} else ",
                self.runtime
            ));
        }
        self.wrap(whole, before + "{ ", " }");
    }

    /// A barrier in an expression would be mutated nowhere.
    fn note_barrier(&mut self, call: &ExprCall) {
        let start = range(call).start;
        if self.statements.last() != Some(&start) {
            self.error(range(call), "a barrier that is no statement of its own");
        }
    }

    /// Orderings among the arguments of an access.
    fn orderings<'ast>(
        &mut self,
        access: &str,
        arguments: impl IntoIterator<Item = &'ast Expr>,
        call: Range<usize>,
    ) {
        let arguments: Vec<&Expr> = arguments.into_iter().collect();
        for (index, argument) in arguments.iter().enumerate() {
            let Expr::Path(path) = argument else { continue };
            let Some(order) = ordering(path) else { continue };
            let is_failure = access.starts_with("compare_exchange") && index + 1 == arguments.len();
            let weaker = weaker(&order, access, is_failure);
            if weaker.is_empty() {
                continue;
            }
            let site = range(path);
            let mut choices = Vec::new();
            for weak in weaker {
                let mut mutation = format!("{order} -> {weak}");
                if is_failure {
                    mutation.push_str(" on failure");
                }
                let number = self.number(site.clone(), call.clone(), &mutation);
                choices.push(format!("({number}, ::core::sync::atomic::Ordering::{weak})"));
            }
            self.wrap(
                site,
                format!("{}::ordering(", self.runtime),
                format!(", &[{}])", choices.join(", ")),
            );
        }
    }

    fn visit_argument(&mut self, argument: &Expr) {
        if !matches!(argument, Expr::Path(path) if ordering(path).is_some()) {
            self.visit_expr(argument);
        }
    }

    /// The callback of `call_rcu` runs at once.
    fn at_once(&mut self, call: &ExprCall) {
        let whole = range(call);
        let function = range(&*call.func);
        let Some((rcu, _)) = self.text[function.clone()].rsplit_once("::") else { return };
        let rcu = rcu.to_owned();
        let number = self.number(whole.clone(), whole, "runs at once");
        self.rename(function, &format!("{}::call_rcu::<{rcu}>", self.runtime));
        let opened = call.paren_token.span.open().byte_range().end;
        self.wrap(opened..opened, format!("{number}, "), "");
    }

    /// Publications of a block in the other order with what is before and after them.
    fn exchanges(&mut self, stmts: &[&Stmt]) {
        let mut run = 0..0;
        let mut orders: Vec<(String, usize)> = Vec::new();
        for (index, pair) in stmts.windows(2).enumerate() {
            // What begins the next run ends this one: edits must not overlap.
            let exchanged = self.exchange(pair[0], pair[1], index + 2 == stmts.len());
            if exchanged.is_none() || !run.contains(&index) {
                self.reorder(&stmts[run.clone()], run.start, std::mem::take(&mut orders));
                run = index..index + 1;
            }
            if let Some(chosen) = exchanged {
                orders.push((chosen, index));
                run.end = index + 2;
            }
        }
        self.reorder(&stmts[run.clone()], run.start, orders);
    }

    /// Makes the mutant that exchanges two neighbours, if one of them is a publication and they do not depend on each other.
    fn exchange(&mut self, one: &Stmt, other: &Stmt, is_end: bool) -> Option<String> {
        let is_value = is_end && matches!(other, Stmt::Expr(_, None));
        if is_value || !(publishes(one) || publishes(other)) {
            return None;
        }
        let (first, _) = (Movable::of(one)?, Movable::of(other)?);
        if first.binds.is_some_and(|name| mentions(&self.text[range(other)], &name)) {
            return None;
        }
        // What has been handed over cannot be used before, whatever the order.
        let text = &self.text[range(one)];
        if either_call(other).is_some_and(|call| call.moved().any(|name| mentions(text, &name))) {
            return None;
        }
        // Named by what is moved, for the code of both may be long.
        let (site, moved) = if publishes(one) {
            (range(one), "after the next statement")
        } else {
            (range(other), "before the statement above")
        };
        Some(self.mutant(site.clone(), site, moved))
    }

    /// Writes down `run`, the statements from number `first` of their block on, in each of `orders`: which is chosen by what, and which
    /// statement then changes places with the next.
    fn reorder(&mut self, run: &[&Stmt], first: usize, orders: Vec<(String, usize)>) {
        let (Some(start), Some(end)) = (run.first(), run.last()) else { return };
        if orders.is_empty() {
            return;
        }
        let names: Vec<Option<String>> =
            run.iter().map(|stmt| Movable::of(stmt).and_then(|movable| movable.binds)).collect();
        let mut before: String =
            names.iter().flatten().map(|name| format!("let {name}; ")).collect();
        for (chosen, index) in orders {
            let mut order: Vec<usize> = (0..run.len()).collect();
            order.swap(index - first, index - first + 1);
            let early_one = order[index - first];
            let stmts = order.into_iter().map(|at| {
                let text = match at {
                    _ if at == early_one => early(self.text, run[at]),
                    _ => self.text[range(run[at])].to_owned(),
                };
                match text.strip_prefix("let ") {
                    Some(value) if names[at].is_some() => value.to_owned(),
                    _ => text,
                }
            });
            let stmts = stmts.collect::<Vec<_>>().join("\n");
            before.push_str(&format!("if {chosen} {{ {stmts} }} else "));
        }
        for (stmt, _) in run.iter().zip(&names).filter(|(_, name)| name.is_some()) {
            let start = range(*stmt).start;
            let removed = start..start + "let ".len();
            self.edits.push(Edit {
                range: removed.clone(),
                before: String::new(),
                after: String::new(),
                removed: Some(removed),
            });
        }
        self.wrap(range(*start).start..range(*end).end, before + "{ ", " }");
    }
}

/// Looks for the late init of one variable.
struct LateInit {
    of: String,
    found: Option<Range<usize>>,
}

impl<'ast> Visit<'ast> for LateInit {
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let is_of =
            matches!(&*call.receiver, Expr::Path(path) if path.path.is_ident(self.of.as_str()));
        if is_of && call.method == "init_late" {
            self.found.get_or_insert(range(call));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// A statement that can change places with its neighbour.
struct Movable {
    /// The variable that it makes.
    binds: Option<String>,
}

impl Movable {
    fn of(stmt: &Stmt) -> Option<Self> {
        match stmt {
            Stmt::Expr(expr, _) => {
                (!matches!(expr, Expr::Return(_) | Expr::Break(_) | Expr::Continue(_)))
                    .then_some(Self { binds: None })
            }
            Stmt::Local(Local { pat: Pat::Ident(name), attrs, init: Some(init), .. })
                if attrs.is_empty()
                    && init.diverge.is_none()
                    && name.mutability.is_none()
                    && name.by_ref.is_none() =>
            {
                Some(Self { binds: Some(name.ident.to_string()) })
            }
            _ => None,
        }
    }
}

/// Tells whether `text` has `name` as a word of its own.
fn mentions(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
}

/// A call, of either kind.
enum Call<'a> {
    Function(&'a ExprCall),
    Method(&'a ExprMethodCall),
}

impl Call<'_> {
    fn name(&self) -> String {
        match self {
            Call::Function(call) => called(call).unwrap_or_default(),
            Call::Method(call) => call.method.to_string(),
        }
    }

    /// Tells whether the call makes something visible. An `insert` does where the set is one of [`SETS`].
    fn publishes(&self) -> bool {
        let name = self.name();
        let is_of_set = || match self {
            Call::Method(call) => match &*call.receiver {
                Expr::Field(field) => {
                    matches!(&field.member, syn::Member::Named(name) if SETS.contains(&name.to_string().as_str()))
                }
                _ => false,
            },
            Call::Function(_) => false,
        };
        PUBLISHES.contains(&name.as_str()) || (name == "insert" && is_of_set())
    }

    /// Tells whether the call is to a method of this object that flushes TLBs.
    fn flushes(&self) -> bool {
        let Call::Method(call) = self else { return false };
        let is_own = matches!(&*call.receiver, Expr::Path(path) if path.path.is_ident("self"));
        is_own && call.method == "flush"
    }

    /// Variables of which a part is handed over: after the call they are not whole.
    fn moved(&self) -> impl Iterator<Item = String> {
        self.arguments().filter_map(|argument| match argument {
            Expr::Field(field) => match &*field.base {
                Expr::Path(path) => Some(last(&path.path)),
                _ => None,
            },
            Expr::Path(path) if path.path.is_ident("self") => Some(String::from("self")),
            _ => None,
        })
    }

    /// Where the variables end that are arguments, or that arguments are made of for good.
    fn variables(&self) -> impl Iterator<Item = usize> {
        self.arguments().filter_map(|argument| match argument {
            Expr::MethodCall(call) if call.method.to_string().starts_with("into_") => {
                variable(&call.receiver)
            }
            argument => variable(argument),
        })
    }

    fn arguments(&self) -> impl Iterator<Item = &Expr> {
        match self {
            Call::Function(call) => call.args.iter(),
            Call::Method(call) => call.args.iter(),
        }
    }

    fn orderings(&self) -> impl Iterator<Item = String> {
        self.arguments().filter_map(|argument| match argument {
            Expr::Path(path) => ordering(path),
            _ => None,
        })
    }
}

/// Where `expr` ends, if it is a variable.
fn variable(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Path(path) if path.path.get_ident().is_some() => Some(range(path).end),
        _ => None,
    }
}

fn call_of(expr: &Expr) -> Option<Call<'_>> {
    match expr {
        Expr::Call(call) => Some(Call::Function(call)),
        Expr::MethodCall(call) => Some(Call::Method(call)),
        Expr::Unsafe(unsafe_) => match &unsafe_.block.stmts[..] {
            [Stmt::Expr(expr, _)] => call_of(expr),
            _ => None,
        },
        _ => None,
    }
}

/// The call that a statement is.
fn statement_call(stmt: &Stmt) -> Option<Call<'_>> {
    match stmt {
        Stmt::Expr(expr, Some(_)) => call_of(expr),
        _ => None,
    }
}

/// The call that a statement is, or keeps the outcome of.
fn either_call(stmt: &Stmt) -> Option<Call<'_>> {
    match stmt {
        Stmt::Local(Local { init: Some(init), .. }) => call_of(&init.expr),
        _ => statement_call(stmt),
    }
}

/// Tells whether a statement is a publication, or keeps the outcome of one.
fn publishes(stmt: &Stmt) -> bool {
    either_call(stmt).is_some_and(|call| call.publishes())
}

/// The text of a statement that is executed before its time: what it would take away is copied.
fn early(text: &str, stmt: &Stmt) -> String {
    let start = range(stmt).start;
    let mut early = text[range(stmt)].to_owned();
    let ends: Vec<usize> =
        either_call(stmt).iter().flat_map(|it| it.variables().collect::<Vec<_>>()).collect();
    for end in ends.into_iter().rev() {
        early.insert_str(end - start, ".clone()");
    }
    early
}

/// The `x.lock()` of a guard that is kept for the sake of exclusion alone.
fn unused_guard(local: &Local) -> Option<&Expr> {
    let (Pat::Ident(name), Some(init)) = (&local.pat, &local.init) else { return None };
    let is_unused = name.ident.to_string().starts_with('_');
    match &*init.expr {
        Expr::MethodCall(call) if is_unused && call.method == "lock" => Some(&init.expr),
        _ => None,
    }
}

fn called(call: &ExprCall) -> Option<String> {
    match &*call.func {
        Expr::Path(path) => Some(last(&path.path)),
        _ => None,
    }
}

fn last(path: &Path) -> String {
    path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default()
}

/// The name of a memory ordering.
fn ordering(path: &ExprPath) -> Option<String> {
    let mut segments = path.path.segments.iter().rev();
    let (order, of) = (segments.next()?.ident.to_string(), segments.next()?);
    let known = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];
    (of.ident == "Ordering" && known.contains(&order.as_str())).then_some(order)
}

fn weaker(order: &str, access: &str, is_failure: bool) -> &'static [&'static str] {
    match (order, access) {
        ("Acquire" | "Release", _) => &["Relaxed"],
        ("AcqRel", _) => &["Acquire", "Release"],
        ("SeqCst", "load") => &["Acquire"],
        ("SeqCst", _) if is_failure => &["Acquire"],
        ("SeqCst", "store") => &["Release"],
        ("SeqCst", _) => &["AcqRel"],
        _ => &[],
    }
}

fn weaker_fences(order: &str) -> &'static [&'static str] {
    match order {
        "SeqCst" => &["AcqRel"],
        "AcqRel" => &["Acquire", "Release"],
        _ => &[],
    }
}

fn range(node: &impl Spanned) -> Range<usize> {
    node.span().byte_range()
}

/// Hashes code by its tokens (FNV-1a): comments and line breaks do not count.
fn hash(code: &str) -> u64 {
    let tokens: proc_macro2::TokenStream = code.parse().unwrap_or_default();
    tokens.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Code without its line breaks and comments, not too much of it.
fn one_line(code: &str) -> String {
    const MOST: usize = 100;
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or(line).trim());
    let line = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let line = line.replace("( ", "(").replace(", )", ")").replace(" .", ".");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Tells whether what `attributes` stand at is no part of the product as it is explored: tests, the model checker's own, the locked scheme.
fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        is_left_out_cfg(&list.tokens.to_string())
    })
}

pub(super) fn is_left_out_cfg(condition: &str) -> bool {
    let condition = condition.replace(' ', "");
    // What only the model checker lacks is the product's.
    let positive = condition.replace("not(loom)", "");
    positive.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test" || word == "loom")
        || condition.contains("not(feature")
}

/// As [`is_left_out`], for a statement.
pub(super) fn is_left_out_stmt(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Local(local) => is_left_out(&local.attrs),
        Stmt::Expr(Expr::If(expr), _) => is_left_out(&expr.attrs),
        Stmt::Expr(Expr::Block(expr), _) => is_left_out(&expr.attrs),
        Stmt::Expr(Expr::Call(expr), _) => is_left_out(&expr.attrs),
        Stmt::Expr(Expr::MethodCall(expr), _) => is_left_out(&expr.attrs),
        Stmt::Expr(Expr::Const(expr), _) => is_left_out(&expr.attrs),
        Stmt::Item(syn::Item::Fn(function)) => is_left_out(&function.attrs),
        _ => false,
    }
}

/// The modules that a file names and that are part of the product, in files of their own.
pub(super) fn modules(tree: &syn::File) -> Vec<String> {
    tree.items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Mod(module) if module.content.is_none() && !is_left_out(&module.attrs) => {
                Some(module.ident.to_string())
            }
            _ => None,
        })
        .collect()
}
