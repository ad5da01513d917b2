//! Runnable examples for those who embed warifu: `cargo run -p warifu-examples --example NAME`.
//!
//! - `share_bytes`: split a secret into shares and join them, with `warifu-core` alone.
//! - `embed_vault`: make a vault, stream files in and out, lose a server, look at the history.
//! - `ways_in`: a vault that takes a passphrase or paper shares beside its servers, and a passphrase that is lost.
