//! Any bytes as a submission, and any text as the names in it: environment, arguments, files, labels. What is
//! accepted keeps the promises that the rest of the system relies on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rgrid_api::shape::Object;
use rgrid_api::{Retry, Submission, names};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Object(submission)) = serde_json::from_slice::<Object<Submission>>(bytes) {
        let text = serde_json::to_string(&submission).expect("it was read");
        let Object(again) = serde_json::from_str(&text).expect("it was written");
        assert!(submission == again, "reading and writing changes something");
        let shown = format!("{submission:?}");
        for value in submission.env.values().chain(submission.secrets.values()).filter(|value| value.len() > 40) {
            assert!(!shown.contains(value.as_str()), "Debug shows a value");
        }
    }
    let _ = serde_json::from_slice::<Object<Retry>>(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if names::check_env_name(text).is_ok() {
        assert!(!text.is_empty() && !text.contains(['=', '\0', ' ', '\n']) && text.is_ascii());
    }
    if names::check_file_name(text).is_ok() {
        let path = std::path::Path::new(text);
        assert_eq!(path.components().count(), 1);
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(text));
        assert!(!text.contains(['\0', '\n', '\u{1b}']) && text.len() <= 255);
    }
    if names::check_label_key(text).is_ok() {
        assert!(text.len() <= 63 && !text.contains(['=', '\n', '"']));
    }
    if names::check_label_value(text).is_ok() {
        assert!(text.len() <= 255 && !text.contains(['\n', '\0']));
    }
});
