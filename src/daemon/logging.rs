//! The log: structured, to stderr, as lines for people or as JSON for machines.

use std::io::{IsTerminal, stderr};

use slog::{Drain, Level, LevelFilter, Logger, o};

use crate::settings::{Log, LogFormat, LogLevel};

/// Records wait in memory at most this many; beyond it the oldest are dropped and counted, because
/// a log that nobody reads must not stop the work.
const BUFFER: usize = 8192;

/// The logger, and what must live as long as anything may log. Made in the sync `main`: a guard
/// inside the async part would be gone before the runtime logs its last.
pub(crate) struct Logging {
    pub log: Logger,
    _guards: (slog_scope::GlobalLoggerGuard, slog_async::AsyncGuard),
}

pub(crate) fn start(settings: &Log) -> Logging {
    let level = match settings.level {
        LogLevel::Error => Level::Error,
        LogLevel::Warning => Level::Warning,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
    };
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Terminal => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    let (drain, flushed) = if json {
        let drain = slog_json::Json::default(stderr()).fuse();
        slog_async::Async::new(LevelFilter::new(drain, level).fuse()).chan_size(BUFFER).build_with_guard()
    } else {
        let decorator = slog_term::TermDecorator::new().stderr().build();
        let drain = slog_term::FullFormat::new(decorator).use_utc_timestamp().build().fuse();
        slog_async::Async::new(LevelFilter::new(drain, level).fuse()).chan_size(BUFFER).build_with_guard()
    };
    let log = Logger::root(drain.fuse(), o!());
    // What a client did wrong is no error that a person must act on, and a stranger could fill the log with it.
    let of_libraries = log.clone().filter(|record| !record.tag().starts_with("actix_http")).fuse();
    let of_libraries = Logger::root(of_libraries, o!("from" => "library"));
    let scope = slog_scope::set_global_logger(of_libraries);
    // Libraries at info at most: bollard writes whole API answers, with environments, at debug.
    if let Err(error) = slog_stdlog::init_with_level(log::Level::Warn) {
        slog::warn!(log, "the log of libraries is not shown"; "error" => %error);
    }
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let words = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic");
        slog::error!(panics, "panic"; "what" => words, "at" => at);
    }));
    Logging { log, _guards: (scope, flushed) }
}
