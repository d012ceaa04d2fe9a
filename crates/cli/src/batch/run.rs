//! `rgrid run --batch`: submits the script once for each input, and stays with all of them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::batch::inputs::{self, is_pattern};
use crate::batch::options::{BatchOptions, Split};
use crate::batch::progress::Watch;
use crate::batch::{BatchId, INPUT, summary};
use crate::client::Server;
use crate::context::Session;
use crate::download::outputs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::submit::{self, JobOptions, Prepared};
use crate::watch::interrupt::{Interrupt, Stage};

/// In an argument's place it stands for the input.
const PLACE: &str = "{}";

/// What is run, and how much is said of it.
pub struct Job<'a> {
    pub options: &'a JobOptions,
    /// The id alone.
    pub quiet: bool,
    /// Until all have ended, not only until all are submitted.
    pub wait: bool,
}

pub fn run(job: &Job, split: Split, session: &Session) -> Result<Exit, Failure> {
    let Split { options, output_dir, command } = split;
    let (script, arguments) =
        command.split_first().ok_or_else(|| Failure::usage("there is no script to run"))?;
    check_quotes(&options, script)?;
    let files = inputs::find(&options.batch)?;
    let server = session.patient_server()?;
    let labels: Vec<String> = files.iter().map(|file| inputs::label(file)).collect();
    let id = BatchId::generate()?;
    let line = |file: &PathBuf| line(script, arguments, file);
    let first = files.first().map(line).unwrap_or_default();
    let mut prepared = submit::prepare(job.options, &first, &server)?;
    prepared.submission.labels.extend([id.label()]);

    let interrupt = Interrupt::watch(Stage::Submitting, &session.console)?;
    let watch = Watch::new(id, labels, &server, &session.console);
    let mut batch = Batch {
        prepared,
        lines: files.iter().map(line).collect(),
        server: &server,
        watch: watch.quiet(job.quiet).saving_in(output_dir.as_deref()),
        interrupt,
        next: 0,
    };
    batch.begin(job.quiet, session)?;
    batch.submit_all(options.max_parallel.unwrap_or(usize::MAX))?;
    if job.quiet && !job.wait && output_dir.is_none() {
        return Ok(Exit::Fine);
    }
    batch.watch.until_end()?;
    batch.interrupt.now(Stage::Ended);
    conclude(&batch.watch, output_dir.as_deref(), job.quiet, session)
}

/// The table, and where the files are, unless nobody wants to see it.
fn conclude(watch: &Watch, folder: Option<&Path>, quiet: bool, session: &Session) -> Result<Exit, Failure> {
    let console = &session.console;
    if !quiet {
        summary::show(watch, console)?;
        match folder {
            Some(_) if watch.unsaved.is_none() && watch.saved == 0 => {
                console.progress("Saved: nothing, since no files were left or kept");
            }
            Some(folder) if watch.unsaved.is_none() => {
                let files = outputs::number(watch.saved);
                console.progress(&format!("Saved: {} ({files})", folder.display()))
            }
            // It was told when it happened.
            Some(_) => {}
            None => {
                let id = &watch.id;
                console.hint(&format!("save the files that they left with `rgrid download {id} -o DIR`"));
            }
        }
    }
    Ok(watch.exit())
}

struct Batch<'a> {
    prepared: Prepared,
    /// Script and arguments for each input.
    lines: Vec<Vec<OsString>>,
    server: &'a Server<'a>,
    watch: Watch<'a>,
    interrupt: Interrupt,
    /// The first that is not submitted.
    next: usize,
}

impl Batch<'_> {
    /// What is wrong with the first is most likely wrong with all.
    fn begin(&mut self, quiet: bool, session: &Session) -> Result<(), Failure> {
        let console = &session.console;
        if !quiet {
            self.prepared.hints.iter().for_each(|hint| console.hint(hint));
        }
        self.submit()?;
        let id = self.watch.id.to_string();
        if quiet {
            return console.line(&id);
        }
        let inputs =
            if self.lines.len() == 1 { "1 input".to_owned() } else { format!("{} inputs", self.lines.len()) };
        console.progress(&format!("Batch: {id} ({inputs})"));
        Ok(())
    }

    fn submit_all(&mut self, most: usize) -> Result<(), Failure> {
        while self.next < self.lines.len() {
            if self.watch.open() >= most || self.watch.is_due() {
                self.watch.look()?;
            }
            if self.watch.open() < most {
                let at = self.next;
                if let Err(failure) = self.submit() {
                    // Without a server there is no use in going on.
                    if failure.exit == Exit::Unreachable {
                        return Err(failure);
                    }
                    self.watch.refuse(at, failure);
                }
            }
        }
        Ok(())
    }

    /// The next one.
    fn submit(&mut self) -> Result<(), Failure> {
        let at = self.next;
        self.next += 1;
        let (Some(line), Some(member)) = (self.lines.get(at), self.watch.members.get(at)) else {
            return Ok(());
        };
        let mut submission = self.prepared.with(line)?;
        submission.labels.insert(INPUT.to_owned(), member.input.clone());
        let body = submit::body(&submission)?;
        let submitted = self.server.submit(&body, &format!("{}-{at}", self.watch.id))?;
        if let Some(member) = self.watch.members.get_mut(at) {
            member.id = Some(submitted.execution.id);
        }
        let left = self.lines.len() - self.next;
        self.interrupt.now(Stage::Batch { id: self.watch.id.to_string(), left });
        Ok(())
    }
}

/// The script's command line for one input.
fn line(script: &OsString, arguments: &[OsString], input: &Path) -> Vec<OsString> {
    let mut line = vec![script.clone()];
    let has_place = arguments.iter().any(|argument| argument == PLACE);
    line.extend((!has_place).then(|| input.as_os_str().to_owned()));
    let placed =
        |argument: &OsString| if argument == PLACE { input.as_os_str().to_owned() } else { argument.clone() };
    line.extend(arguments.iter().map(placed));
    line
}

/// A shell that was not kept from it has put files in the pattern's place, and one of them in the script's.
fn check_quotes(options: &BatchOptions, script: &OsStr) -> Result<(), Failure> {
    let ending = |path: &OsStr| Path::new(path).extension().map(OsStr::to_owned);
    let alike = |pattern: &String| !is_pattern(pattern) && ending(OsStr::new(pattern)) == ending(script);
    if options.batch.iter().any(alike) {
        let what = format!("{} looks like an input, and not like the script", Path::new(script).display());
        return Err(Failure::usage(what).hint("write the pattern in quotes: --batch 'data/*.csv'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_comes_first_or_where_its_place_is() {
        let words = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            line(&"s.py".into(), &arguments, Path::new("d/a.csv"))
        };
        assert_eq!(words(&["x"]), ["s.py", "d/a.csv", "x"]);
        assert_eq!(words(&["-i", "{}", "x{}"]), ["s.py", "-i", "d/a.csv", "x{}"]);
    }

    #[test]
    fn a_pattern_without_quotes_is_noticed() {
        let of = |pattern: &str, script: &str| {
            let options = BatchOptions { batch: vec![pattern.to_owned()], max_parallel: None };
            check_quotes(&options, OsStr::new(script)).is_ok()
        };
        assert!(of("d/*.csv", "s.py") && of("d/a.csv", "s.py") && of("*.py", "s.py"));
        assert!(!of("d/a.csv", "d/b.csv"));
    }
}
