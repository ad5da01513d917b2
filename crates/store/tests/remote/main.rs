//! Stores on real WebDAV and S3 servers: the contract, what each server turned out to promise, and what happens when they fail.

mod careless;
mod common;
mod contract;
mod faults;
mod opening;
