//! What an operator does: start, stop, upgrade, look.

mod database_url;
mod doctor;
mod drain;
mod healthcheck;
mod metrics;
mod migrations;
mod postgres_tls;
mod restart;
mod retention;
