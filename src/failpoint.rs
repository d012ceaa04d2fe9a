//! Points at which a test makes the daemon fail. Without the feature `failpoints` they compile to nothing.
//!
//! `RGRID_FAIL="heartbeat.beating=panic*2;run.exited=sleep:3000"` gives each point an action, and how often to repeat it.

#[cfg(not(feature = "failpoints"))]
mod disabled {
    pub async fn hit(_: &'static str) {}

    pub fn loses(_: &'static str) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod enabled {
    use std::sync::LazyLock;
    use std::time::Duration;

    use parking_lot::Mutex;

    #[derive(Debug, Clone, PartialEq)]
    pub(super) enum Action {
        Panic,
        /// Like kill -9: aborts without unwinding.
        Die,
        Sleep(Duration),
        /// The reply is dropped.
        Lose,
    }

    #[derive(Debug, PartialEq)]
    pub(super) struct Point {
        name: String,
        action: Action,
        left: u32,
    }

    static POINTS: LazyLock<Mutex<Vec<Point>>> =
        LazyLock::new(|| Mutex::new(parse(&std::env::var("RGRID_FAIL").unwrap_or_default())));

    pub async fn hit(name: &'static str) {
        match take(name) {
            Some(Action::Panic) => {
                #[allow(clippy::panic, reason = "a panic is the purpose of the fail point")]
                {
                    panic!("fail point {name}")
                }
            }
            Some(Action::Die) => std::process::abort(),
            Some(Action::Sleep(time)) => tokio::time::sleep(time).await,
            Some(Action::Lose) | None => {}
        }
    }

    pub fn loses(name: &'static str) -> bool {
        take(name) == Some(Action::Lose)
    }

    fn take(name: &str) -> Option<Action> {
        let mut points = POINTS.lock();
        let point = points.iter_mut().find(|point| point.name == name && point.left > 0)?;
        point.left -= 1;
        Some(point.action.clone())
    }

    /// Ignores invalid entries, because the test that set them fails anyway.
    pub(super) fn parse(text: &str) -> Vec<Point> {
        text.split(';').filter_map(point).collect()
    }

    fn point(text: &str) -> Option<Point> {
        let (name, rest) = text.trim().split_once('=')?;
        let (what, left) = match rest.split_once('*') {
            Some((what, times)) => (what, times.parse().ok()?),
            None => (rest, 1),
        };
        let action = match what.split_once(':') {
            Some(("sleep", ms)) => Action::Sleep(Duration::from_millis(ms.parse().ok()?)),
            None if what == "panic" => Action::Panic,
            None if what == "die" => Action::Die,
            None if what == "lose" => Action::Lose,
            _ => return None,
        };
        Some(Point { name: name.to_owned(), action, left })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_list_of_points_is_parsed() {
            let points = parse("a.b=panic*2; c=sleep:30;nonsense;d=lose");
            let point = |name: &str, action, left| Point { name: name.to_owned(), action, left };
            let expected = [
                point("a.b", Action::Panic, 2),
                point("c", Action::Sleep(Duration::from_millis(30)), 1),
                point("d", Action::Lose, 1),
            ];
            assert_eq!(points, expected);
        }
    }
}

#[cfg(not(feature = "failpoints"))]
pub use disabled::{hit, loses};
#[cfg(feature = "failpoints")]
pub use enabled::{hit, loses};
