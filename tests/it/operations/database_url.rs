//! The formats of `database.url`.

use std::time::Duration;

use crate::support::{DaemonBuilder, Database, wait_until};

#[test]
fn the_database_may_be_given_as_a_url_or_as_keywords_and_values() {
    let database = Database::new();
    let socket = database.text("SELECT current_setting('unix_socket_directories')");
    let name = database.text("SELECT current_database()");
    let keywords = format!("host={socket} dbname = '{name}' user=rgrid");
    for (url, application) in [
        (database.url(), "rgridd"),
        (format!("{}?application_name=mine", database.url()), "mine"),
        (keywords.clone(), "rgridd"),
        (format!("{keywords} application_name='it is mine'"), "it is mine"),
    ] {
        let daemon = DaemonBuilder::at(&url).role("api").start();
        let connected = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = '{application}'"
        );
        wait_until("it is connected", Duration::from_secs(10), || {
            (daemon.is_ready() && database.number(&connected) > 0).then_some(())
        });
        assert_eq!(daemon.stop(), 0, "{url}");
    }
}
