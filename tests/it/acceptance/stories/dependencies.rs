//! Story 2-4: dependencies, through the CLI. `environments::dependencies` tests the install.

use crate::acceptance::stories::daemon;
use crate::support::Index;

const SHOW: &str = "import hello; print(hello.VERSION)";

#[test]
fn story_2_4_requirements_files_and_pep_723_metadata_are_installed() {
    let index =
        Index::new().with_module("hello", "1.0").with_module("hello", "2.0").with_module("hello", "3.0");
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("requirements.txt", index.requirements("hello==1.0"));
    cli.write("two.txt", index.requirements("hello==2.0"));
    cli.write("show.py", SHOW);
    // Inline metadata accepts pip's options as separate items.
    let lines = index.requirements("hello==3.0");
    let listed: Vec<String> = lines.lines().map(|line| format!("#   {line:?},\n")).collect();
    let inline = format!("# /// script\n# dependencies = [\n{}# ]\n# ///\n{SHOW}\n", listed.concat());
    cli.write("inline.py", inline);

    let run = |arguments: &[&str]| cli.run(&[&["run", "-w"], arguments].concat());
    let beside = run(&["show.py"]);
    assert_eq!((beside.code, beside.stdout.as_str()), (0, "1.0\n"), "{beside:?}");
    assert!(beside.stderr.contains("Successfully installed hello-1.0"), "{beside:?}");
    assert_eq!(run(&["--requirements", "two.txt", "show.py"]).stdout, "2.0\n");
    let inline = run(&["inline.py"]);
    assert_eq!((inline.code, inline.stdout.as_str()), (0, "3.0\n"), "{inline:?}");

    let again = run(&["show.py"]);
    assert_eq!(again.stdout, "1.0\n");
    assert!(!again.stderr.contains("installed"), "{again:?}");
    assert_eq!(run(&["--no-requirements", "show.py"]).code, 1);
}

#[test]
fn story_2_4_requires_python_selects_a_matching_runtime() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    let script =
        "# /// script\n# requires-python = \"<3.11\"\n# ///\nimport sys; print(sys.version_info[1])\n";
    cli.write("old.py", script);
    assert_eq!(cli.ok(&["run", "-w", "-q", "old.py"]), "10\n");
}

#[test]
fn story_2_4_a_missing_import_is_a_suggestion_and_not_an_error() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    let script = "\
import os, json
'import numpy'
def never():
    try:
        import yaml, cv2
        from PIL import Image
    except ImportError:
        import sklearn.svm
if 0:
    import requests, tools
    from . import sibling
print('fine')
";
    cli.write("imports.py", script);
    cli.write("tools.py", "");
    let said = cli.run(&["run", "-w", "imports.py", "tools.py"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "fine\n"), "{said:?}");
    let mut hints: Vec<_> = said.stderr.lines().filter(|line| line.starts_with("  hint: ")).collect();
    hints.sort_unstable();
    let hint = |rest: &str| format!("  hint: imports.py imports {rest} to requirements.txt");
    let expected = [
        hint("PIL; add Pillow"),
        hint("cv2; add opencv-python"),
        hint("requests; add it"),
        hint("sklearn; add scikit-learn"),
        hint("yaml; add PyYAML"),
    ];
    assert_eq!(hints, expected);
}

#[test]
fn story_2_4_the_standard_library_depends_on_the_runtime() {
    let (_database, daemon) = daemon();
    let cli = daemon.cli();
    cli.write("toml.py", "try:\n    import tomllib\nexcept ImportError:\n    print('none')\n");
    assert!(!cli.run(&["run", "-w", "toml.py"]).stderr.contains("imports tomllib"));
    let old = cli.run(&["run", "-w", "-r", "python:3.9", "toml.py"]);
    assert!(old.stderr.contains("hint: toml.py imports tomllib") && old.stdout == "none\n", "{old:?}");
}
