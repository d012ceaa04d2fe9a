//! The escaped forms in which programs print a text: in JSON, as a literal of a runtime's language, or quoted for a
//! shell. The quotation marks around it are not included.

/// Appends a character in one form.
type Escape = fn(char, &mut String);

const FORMS: [Escape; 17] = [
    |c, out| json(c, false, out),
    |c, out| json(c, true, out),
    json_for_html,
    |c, out| python(c, None, out),
    |c, out| python(c, Some('\''), out),
    |c, out| python_ascii(c, None, out),
    |c, out| python_ascii(c, Some('\''), out),
    |c, out| python_bytes(c, None, out),
    |c, out| python_bytes(c, Some('\''), out),
    |c, out| node(c, None, out),
    |c, out| node(c, Some('\''), out),
    // Inside of single quotes: by bash, and by Python's `shlex.quote`.
    |c, out| replace(c, '\'', r"'\''", out),
    |c, out| replace(c, '\'', r#"'"'"'"#, out),
    // By `declare -p` and `printf %q` of bash.
    |c, out| backslash(c, "$`\"\\", out),
    |c, out| backslash(c, " '\"\\|&;()<>!{}*[]?^$`,", out),
    bash,
    bash_ascii,
];

/// Returns each form that differs from the text itself, some more than once.
pub(crate) fn escaped_forms(text: &str) -> impl Iterator<Item = String> {
    let characters = FORMS.into_iter().map(|escape| {
        let mut form = String::with_capacity(text.len());
        text.chars().for_each(|c| escape(c, &mut form));
        form
    });
    let others: [Escape; 3] = [|c, out| out.push(c), ruby_unicode, ruby_bytes];
    let ruby = others.into_iter().map(|other| ruby(text, other));
    characters.chain(ruby).filter(move |form| form != text)
}

/// Appends the escape of a character that all of these languages escape alike.
fn common(c: char, quote: Option<char>, out: &mut String) -> bool {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c == '\\' || quote == Some(c) => out.extend(['\\', c]),
        _ => return false,
    }
    true
}

fn json(c: char, ascii: bool, out: &mut String) {
    match c {
        c if common(c, Some('"'), out) => {}
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        // With an escape of its own for each half of a surrogate pair.
        c if c < ' ' || (ascii && c > '~') => {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
        c => out.push(c),
    }
}

/// As Go's encoder prints it.
fn json_for_html(c: char, out: &mut String) {
    match c {
        '<' | '>' | '&' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => json(c, ['\u{2028}', '\u{2029}'].contains(&c), out),
    }
}

/// `repr` of a text.
fn python(c: char, quote: Option<char>, out: &mut String) {
    // Rust and Python consider the same characters printable. After a letter, that includes combining ones.
    let printable = !c.is_ascii() && format!("a{c}").escape_debug().eq(['a', c]);
    if printable { out.push(c) } else { python_ascii(c, quote, out) }
}

/// `ascii` of a text.
fn python_ascii(c: char, quote: Option<char>, out: &mut String) {
    match (c, u32::from(c)) {
        (c, _) if common(c, quote, out) => {}
        (' '..='~', _) => out.push(c),
        (_, code @ ..=0xff) => out.push_str(&format!("\\x{code:02x}")),
        (_, code @ ..=0xffff) => out.push_str(&format!("\\u{code:04x}")),
        (_, code) => out.push_str(&format!("\\U{code:08x}")),
    }
}

/// `repr` of the text in UTF-8.
fn python_bytes(c: char, quote: Option<char>, out: &mut String) {
    c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| python_ascii(char::from(byte), quote, out));
}

/// `util.inspect`, which `console.log` uses.
fn node(c: char, quote: Option<char>, out: &mut String) {
    match c {
        c if common(c, quote, out) => {}
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        c if c.is_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
        c => out.push(c),
    }
}

/// `inspect`, with one of these escapes for other characters than ASCII.
fn ruby(text: &str, other: Escape) -> String {
    let mut form = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if common(c, Some('"'), &mut form) => {}
            '\u{7}' => form.push_str("\\a"),
            '\u{8}' => form.push_str("\\b"),
            '\u{b}' => form.push_str("\\v"),
            '\u{c}' => form.push_str("\\f"),
            '\u{1b}' => form.push_str("\\e"),
            '\u{7f}' => form.push_str("\\x7F"),
            ' '..='~' => form.push(c),
            c if c.is_control() => ruby_unicode(c, &mut form),
            c => other(c, &mut form),
        }
    }
    // These would start an interpolation.
    ["#{", "#$", "#@"].into_iter().fold(form, |form, start| form.replace(start, &format!("\\{start}")))
}

fn ruby_unicode(c: char, out: &mut String) {
    match u32::from(c) {
        code @ ..=0xffff => out.push_str(&format!("\\u{code:04X}")),
        code => out.push_str(&format!("\\u{{{code:X}}}")),
    }
}

/// The text is not in the encoding of the script's locale.
fn ruby_bytes(c: char, out: &mut String) {
    c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("\\x{byte:02X}")));
}

fn replace(c: char, replaced: char, by: &str, out: &mut String) {
    if c == replaced { out.push_str(by) } else { out.push(c) }
}

fn backslash(c: char, special: &str, out: &mut String) {
    out.extend(special.contains(c).then_some('\\'));
    out.push(c);
}

/// `$'…'`, which bash uses if there are control characters.
fn bash(c: char, out: &mut String) {
    match c {
        c if common(c, Some('\''), out) => {}
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{b}' => out.push_str("\\v"),
        '\u{c}' => out.push_str("\\f"),
        '\u{1b}' => out.push_str("\\E"),
        c if c.is_ascii_control() => out.push_str(&format!("\\{:03o}", u32::from(c))),
        c => out.push(c),
    }
}

/// The same in a locale that has only ASCII.
fn bash_ascii(c: char, out: &mut String) {
    match c.is_ascii() {
        true => bash(c, out),
        false => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("\\{byte:03o}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As these programs printed them.
    #[test]
    fn the_forms_are_those_of_the_programs() {
        let quotes = "a\"b'c\\d";
        let controls = "one\ntwo\t\u{1b}\u{7}\u{7f}";
        let letters = "grü €😀\u{200b}\u{a0}";
        let shell = "$x`y`!#{z} <&>*?";
        for (text, forms) in [
            (quotes, [r#"a\"b'c\\d"#, r#"a"b\'c\\d"#, r#"a"b'c\\d"#].as_slice()),
            (quotes, &[r#"a\"b\'c\\d"#, r#"a"b'\''c\d"#, r#"a"b'"'"'c\d"#]),
            (controls, &[r"one\ntwo\t\u001b\u0007\u007f", "one\\ntwo\\t\\u001b\\u0007\u{7f}"]),
            (controls, &[r"one\ntwo\t\x1b\x07\x7f", r"one\ntwo\t\x1B\x07\x7F"]),
            (controls, &[r"one\ntwo\t\e\a\x7F", r"one\ntwo\t\E\a\177"]),
            (letters, &[r"gr\u00fc \u20ac\ud83d\ude00\u200b\u00a0", r"grü €😀\u200b\xa0"]),
            (letters, &[r"gr\xfc \u20ac\U0001f600\u200b\xa0"]),
            (letters, &[r"gr\xc3\xbc \xe2\x82\xac\xf0\x9f\x98\x80\xe2\x80\x8b\xc2\xa0"]),
            (letters, &[r"gr\u00FC \u20AC\u{1F600}\u200B\u00A0"]),
            (letters, &[r"gr\xC3\xBC \xE2\x82\xAC\xF0\x9F\x98\x80\xE2\x80\x8B\xC2\xA0"]),
            (letters, &[r"gr\303\274 \342\202\254\360\237\230\200\342\200\213\302\240"]),
            (shell, &[r"\$x\`y\`!#{z} <&>*?", r"\$x\`y\`\!#\{z\}\ \<\&\>\*\?"]),
            (shell, &[r"$x`y`!\#{z} <&>*?", r"$x`y`!#{z} \u003c\u0026\u003e*?"]),
        ] {
            let found: Vec<String> = escaped_forms(text).collect();
            for form in forms {
                assert!(found.iter().any(|found| found == form), "{form} is missing: {found:#?}");
            }
        }
        assert_eq!(escaped_forms("ordinary-token_1.2/3+4=").count(), 0);
    }
}
