//! Any text as a duration or a size.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rgrid_api::units;

fuzz_target!(|text: &str| {
    if let Ok(duration) = units::parse_duration(text) {
        let shown = units::format_duration(duration);
        assert!(units::parse_duration(&shown).is_ok(), "{text:?} is shown as {shown}, which can't be read");
    }
    if let Ok(size) = units::parse_size(text) {
        let shown = units::format_size(size);
        assert!(shown.ends_with('B'), "{text:?} is shown as {shown}");
    }
});
