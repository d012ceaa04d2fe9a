//! What a worker fits.

use std::collections::BTreeMap;

/// Every set of labels that an execution may ask for to run on this worker: all that its own labels contain. The
/// queue is looked at once for each, so labels are few (`rgrid_api::names::WORKER_LABELS_MAX`).
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

    /// The one without any label is among them.
    pub fn sets(&self) -> &[BTreeMap<String, String>] {
        &self.0
    }

    /// Only what asks for no label.
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
    fn a_worker_without_labels_fits_what_asks_for_none() {
        let offer = LabelSets::of(&labels(&[]));
        assert!(offer.is_plain());
        assert_eq!(offer.sets(), [labels(&[])]);
    }

    #[test]
    fn a_worker_fits_each_part_of_its_labels() {
        let offer = LabelSets::of(&labels(&[("gpu", "true"), ("zone", "eu")]));
        let expected = [
            labels(&[]),
            labels(&[("gpu", "true")]),
            labels(&[("zone", "eu")]),
            labels(&[("gpu", "true"), ("zone", "eu")]),
        ];
        assert_eq!(offer.sets(), expected);
        assert!(!offer.is_plain());
    }
}
