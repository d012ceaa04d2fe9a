//! `--batch` and related options, which may also follow the script.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, Parser};

use crate::batch::inputs::is_pattern;

#[derive(Args, Clone, Default)]
pub struct BatchOptions {
    /// Run the script once per matching file (quote the pattern: 'data/*.csv'). The file is uploaded and
    /// passed as the first argument, or in place of {}
    #[arg(long, value_name = "PATTERN", help_heading = "Several inputs")]
    pub batch: Vec<String>,
    /// With --batch: run at most this many at the same time
    #[arg(long, value_name = "N", requires = "batch", help_heading = "Several inputs",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_parallel: Option<usize>,
}

/// The parts of a batch's command line.
pub struct Split {
    pub options: BatchOptions,
    pub output_dir: Option<PathBuf>,
    /// The script and its arguments.
    pub command: Vec<OsString>,
}

/// The options that may follow the script.
#[derive(Parser)]
#[command(name = "rgrid run SCRIPT", disable_help_flag = true, disable_version_flag = true)]
struct TrailingOptions {
    #[command(flatten)]
    options: BatchOptions,
    #[arg(short, long)]
    output_dir: Option<PathBuf>,
    #[arg(short, long)]
    wait: bool,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Returns `None` if this is not a batch. Everything after the script is passed to it, including its own
/// `--batch 32`. Only `--batch` with a pattern directly after the script is an option of `rgrid`: a shell would
/// have expanded the pattern, so the user must have quoted it.
pub fn split(given: &BatchOptions, output_dir: Option<&Path>, command: &[OsString]) -> Option<Split> {
    if !given.batch.is_empty() {
        let output_dir = output_dir.map(Path::to_owned);
        return Some(Split { options: given.clone(), output_dir, command: command.to_vec() });
    }
    let (script, rest) = command.split_first().filter(|(_, rest)| starts_with_pattern(rest))?;
    let line = std::iter::once(OsStr::new("rgrid")).chain(rest.iter().map(OsString::as_os_str));
    let TrailingOptions { options, output_dir: chosen, wait: _, rest } = TrailingOptions::parse_from(line);
    let output_dir = chosen.or_else(|| output_dir.map(Path::to_owned));
    let command = std::iter::once(script.clone()).chain(rest).collect();
    Some(Split { options, output_dir, command })
}

/// `s.py --batch data/a.csv data/b.csv`: probably an unquoted pattern that the shell expanded.
pub fn was_pattern_expanded(command: &[OsString]) -> bool {
    let word = |at: usize| command.get(at).map(OsString::as_os_str);
    word(1) == Some(OsStr::new("--batch")) && word(2).is_some_and(|file| Path::new(file).is_file())
}

fn starts_with_pattern(arguments: &[OsString]) -> bool {
    let text = |at: usize| arguments.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    match text(0) {
        "--batch" => is_pattern(text(1)),
        other => other.strip_prefix("--batch=").is_some_and(is_pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_after_script(line: &[&str]) -> Option<Split> {
        let command: Vec<OsString> = line.iter().map(OsString::from).collect();
        split(&BatchOptions::default(), None, &command)
    }

    #[test]
    fn a_pattern_directly_after_the_script_makes_a_batch() {
        let line = ["s.py", "--batch", "d/*.csv", "--max-parallel", "3", "-o", "out", "x", "-o", "y"];
        let split = split_after_script(&line).unwrap();
        assert_eq!(
            (split.options.batch.as_slice(), split.options.max_parallel),
            (&["d/*.csv".to_owned()][..], Some(3))
        );
        assert_eq!(split.output_dir.as_deref(), Some(Path::new("out")));
        assert_eq!(split.command, ["s.py", "x", "-o", "y"]);
        let split = split_after_script(&["s.py", "--batch=a?", "--verbose", "{}", "--batch", "32"]).unwrap();
        assert_eq!(split.command, ["s.py", "--verbose", "{}", "--batch", "32"]);
    }

    #[test]
    fn an_expanded_pattern_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let expanded =
            |word: &OsStr| was_pattern_expanded(&["s.py".into(), "--batch".into(), word.to_owned()]);
        assert!(
            expanded(file.path().as_os_str())
                && !expanded(OsStr::new("32"))
                && !was_pattern_expanded(&["s.py".into()])
        );
    }

    #[test]
    fn any_other_argument_after_the_script_is_passed_to_it() {
        for line in [
            &["s.py", "--batch", "32"][..],
            &["s.py", "--batch"],
            &["s.py", "x", "--batch", "*.csv"],
            &["s.py"],
        ] {
            assert!(split_after_script(line).is_none(), "{line:?}");
        }
    }
}
