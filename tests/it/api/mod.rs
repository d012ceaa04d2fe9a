//! The HTTP API.

mod bad_input;
mod cross_origin;
mod diagnosis;
mod events;
mod head;
mod openapi;
mod output;
mod receipt;
mod slow_clients;
mod webhooks;
