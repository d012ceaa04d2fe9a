//! What an operator does: start, stop, upgrade, look.

mod doctor;
mod drain;
mod healthcheck;
mod metrics;
mod migrations;
mod postgres_tls;
mod restart;
mod retention;
