//! Story NEW-3: `make migrate` and `make migrate-upgrade`. `operations::migrations` tests the schema.

use std::process::Command;

use crate::support::Database;

fn daemon_script(database: &Database, arguments: &[&str]) -> String {
    let state = tempfile::tempdir().unwrap();
    let output = Command::new("scripts/daemon")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RGRIDD", env!("CARGO_BIN_EXE_rgridd"))
        .env("RGRID_STATE", state.path())
        .env("RGRID_DATABASE__URL", database.url())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn new_3_make_migrate_lists_pending_migrations_and_make_migrate_upgrade_applies_them() {
    let database = Database::new();
    let pending = daemon_script(&database, &["migrate", "status"]);
    assert!(pending.contains("pending") && !pending.contains("applied"), "{pending}");
    assert!(daemon_script(&database, &["migrate", "up"]).contains("applied"));
    let applied = daemon_script(&database, &["migrate", "status"]);
    assert!(!applied.contains("pending"), "{applied}");
    assert_eq!(applied.lines().count(), pending.lines().count());
}
