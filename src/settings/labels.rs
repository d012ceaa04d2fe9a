//! `worker.labels`: what executions may ask for with `on`.

use std::collections::BTreeMap;

use rgrid_api::names;
use serde::{Deserialize, Deserializer, de};

/// As a table (`{ gpu = "true" }`), or as text for the environment (`gpu=true,zone=eu`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Table(BTreeMap<String, Value>),
}

/// Whoever writes `gpu = true` means the word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Truth(bool),
    Whole(i64),
    Broken(f64),
}

impl Value {
    fn text(self) -> String {
        match self {
            Value::Text(text) => text,
            Value::Truth(truth) => truth.to_string(),
            Value::Whole(number) => number.to_string(),
            Value::Broken(number) => number.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |_| de::Error::custom("is no table of labels; write it like { gpu = \"true\" }");
        let labels = match Written::deserialize(deserializer).map_err(wrong)? {
            Written::Table(table) => table.into_iter().map(|(key, value)| (key, value.text())).collect(),
            Written::Text(text) => from_text(&text).map_err(de::Error::custom)?,
        };
        check(&labels).map_err(de::Error::custom)?;
        Ok(Self(labels))
    }
}

fn from_text(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("{pair:?} is no label; write them like gpu=true,zone=eu"))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    pairs.map(pair).collect()
}

fn check(labels: &BTreeMap<String, String>) -> Result<(), String> {
    if labels.len() > names::WORKER_LABELS_MAX {
        return Err(format!("{} labels, at most {} are allowed", labels.len(), names::WORKER_LABELS_MAX));
    }
    for (key, value) in labels {
        names::check_label_key(key)?;
        names::check_label_value(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<Labels, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, String> {
        Ok(Labels(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()))
    }

    #[test]
    fn labels_are_a_table_or_a_line_of_text() {
        let expected = labels(&[("gpu", "true"), ("zone", "eu")]);
        assert_eq!(read(serde_json::json!({ "gpu": true, "zone": "eu" })), expected);
        assert_eq!(read(serde_json::json!("gpu=true, zone=eu")), expected);
        assert_eq!(read(serde_json::json!("")), labels(&[]));
    }

    #[test]
    fn a_wrong_label_is_told_with_its_words() {
        assert_eq!(
            read(serde_json::json!("gpu")),
            Err("\"gpu\" is no label; write them like gpu=true,zone=eu".to_owned())
        );
        assert!(read(serde_json::json!({ "a b": "x" })).unwrap_err().contains("is not a valid label key"));
        let many: BTreeMap<String, String> = (0..9).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(read(serde_json::json!(many)), Err("9 labels, at most 8 are allowed".to_owned()));
    }
}
