//! Records a shell session with `rgrid` as text, without the values that differ between runs.

use std::process::Command;
use std::sync::LazyLock;

use regex_lite::Regex;

use crate::support::Cli;

/// Values that differ between runs, and their placeholders.
static PLACEHOLDERS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let placeholders = [
        (r"exec_[0-9a-hjkmnp-tv-z]{26}", "exec_[ID]"),
        (r"batch_[0-9a-hjkmnp-tv-z]{8}\b", "batch_[ID]"),
        (r"http://127\.0\.0\.1:\d{4,5}", "http://[SERVER]"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+Z)?", "[TIME]"),
        (r"[0-9a-f]{64}", "[SHA256]"),
        (r"(just now|\d+ seconds? ago) *", "[AGO]  "),
        (r"CREATED +DURATION", "CREATED  DURATION"),
        (r"\b(\d+m )?\d+(\.\d)?m?s\b", "[DURATION]"),
        (r"docker: \d\S+", "docker: [VERSION]"),
        (r"version \d+\.\d+\.\d+", "version [VERSION]"),
        (r"rgrid \d+\.\d+\.\d+( \([^)]*\))?", "rgrid [VERSION]"),
    ];
    placeholders.map(|(pattern, word)| (Regex::new(pattern).unwrap(), word)).into()
});

pub struct Session<'a> {
    cli: &'a Cli,
    text: String,
}

impl<'a> Session<'a> {
    pub fn new(cli: &'a Cli) -> Self {
        Self { cli, text: String::new() }
    }

    /// Records the help without placeholders.
    pub fn help(&mut self, command: &[&str]) -> &mut Self {
        let line = [command, &["--help"]].concat();
        let block = block(&line, &mut self.cli.command(&line), |text| text);
        self.text.push_str(&block);
        self
    }

    pub fn run(&mut self, line: &[&str]) -> &mut Self {
        self.run_with(line, &[])
    }

    /// Runs with these environment variables.
    pub fn run_with(&mut self, line: &[&str], env: &[(&str, &str)]) -> &mut Self {
        let folder = self.cli.folder().display().to_string();
        let mut command = self.cli.command(line);
        command.envs(env.iter().copied());
        let block = block(line, &mut command, |text| text.replace(&folder, "[FOLDER]"));
        self.text.push_str(&with_placeholders(block));
        self
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

fn with_placeholders(text: String) -> String {
    PLACEHOLDERS.iter().fold(text, |text, (pattern, word)| pattern.replace_all(&text, *word).into_owned())
}

/// The command line, stdout, stderr and the exit code.
fn block(line: &[&str], command: &mut Command, clean: impl Fn(String) -> String) -> String {
    let output = command.env("COLUMNS", "100").output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| clean(String::from_utf8(text).unwrap()));
    let words: Vec<String> = line.iter().map(|word| quoted(word)).collect();
    let mut text = clean(format!("$ rgrid {}\n", words.join(" ")).replace("rgrid \n", "rgrid\n"));
    text.push_str(&stdout);
    // The reported phases depend on timing.
    let stderr: String = stderr.split_inclusive('\n').filter(|line| !line.starts_with("Status: ")).collect();
    if !stderr.is_empty() {
        text.push_str(&format!("[stderr]\n{stderr}"));
    }
    text.push_str(&format!("[exit code {}]\n\n", output.status.code().unwrap()));
    text
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '*']) { format!("'{word}'") } else { word.to_owned() }
}
