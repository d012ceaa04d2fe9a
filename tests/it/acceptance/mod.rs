//! The acceptance stories and the published examples.

mod examples;
mod main_job;
mod stories;
