//! Python's tokens, as far as finding imports needs them: strings, comments and numbers are passed over.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Name(&'a str),
    /// A character of an operator; the parts of a number or a string are one `'0'`.
    Symbol(char),
    /// A `:` outside of brackets: a statement may follow on the same line.
    Colon,
    /// The end of a statement: a newline outside of brackets, or `;`.
    End,
}

pub(crate) struct Tokens<'a> {
    rest: &'a str,
    /// Brackets that are open.
    depth: u32,
}

impl<'a> Tokens<'a> {
    pub fn of(source: &'a str) -> Self {
        Self { rest: source.trim_start_matches('\u{feff}'), depth: 0 }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// The rest begins with a quote.
    fn pass_string(&mut self, quote: char) {
        let triple = quote.to_string().repeat(3);
        if let Some(rest) = self.rest.strip_prefix(&triple) {
            self.rest = rest;
            self.pass_until(|rest| rest.starts_with(&triple).then_some(3));
        } else {
            self.skip(1);
            // A string that is not closed on its line is an error that Python will tell of.
            self.pass_until(|rest| {
                rest.starts_with([quote, '\n']).then_some(usize::from(rest.starts_with(quote)))
            });
        }
    }

    /// `end` gives the length of the end when the rest begins with it.
    fn pass_until(&mut self, end: impl Fn(&str) -> Option<usize>) {
        while let Some(c) = self.rest.chars().next() {
            if let Some(length) = end(self.rest) {
                return self.skip(length);
            }
            self.skip(c.len_utf8());
            // Also in raw strings a quote behind a backslash does not end them.
            if c == '\\' {
                let escaped = self.rest.chars().next().map_or(0, char::len_utf8);
                self.skip(escaped);
            }
        }
    }

    fn name(&mut self) -> Token<'a> {
        let name = self.take_while(|c| c.is_alphanumeric() || c == '_' || !c.is_ascii());
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) if is_string_prefix(name) => {
                self.pass_string(quote);
                Token::Symbol('0')
            }
            _ => Token::Name(name),
        }
    }

    fn symbol(&mut self, c: char) -> Token<'a> {
        self.skip(c.len_utf8());
        match c {
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            ';' | '\n' if self.depth == 0 => return Token::End,
            ':' if self.depth == 0 => return Token::Colon,
            _ => {}
        }
        Token::Symbol(c)
    }
}

fn is_string_prefix(name: &str) -> bool {
    name.len() <= 2 && name.bytes().all(|b| b"rRbBuUfFtT".contains(&b))
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
                    self.pass_string(c);
                    return Some(Token::Symbol('0'));
                }
                '0'..='9' => {
                    self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
                    return Some(Token::Symbol('0'));
                }
                c if c.is_alphabetic() || c == '_' || !c.is_ascii() => return Some(self.name()),
                c => return Some(self.symbol(c)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<&str> {
        let name = |token| if let Token::Name(name) = token { Some(name) } else { None };
        Tokens::of(source).filter_map(name).collect()
    }

    #[test]
    fn strings_and_comments_hold_no_names() {
        assert_eq!(names("a = 'b \\' c' # d\ne"), ["a", "e"]);
        assert_eq!(names("\"\"\"import a\n'''import b\"\"\" + c"), ["c"]);
        assert_eq!(names("rb'a\\' b' + f\"{c}\" + U'd' + e"), ["e"]);
        assert_eq!(names("'not closed\nnext"), ["next"]);
        assert_eq!(names("''\na"), ["a"]);
    }

    #[test]
    fn a_statement_ends_at_a_newline_outside_of_brackets() {
        let ends = |source| Tokens::of(source).filter(|token| *token == Token::End).count();
        assert_eq!(ends("a; b\n(c,\n d)\ne \\\n f\n"), 4);
        assert_eq!(ends("a \\\r\n b\r\n"), 1);
    }

    #[test]
    fn anything_comes_to_an_end() {
        for source in ["'", "\"\"\"", "\\", "(", ")))", "\u{feff}x", "f'", "'\\", "1_000.5e3j", "é\u{0}\u{1}"]
        {
            let _ = names(source);
        }
    }
}
