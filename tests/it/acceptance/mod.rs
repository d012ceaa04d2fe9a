//! The customer's stories and the published examples.

mod examples;
mod main_job;
mod tier2;
