//! Real file servers on the loopback interface, started by the test that needs them and gone with it.
//!
//! What is missing on a machine is skipped with a word, except where `CI=true` says that nothing may be.

mod process;
mod proxy;
mod sshd;

pub use process::{Process, free_port, installed, skipped};
pub use proxy::Proxy;
pub use sshd::{Sshd, SshdOptions};
