//! Which modules a script imports, wherever it does: at the top, in functions, in `try`.

use std::iter::Peekable;

use crate::python::tokens::{Token, Tokens};

/// `import module`, or `from module import names`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// With its dots.
    pub module: String,
    /// Those that may be modules themselves.
    pub names: Vec<String>,
}

impl Import {
    pub fn top(&self) -> &str {
        self.module.split('.').next().unwrap_or_default()
    }
}

/// In their order, each once; relative ones (`from . import x`) are the script's own affair.
pub(crate) fn of(source: &str) -> Vec<Import> {
    let mut tokens = Tokens::of(source).peekable();
    let mut found = Vec::new();
    let mut begins = true;
    while let Some(token) = tokens.next() {
        match token {
            Token::Name("import") if begins => found.extend(modules(&mut tokens)),
            Token::Name("from") if begins => found.extend(from(&mut tokens)),
            _ => {}
        }
        begins = matches!(token, Token::End | Token::Colon);
    }
    let mut once: Vec<Import> = Vec::new();
    for import in found {
        if !once.contains(&import) {
            once.push(import);
        }
    }
    once
}

/// Behind `import`: `a.b as c, d`.
fn modules(tokens: &mut Peekable<Tokens>) -> Vec<Import> {
    let mut found = Vec::new();
    while let Some(module) = dotted(tokens) {
        found.push(Import { module, names: Vec::new() });
        pass_alias(tokens);
        if tokens.next_if_eq(&Token::Symbol(',')).is_none() {
            break;
        }
    }
    found
}

/// Behind `from`: `a.b import (c as d, e)`.
fn from(tokens: &mut Peekable<Tokens>) -> Option<Import> {
    let module = dotted(tokens)?;
    tokens.next_if_eq(&Token::Name("import"))?;
    tokens.next_if_eq(&Token::Symbol('('));
    let mut names = Vec::new();
    while let Some(Token::Name(name)) = tokens.next_if(|token| matches!(token, Token::Name(_))) {
        names.push(name.to_owned());
        pass_alias(tokens);
        if tokens.next_if_eq(&Token::Symbol(',')).is_none() {
            break;
        }
    }
    Some(Import { module, names })
}

/// None where none begins, as in `from . import x`.
fn dotted(tokens: &mut Peekable<Tokens>) -> Option<String> {
    let mut module = String::new();
    loop {
        match tokens.next_if(|token| matches!(token, Token::Name(_))) {
            Some(Token::Name(part)) => module.push_str(part),
            _ => return None,
        }
        if tokens.next_if_eq(&Token::Symbol('.')).is_none() {
            return Some(module);
        }
        module.push('.');
    }
}

fn pass_alias(tokens: &mut Peekable<Tokens>) {
    if tokens.next_if_eq(&Token::Name("as")).is_some() {
        tokens.next_if(|token| matches!(token, Token::Name(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(source: &str) -> Vec<String> {
        of(source).into_iter().map(|import| import.module).collect()
    }

    #[test]
    fn all_forms_are_found() {
        assert_eq!(modules("import a\nimport b.c as d, e ; import f"), ["a", "b.c", "e", "f"]);
        assert_eq!(modules("from a.b import (c,\n  d as e,\n)\nfrom f import *"), ["a.b", "f"]);
        assert_eq!(of("from a import b as c, d")[0].names, ["b", "d"]);
        assert_eq!(modules("import \\\n  a"), ["a"]);
    }

    #[test]
    fn they_may_stand_anywhere() {
        let source = "\
def f(x: int = {1: 2}[1]) -> None:
    import a
try: import b
except ImportError: b = None
if True: from c import d; import e
class F: import g
";
        assert_eq!(modules(source), ["a", "b", "c", "e", "g"]);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let source = "\
'''
import a
'''
# import b
s = 'import c'
from . import d
from .e import f
from ... import g
yield from h
raise ValueError from i
x = important; important.from_ = 1
print('''
from j import k''')
";
        assert_eq!(modules(source), Vec::<String>::new());
    }

    #[test]
    fn each_is_told_once() {
        assert_eq!(modules("import a\nimport a\ndef f(): import a"), ["a"]);
    }

    #[test]
    fn broken_scripts_are_read_as_far_as_they_go() {
        assert_eq!(modules("import\nfrom\nfrom x\nimport a.\nfrom b import\nimport c"), ["b", "c"]);
    }
}
