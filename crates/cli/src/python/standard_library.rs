//! Which modules come with Python itself.

const LIST: &str = include_str!("../../data/standard_library.txt");
const OLDEST: u32 = 9;
const NEWEST: u32 = 13;

/// Of Python 3.`minor`; of any version when that is not known. Later versions are taken for the newest
/// one known.
pub(crate) fn has(module: &str, minor: Option<u32>) -> bool {
    let minor = minor.map(|minor| minor.clamp(OLDEST, NEWEST));
    LIST.lines().filter_map(entry).any(|(name, first, last)| {
        name == module && minor.is_none_or(|minor| (first..=last).contains(&minor))
    })
}

fn entry(line: &str) -> Option<(&str, u32, u32)> {
    let mut words = line.split(' ');
    let name = words.next().filter(|name| !name.starts_with('#'))?;
    Some((name, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_whole() {
        assert!(LIST.lines().filter_map(entry).count() > 300);
        assert_eq!(
            LIST.lines().filter(|line| !line.starts_with('#')).filter_map(entry).count() + 2,
            LIST.lines().count()
        );
    }

    #[test]
    fn modules_come_and_go_with_versions() {
        assert!(has("json", None) && has("os", Some(9)) && !has("requests", None));
        assert!(has("tomllib", Some(11)) && !has("tomllib", Some(10)) && has("tomllib", None));
        assert!(has("distutils", Some(11)) && !has("distutils", Some(12)));
        assert!(has("asyncio", Some(27)) && !has("cgi", Some(27)));
    }
}
