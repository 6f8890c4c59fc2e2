//! The sites again, by bare words and not by syntax, so that a test can say that the finder has overlooked none.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::sites::{self, FLUSHES, PUBLISHES};

/// A word of the source that has to have a mutant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Byte of the file at which it begins; for an ordering, its `Ordering`.
    pub(super) at: usize,
    pub(super) line: usize,
    pub(super) word: String,
    pub(super) is_ordering: bool,
}

/// Returns the words of `text` that have to have mutants. `barriers` are functions that are nothing but a barrier.
pub(super) fn words(text: &str, barriers: &[&str]) -> Vec<Word> {
    let mut found = Vec::new();
    walk(text.parse().expect("Rust"), barriers, &mut found);
    found
}

fn walk(stream: TokenStream, barriers: &[&str], found: &mut Vec<Word>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    // The statement is `let _name = ...`.
    let mut keeps_guard = false;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Punct(hash) if hash.as_char() == '#' => {
                if let Some(TokenTree::Group(attribute)) = tokens.get(at + 1) {
                    let said = attribute.stream().to_string();
                    if said.starts_with("cfg") && sites::is_left_out_cfg(&said) {
                        at = end_of_item(&tokens, at + 2);
                        continue;
                    }
                    // What other attributes say is no code.
                    at += 2;
                    continue;
                }
            }
            TokenTree::Punct(end) if end.as_char() == ';' => keeps_guard = false,
            TokenTree::Ident(name) => {
                let name = name.to_string();
                let after_fn = at > 0 && is_ident(&tokens[at - 1], "fn");
                let is_call = matches!(tokens.get(at + 1), Some(TokenTree::Group(arguments))
                    if arguments.delimiter() == Delimiter::Parenthesis);
                let is_barrier = |next: &TokenTree| barriers.iter().any(|it| is_ident(next, it));
                if name == "fn" && tokens.get(at + 1).is_some_and(is_barrier) {
                    // What it is made of is mutated where it is called.
                    at = end_of_item(&tokens, at);
                    continue;
                }
                if name == "let" {
                    keeps_guard = matches!(tokens.get(at + 1), Some(TokenTree::Ident(guard))
                        if guard.to_string().starts_with('_'));
                }
                let is_named = ["fence", "smp_mb", "call_rcu"].contains(&name.as_str())
                    || barriers.contains(&name.as_str())
                    || PUBLISHES.contains(&name.as_str())
                    || FLUSHES.contains(&name.as_str())
                    || (name == "lock" && keeps_guard);
                if is_call && !after_fn && is_named {
                    found.push(word(token, name, false));
                } else if name == "Ordering"
                    && let Some(TokenTree::Ident(order)) = tokens.get(at + 3)
                    && ["Acquire", "Release", "AcqRel", "SeqCst"]
                        .contains(&order.to_string().as_str())
                {
                    found.push(word(token, order.to_string(), true));
                }
            }
            TokenTree::Group(group) => walk(group.stream(), barriers, found),
            _ => {}
        }
        at += 1;
    }
}

fn word(token: &TokenTree, word: String, is_ordering: bool) -> Word {
    let span = token.span();
    Word { at: span.byte_range().start, line: span.start().line, word, is_ordering }
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

/// Where the item, statement, arm or field ends that begins at `at`.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    let is_brace = |group: &Group| group.delimiter() == Delimiter::Brace;
    let is_item = |token: &TokenTree| {
        ["pub", "fn", "mod", "impl", "struct", "enum", "trait", "unsafe", "macro_rules"]
            .iter()
            .any(|word| is_ident(token, word))
    };
    let is_item =
        tokens[at..].iter().find(|token| matches!(token, TokenTree::Ident(_))).is_some_and(is_item);
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(end) if end.as_char() == ';' => return at,
            TokenTree::Punct(end) if end.as_char() == ',' && !is_item => return at,
            TokenTree::Group(group)
                if is_brace(group)
                    && !tokens.get(at).is_some_and(|next| is_ident(next, "else")) =>
            {
                return at;
            }
            _ => {}
        }
    }
    at
}
