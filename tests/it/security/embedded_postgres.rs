//! The embedded Postgres is open to the daemon only.

use std::os::unix::fs::MetadataExt;

use diesel::{Connection, PgConnection};

use crate::support::{DaemonBuilder, text};

#[test]
fn the_embedded_postgres_rejects_connections_over_tcp() {
    let builder = DaemonBuilder::new().role("api");
    let folder = builder.data_dir().join("postgres");
    let rules = || {
        let socket = folder.join("socket").to_str().unwrap().replace('/', "%2F");
        let mut superuser =
            PgConnection::establish(&format!("postgres://postgres@{socket}/postgres")).unwrap();
        // Fails if the server cannot read the file.
        let rules = "SELECT string_agg(DISTINCT type || ' ' || coalesce(auth_method, error), ', ') \
             FROM pg_hba_file_rules";
        (text(&mut superuser, "SELECT current_setting('listen_addresses')"), text(&mut superuser, rules))
    };
    let expected = "host reject, local trust";
    let daemon = builder.start();
    assert_eq!(rules(), (String::new(), expected.to_owned()));
    // After a crash, the server still runs. An earlier version trusted all.
    daemon.kill_9();
    let file = folder.join("data/pg_hba.conf");
    let owner = std::fs::metadata(&file).unwrap().uid();
    let trusting = std::fs::read_to_string(&file).unwrap().replace("reject", "trust");
    std::fs::write(&file, trusting).unwrap();
    assert_eq!(rules().1, "host trust, local trust");
    let daemon = builder.start();
    assert_eq!(rules().1, expected);
    assert_eq!(std::fs::metadata(&file).unwrap().uid(), owner);
    assert_eq!(daemon.stop(), 0);
    // A new server can read the file.
    assert_eq!(builder.start().stop(), 0);
}
