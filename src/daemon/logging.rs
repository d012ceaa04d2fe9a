//! The structured log on stderr, as text for people or as JSON for machines.

use std::io::{IsTerminal, stderr};

use slog::{Drain, Level, LevelFilter, Logger, o};

use crate::settings::{Log, LogFormat, LogLevel};

/// Records buffered in memory. Further ones are dropped and counted, because a blocked stderr must not block the daemon.
const BUFFER: usize = 8192;

/// The logger and its guards. Created outside the async runtime, which may log after its main future has ended.
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
    // Invalid requests need no action by an operator, and anybody could fill the log with them.
    let of_libraries = log.clone().filter(|record| !record.tag().starts_with("actix_http")).fuse();
    let of_libraries = Logger::root(of_libraries, o!("from" => "library"));
    let scope = slog_scope::set_global_logger(of_libraries);
    // Not at debug, because bollard then logs whole API responses, which contain environment variables.
    if let Err(error) = slog_stdlog::init_with_level(log::Level::Warn) {
        slog::warn!(log, "libraries cannot log"; "error" => %error);
    }
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic");
        slog::error!(panics, "panic"; "what" => message, "at" => at);
    }));
    Logging { log, _guards: (scope, flushed) }
}
