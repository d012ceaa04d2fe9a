//! The OpenAPI document in `docs/`.

use std::path::Path;

use crate::support::{DaemonBuilder, Database};

#[test]
fn the_document_in_docs_is_up_to_date() {
    let database = Database::new();
    let daemon = DaemonBuilder::plain(&database).role("api").start();
    let served = daemon.http().get("/openapi.json").json();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap_or_default();
    assert_eq!(served["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    assert!(
        served == written,
        "docs/openapi.json is out of date; run this with a daemon of this version: \
         curl -s http://127.0.0.1:8080/openapi.json | python3 -m json.tool --indent 1 >docs/openapi.json"
    );
}
