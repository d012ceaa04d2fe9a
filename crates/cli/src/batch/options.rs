//! `--batch` and what belongs to it, before the script or right behind it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, Parser};

use crate::batch::inputs::is_pattern;

#[derive(Args, Clone, Default)]
pub struct BatchOptions {
    /// Run the script once for each file that is called so, in quotes: 'data/*.csv'. The file goes along, and
    /// is the first argument, or takes the place of {}
    #[arg(long, value_name = "PATTERN", help_heading = "Several inputs")]
    pub batch: Vec<String>,
    /// With --batch: so many of them at once, at most
    #[arg(long, value_name = "N", requires = "batch", help_heading = "Several inputs",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_parallel: Option<usize>,
}

/// The command line of a batch, taken apart.
pub struct Split {
    pub options: BatchOptions,
    pub output_dir: Option<PathBuf>,
    /// The script, and its arguments.
    pub command: Vec<OsString>,
}

/// What may stand behind the script.
#[derive(Parser)]
#[command(name = "rgrid run SCRIPT", disable_help_flag = true, disable_version_flag = true)]
struct Behind {
    #[command(flatten)]
    options: BatchOptions,
    #[arg(short, long)]
    output_dir: Option<PathBuf>,
    #[arg(short, long)]
    wait: bool,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// None when it is no batch. What stands behind a script is the script's own, and so is its `--batch 32`; but
/// a pattern right there, which no shell would have left as it is without quotes, is meant for us.
pub fn split(given: &BatchOptions, output_dir: Option<&Path>, command: &[OsString]) -> Option<Split> {
    if !given.batch.is_empty() {
        let output_dir = output_dir.map(Path::to_owned);
        return Some(Split { options: given.clone(), output_dir, command: command.to_vec() });
    }
    let (script, behind) = command.split_first().filter(|(_, behind)| begins_with_a_pattern(behind))?;
    let line = std::iter::once(OsStr::new("rgrid")).chain(behind.iter().map(OsString::as_os_str));
    let Behind { options, output_dir: chosen, wait: _, rest } = Behind::parse_from(line);
    let output_dir = chosen.or_else(|| output_dir.map(Path::to_owned));
    let command = std::iter::once(script.clone()).chain(rest).collect();
    Some(Split { options, output_dir, command })
}

/// `s.py --batch data/a.csv data/b.csv`: most likely a pattern that a shell has replaced.
pub fn lost_its_pattern(command: &[OsString]) -> bool {
    let word = |at: usize| command.get(at).map(OsString::as_os_str);
    word(1) == Some(OsStr::new("--batch")) && word(2).is_some_and(|file| Path::new(file).is_file())
}

fn begins_with_a_pattern(behind: &[OsString]) -> bool {
    let text = |at: usize| behind.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    match text(0) {
        "--batch" => is_pattern(text(1)),
        other => other.strip_prefix("--batch=").is_some_and(is_pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(line: &[&str]) -> Option<Split> {
        let command: Vec<OsString> = line.iter().map(OsString::from).collect();
        split(&BatchOptions::default(), None, &command)
    }

    #[test]
    fn a_pattern_right_behind_the_script_makes_a_batch() {
        let line = ["s.py", "--batch", "d/*.csv", "--max-parallel", "3", "-o", "out", "x", "-o", "y"];
        let split = behind(&line).unwrap();
        assert_eq!(
            (split.options.batch.as_slice(), split.options.max_parallel),
            (&["d/*.csv".to_owned()][..], Some(3))
        );
        assert_eq!(split.output_dir.as_deref(), Some(Path::new("out")));
        assert_eq!(split.command, ["s.py", "x", "-o", "y"]);
        let split = behind(&["s.py", "--batch=a?", "--verbose", "{}", "--batch", "32"]).unwrap();
        assert_eq!(split.command, ["s.py", "--verbose", "{}", "--batch", "32"]);
    }

    #[test]
    fn files_in_place_of_a_pattern_are_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lost = |word: &OsStr| lost_its_pattern(&["s.py".into(), "--batch".into(), word.to_owned()]);
        assert!(
            lost(file.path().as_os_str()) && !lost(OsStr::new("32")) && !lost_its_pattern(&["s.py".into()])
        );
    }

    #[test]
    fn any_other_word_behind_the_script_is_its_own() {
        for line in [
            &["s.py", "--batch", "32"][..],
            &["s.py", "--batch"],
            &["s.py", "x", "--batch", "*.csv"],
            &["s.py"],
        ] {
            assert!(behind(line).is_none(), "{line:?}");
        }
    }
}
