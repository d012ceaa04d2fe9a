//! Label sets: which executions a worker may claim.

use std::collections::BTreeMap;

/// All subsets of a worker's labels, which are the label sets of the executions that it may claim. The queue is queried
/// once for each, so the number of labels is limited (`rgrid_api::names::WORKER_LABELS_MAX`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSets(Vec<BTreeMap<String, String>>);

impl LabelSets {
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let mut sets = vec![BTreeMap::new()];
        for (key, value) in labels {
            let with = |set: &BTreeMap<String, String>| {
                let mut more = set.clone();
                more.insert(key.clone(), value.clone());
                more
            };
            sets.extend(sets.iter().map(with).collect::<Vec<_>>());
        }
        Self(sets)
    }

    /// Includes the empty set.
    pub fn sets(&self) -> &[BTreeMap<String, String>] {
        &self.0
    }

    /// Whether the worker has no labels.
    pub fn is_plain(&self) -> bool {
        self.0.len() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_worker_without_labels_claims_only_executions_without_labels() {
        let label_sets = LabelSets::of(&labels(&[]));
        assert!(label_sets.is_plain());
        assert_eq!(label_sets.sets(), [labels(&[])]);
    }

    #[test]
    fn a_worker_claims_executions_with_any_subset_of_its_labels() {
        let label_sets = LabelSets::of(&labels(&[("gpu", "true"), ("zone", "eu")]));
        let expected = [
            labels(&[]),
            labels(&[("gpu", "true")]),
            labels(&[("zone", "eu")]),
            labels(&[("gpu", "true"), ("zone", "eu")]),
        ];
        assert_eq!(label_sets.sets(), expected);
        assert!(!label_sets.is_plain());
    }
}
