//! Attacks, keys, secrets, the embedded Postgres and the firewall.

mod attacks;
mod compromised_init;
mod embedded_postgres;
mod firewall;
mod keys;
mod secrets;
