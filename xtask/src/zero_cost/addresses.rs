//! A `lea` reads no memory and changes no flag: it may stand anywhere between what makes its operands and what uses its result.

/// Moves each `lea` up as far as that goes, so that it stands at one place wherever the scheduler had put it.
pub(super) fn first(lines: &mut [String]) {
    for line in 1..lines.len() {
        let Some((operands, result)) = address(&lines[line]) else { continue };
        let operands: Vec<String> = operands.into_iter().map(str::to_owned).collect();
        let result = result.to_owned();
        let mut place = line;
        while place > 0 && is_apart(&lines[place - 1], &operands, &result) {
            lines.swap(place - 1, place);
            place -= 1;
        }
    }
}

/// The registers that a `lea` reads, and the one that it makes.
fn address(line: &str) -> Option<(Vec<&str>, &str)> {
    let (operands, result) = line.strip_prefix("leaq")?.rsplit_once(", ")?;
    let parts = operands.split(['(', ')', ',']).map(str::trim);
    Some((parts.filter(|part| part.starts_with('%')).collect(), result))
}

/// Tells whether `line` is an instruction that goes on to the next one, makes none of `operands`, and has nothing to do with `result`.
fn is_apart(line: &str, operands: &[String], result: &str) -> bool {
    let plain = ["mov", "cmp", "test", "add", "sub", "xor", "and", "or", "inc", "dec"];
    let made = line.rsplit([' ', '\t']).next().unwrap_or_default();
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '%');
    plain.iter().any(|start| line.starts_with(start))
        && !words.any(|word| is_part(word, result))
        && !operands.iter().any(|operand| is_part(made, operand))
}

/// Tells whether `name` names a part of the 64 bits of `register`, or all of them.
fn is_part(name: &str, register: &str) -> bool {
    let (Some(name), Some(whole)) = (name.strip_prefix('%'), register.strip_prefix("%r")) else {
        return false;
    };
    let short = name.trim_start_matches(['r', 'e']);
    match whole.as_bytes() {
        // rax: eax, ax, ah, al.
        [letter, b'x'] => {
            short.as_bytes().first() == Some(letter)
                && short.len() == 2
                && "xhl".contains(&short[1..])
        }
        // r8: r8d, r8w, r8b.
        [b'0'..=b'9', ..] => short.trim_end_matches(['d', 'w', 'b']) == whole,
        // rsi: esi, si, sil.
        _ => short.trim_end_matches('l') == whole,
    }
}

#[cfg(test)]
mod tests {
    use super::{first, is_part};

    fn moved(lines: &[&str]) -> Vec<String> {
        let mut lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        first(&mut lines);
        lines
    }

    #[test]
    fn an_address_stands_behind_what_makes_its_operands_wherever_it_was_put() {
        let expected = [
            "movq\t8(%rcx), %r14",
            "leaq\t16(%r14), %r13",
            "movb\t$2, 120(%r14)",
            "cmpq\t%r13, %rax",
        ];
        assert_eq!(moved(&expected), expected);
        assert_eq!(moved(&[expected[0], expected[2], expected[1], expected[3]]), expected);
    }

    #[test]
    fn an_address_does_not_pass_its_result_a_jump_a_label_or_a_call() {
        for before in [
            "movb\t$1, (%r13)",
            "xorl\t%r13d, %r13d",
            "movl\t%eax, %r14d",
            "jne\t.LBB_1",
            ".LBB_1:",
            "callq\tf",
        ] {
            let lines = [before, "leaq\t16(%r14), %r13"];
            assert_eq!(moved(&lines), lines, "{before}");
        }
    }

    #[test]
    fn the_parts_of_a_register_are_known_by_its_name() {
        for part in ["%rbx", "%ebx", "%bx", "%bl", "%bh"] {
            assert!(is_part(part, "%rbx"), "{part}");
        }
        assert!(is_part("%r9b", "%r9") && is_part("%sil", "%rsi") && is_part("%ebp", "%rbp"));
        assert!(!is_part("%bpl", "%rbx") && !is_part("%r10d", "%r1") && !is_part("8", "%r8"));
        assert!(!is_part("%rdi", "%rdx") && !is_part("%dl", "%rdi"));
    }
}
