//! Finds a script's imports, including those in functions and in `try`.

use std::iter::Peekable;

/// `import module`, or `from module import names`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The dotted name.
    pub module: String,
    /// The imported names, which may be modules themselves.
    pub names: Vec<String>,
}

impl Import {
    pub fn top(&self) -> &str {
        self.module.split('.').next().unwrap_or_default()
    }
}

/// Each import once, in order. Relative imports (`from . import x`) are omitted.
pub(crate) fn find(source: &str) -> Vec<Import> {
    let mut tokens = Tokens::new(source).peekable();
    let mut found: Vec<Import> = Vec::new();
    let mut statement_starts = true;
    while let Some(token) = tokens.next() {
        let imports = match token {
            Token::Name("import") if statement_starts => parse_import(&mut tokens),
            Token::Name("from") if statement_starts => Vec::from_iter(parse_from(&mut tokens)),
            _ => Vec::new(),
        };
        for import in imports {
            if !found.contains(&import) {
                found.push(import);
            }
        }
        statement_starts = matches!(token, Token::End | Token::Colon);
    }
    found
}

/// Parses `a.b as c, d` after `import`.
fn parse_import(tokens: &mut Peekable<Tokens>) -> Vec<Import> {
    let mut found = Vec::new();
    while let Some(module) = parse_dotted(tokens) {
        found.push(Import { module, names: Vec::new() });
        skip_alias(tokens);
        if tokens.next_if_eq(&Token::Symbol(',')).is_none() {
            break;
        }
    }
    found
}

/// Parses `a.b import (c as d, e)` after `from`.
fn parse_from(tokens: &mut Peekable<Tokens>) -> Option<Import> {
    let module = parse_dotted(tokens)?;
    tokens.next_if_eq(&Token::Name("import"))?;
    tokens.next_if_eq(&Token::Symbol('('));
    let mut names = Vec::new();
    while let Some(Token::Name(name)) = tokens.next_if(|token| matches!(token, Token::Name(_))) {
        names.push(name.to_owned());
        skip_alias(tokens);
        if tokens.next_if_eq(&Token::Symbol(',')).is_none() {
            break;
        }
    }
    Some(Import { module, names })
}

/// Returns `None` if there is no name, as in `from . import x`.
fn parse_dotted(tokens: &mut Peekable<Tokens>) -> Option<String> {
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

fn skip_alias(tokens: &mut Peekable<Tokens>) {
    if tokens.next_if_eq(&Token::Name("as")).is_some() {
        tokens.next_if(|token| matches!(token, Token::Name(_)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// Only the tokens that matter for imports.
enum Token<'a> {
    Name(&'a str),
    /// A character of an operator. A number or a string is one `'0'`.
    Symbol(char),
    /// A `:` outside of brackets, after which a statement may follow on the same line.
    Colon,
    /// The end of a statement: a newline outside of brackets, or `;`.
    End,
}

struct Tokens<'a> {
    rest: &'a str,
    /// The number of open brackets.
    depth: u32,
}

impl<'a> Tokens<'a> {
    fn new(source: &'a str) -> Self {
        Self { rest: source.trim_start_matches('\u{feff}'), depth: 0 }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn take_while(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !matches(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Requires that the rest starts with a quote.
    fn skip_string(&mut self, quote: char) {
        let triple = quote.to_string().repeat(3);
        if let Some(rest) = self.rest.strip_prefix(&triple) {
            self.rest = rest;
            self.skip_until(|rest| rest.starts_with(&triple).then_some(3));
        } else {
            self.skip(1);
            // Python reports a string that is not closed on its line.
            self.skip_until(|rest| {
                rest.starts_with([quote, '\n']).then_some(usize::from(rest.starts_with(quote)))
            });
        }
    }

    /// `end` returns the length of the end marker if the rest starts with it.
    fn skip_until(&mut self, end: impl Fn(&str) -> Option<usize>) {
        while let Some(c) = self.rest.chars().next() {
            if let Some(length) = end(self.rest) {
                return self.skip(length);
            }
            self.skip(c.len_utf8());
            // A quote after a backslash does not end the string, not even a raw one.
            if c == '\\' {
                let escaped = self.rest.chars().next().map_or(0, char::len_utf8);
                self.skip(escaped);
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let c = self.rest.chars().next()?;
            match c {
                ' ' | '\t' | '\r' | '\x0c' => self.skip(1),
                '\n' if self.depth > 0 => self.skip(1),
                '\\' if self.rest.starts_with("\\\n") => self.skip(2),
                '\\' if self.rest.starts_with("\\\r\n") => self.skip(3),
                '#' => {
                    self.take_while(|c| c != '\n');
                }
                '"' | '\'' => {
                    self.skip_string(c);
                    return Some(Token::Symbol('0'));
                }
                '0'..='9' => {
                    self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
                    return Some(Token::Symbol('0'));
                }
                c if c.is_alphabetic() || c == '_' || !c.is_ascii() => {
                    let name = self.take_while(|c| c.is_alphanumeric() || c == '_' || !c.is_ascii());
                    let is_string_prefix =
                        name.len() <= 2 && name.bytes().all(|b| b"rRbBuUfFtT".contains(&b));
                    if is_string_prefix && self.rest.starts_with(['"', '\'']) {
                        continue;
                    }
                    return Some(Token::Name(name));
                }
                c => {
                    self.skip(1);
                    match c {
                        '(' | '[' | '{' => self.depth += 1,
                        ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
                        ';' | '\n' if self.depth == 0 => return Some(Token::End),
                        ':' if self.depth == 0 => return Some(Token::Colon),
                        _ => {}
                    }
                    return Some(Token::Symbol(c));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(source: &str) -> Vec<String> {
        find(source).into_iter().map(|import| import.module).collect()
    }

    #[test]
    fn all_forms_of_import_are_found() {
        assert_eq!(modules("import a\nimport b.c as d, e ; import f"), ["a", "b.c", "e", "f"]);
        assert_eq!(modules("from a.b import (c,\n  d as e,\n)\nfrom f import *"), ["a.b", "f"]);
        assert_eq!(find("from a import b as c, d")[0].names, ["b", "d"]);
        assert_eq!(modules("import \\\n  a"), ["a"]);
    }

    #[test]
    fn imports_are_found_anywhere() {
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
    fn text_that_resembles_an_import_is_ignored() {
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
    fn each_import_is_returned_once() {
        assert_eq!(modules("import a\nimport a\ndef f(): import a"), ["a"]);
    }

    #[test]
    fn invalid_scripts_are_read_as_far_as_possible() {
        assert_eq!(modules("import\nfrom\nfrom x\nimport a.\nfrom b import\nimport c"), ["b", "c"]);
    }

    fn names(source: &str) -> Vec<&str> {
        let name = |token| if let Token::Name(name) = token { Some(name) } else { None };
        Tokens::new(source).filter_map(name).collect()
    }

    #[test]
    fn names_in_strings_and_comments_are_ignored() {
        assert_eq!(names("a = 'b \\' c' # d\ne"), ["a", "e"]);
        assert_eq!(names("\"\"\"import a\n'''import b\"\"\" + c"), ["c"]);
        assert_eq!(names("rb'a\\' b' + f\"{c}\" + U'd' + e"), ["e"]);
        assert_eq!(names("'not closed\nnext"), ["next"]);
        assert_eq!(names("''\na"), ["a"]);
    }

    #[test]
    fn a_newline_outside_of_brackets_ends_a_statement() {
        let ends = |source| Tokens::new(source).filter(|token| *token == Token::End).count();
        assert_eq!(ends("a; b\n(c,\n d)\ne \\\n f\n"), 4);
        assert_eq!(ends("a \\\r\n b\r\n"), 1);
    }

    #[test]
    fn the_tokenizer_accepts_any_text() {
        for source in ["'", "\"\"\"", "\\", "(", ")))", "\u{feff}x", "f'", "'\\", "1_000.5e3j", "é\u{0}\u{1}"]
        {
            let _ = names(source);
        }
    }
}
