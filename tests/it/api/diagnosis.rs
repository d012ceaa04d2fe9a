//! Diagnosis: each script of a corpus of broken ones gets the right cause and fix.
//!
//! Comments in the scripts contain the expectation: `kind`, `says` (parts of `execution_error`), and `with` (fields of the
//! submission).

use serde_json::{Value, json};

use crate::support::{DaemonBuilder, Database, Http, fixture};

struct Broken {
    name: String,
    content: String,
    kind: String,
    says: Vec<String>,
    with: Value,
}

fn corpus() -> Vec<Broken> {
    let mut all: Vec<Broken> =
        std::fs::read_dir(fixture("broken")).unwrap().map(|e| read(&e.unwrap().path())).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn read(path: &std::path::Path) -> Broken {
    let content = std::fs::read_to_string(path).unwrap();
    let values = |what: &str| -> Vec<String> {
        let mark = format!("# {what}: ");
        content.lines().filter_map(|line| line.strip_prefix(&mark)).map(str::to_owned).collect()
    };
    let with = values("with").first().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Broken { kind: values("kind").remove(0), says: values("says"), with, name, content }
}

fn submit(http: &Http, broken: &Broken) -> String {
    let mut body = json!({ "script": { "name": broken.name, "content": broken.content } });
    if let Value::Object(more) = broken.with.clone() {
        body.as_object_mut().unwrap().extend(more);
    }
    let answer = http.post("/api/v1/executions", &body);
    assert_eq!(answer.status, 201, "{}: {answer:?}", broken.name);
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn each_broken_script_gets_the_right_diagnosis() {
    let database = Database::new();
    let settings = tempfile::tempdir().unwrap();
    let file = settings.path().join("rgrid.toml");
    // The Python image contains bash; the image of the other runtime does not exist.
    let runtimes = "[runtimes.bash]\nimage = \"python:3.11-slim\"\ncommand = [\"bash\"]\nextensions = [\"sh\"]\n\
        [runtimes.nowhere]\nimage = \"rgrid.invalid/none:1\"\ncommand = [\"python3\"]\npull = \"never\"\n";
    std::fs::write(&file, runtimes).unwrap();
    let builder = DaemonBuilder::plain(&database).with("RGRID_CONFIG", file.to_str().unwrap());
    let daemon = builder.with_certificates().slots(3).start();
    let corpus = corpus();
    assert!(corpus.len() >= 30, "{}", corpus.len());
    let ids: Vec<String> = corpus.iter().map(|broken| submit(&daemon.http(), broken)).collect();
    let mut wrong = Vec::new();
    for (broken, id) in corpus.iter().zip(&ids) {
        let end = daemon.http().wait(id);
        let error = end["execution_error"].as_str().unwrap_or_default();
        println!("{}: {} {error}", broken.name, end["failure_kind"]);
        let missing: Vec<_> = broken.says.iter().filter(|part| !error.contains(part.as_str())).collect();
        if end["failure_kind"] != broken.kind.as_str() || !missing.is_empty() || broken.says.is_empty() {
            wrong.push(format!(
                "{}: {}: {error}\n  lacks {missing:?}\n  stderr: {}",
                broken.name, end["failure_kind"], end["stderr"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), corpus.len(), wrong.join("\n"));
}
