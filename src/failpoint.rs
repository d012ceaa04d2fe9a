//! Places where a test makes the daemon fail. Nothing of it is compiled in without the feature `failpoints`.
//!
//! `RGRID_FAIL="heartbeat.beating=panic*2;run.exited=sleep:3000"`: at each of these places do so, once or as many
//! times as is said.

#[cfg(not(feature = "failpoints"))]
mod asleep {
    pub async fn hit(_: &'static str) {}

    pub fn loses(_: &'static str) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    #[derive(Debug, Clone, PartialEq)]
    pub(super) enum Action {
        Panic,
        /// As kill -9 would: nothing is unwound, nothing is said.
        Die,
        Sleep(Duration),
        /// The answer that came is dropped.
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
                #[allow(clippy::panic, reason = "what it is for")]
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
        let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
        let point = points.iter_mut().find(|point| point.name == name && point.left > 0)?;
        point.left -= 1;
        Some(point.action.clone())
    }

    /// What cannot be read is left out: the test that wrote it fails by itself.
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
        fn points_are_read_from_one_line() {
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

#[cfg(feature = "failpoints")]
pub use armed::{hit, loses};
#[cfg(not(feature = "failpoints"))]
pub use asleep::{hit, loses};
