//! Real file servers on the loopback interface, started by the test that needs them and gone with it.
//!
//! What is missing on a machine is skipped with a word, except where `CI=true` says that nothing may be.

mod certificates;
mod listening;
mod postgres;
mod process;
mod s3;
mod sshd;
mod webdav;

pub use certificates::Certificates;
pub use listening::Listening;
pub use postgres::{Postgres, PostgresOptions, SharedPostgres, fresh_schema};
pub use process::{Process, free_port, installed, skipped};
pub use s3::S3Server;
pub use sshd::{Sshd, SshdOptions};
pub use webdav::WebdavServer;
