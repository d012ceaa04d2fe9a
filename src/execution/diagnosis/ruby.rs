//! Explains the errors of Ruby.

use crate::execution::diagnosis::{FailureContext, explain_errno, no_such_file, quoted};

pub(crate) fn explain(context: &FailureContext) -> Option<String> {
    if !context.runtime.starts_with("ruby") {
        return None;
    }
    let is_error =
        |line: &&str| ["Error)", "(Errno::", "syntax error"].iter().any(|needle| line.contains(needle));
    let line = context.stderr.lines().find(is_error)?;
    if line.contains("(LoadError)") {
        let name = line.split(" -- ").nth(1)?.trim_end_matches(" (LoadError)");
        return Some(format!(
            "the gem or file {} is not in its image ({}), and RGrid does not install gems",
            quoted(name),
            context.runtime
        ));
    }
    if line.contains("(Errno::ENOENT)") {
        let path = line.split(" @ ").nth(1).and_then(|rest| rest.split(" - ").nth(1));
        return Some(no_such_file(context, path?.trim_end_matches(" (Errno::ENOENT)")));
    }
    explain_errno(context, line, None).or_else(|| Some(format!("uncaught error: {}", quoted(line))))
}

#[cfg(test)]
mod tests {
    use crate::execution::diagnosis::{FailureContext, context, explain};

    #[test]
    fn errors_of_ruby_3_3_are_explained() {
        let cases = [
            (
                "<internal:/usr/lib/ruby/rubygems/core_ext/kernel_require.rb>:136:in `require': cannot load such file -- nokogiri (LoadError)\n",
                "`nokogiri` is not in its image",
            ),
            (
                "./a.rb:1:in `read': No such file or directory @ rb_sysopen - data.txt (Errno::ENOENT)\n",
                "rgrid run a.rb data.txt",
            ),
            (
                "./a.rb:1:in `<main>': undefined local variable or method `x' for main:Object (NameError)\n",
                "NameError",
            ),
        ];
        for (stderr, expected) in cases {
            let ruby = FailureContext { script: "a.rb", runtime: "ruby:3.3", ..context(stderr, &[]) };
            let cause = explain(&ruby).unwrap();
            assert!(cause.contains(expected), "{cause}");
        }
    }
}
