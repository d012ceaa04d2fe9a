//! Attacks, keys, secrets and the firewall.

mod attacks;
mod firewall;
mod keys;
mod secrets;
