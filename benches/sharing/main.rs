//! Sharing and joining beside what moving the bytes costs, and beside other libraries: `cargo bench -p warifu-benches --bench sharing`.
//!
//! Every engine is measured in a process of its own, each with its own yardsticks. With Debian's libgfshare2 and libisal2
//! these two are among the peers. Words after `--` choose parts: engines, small, sealed, peers, codes, plot; timing only when asked for.
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(unused, reason = "the yardsticks are written for x86-64")
)]

#[cfg(target_arch = "x86_64")]
mod measure;
#[cfg(target_arch = "x86_64")]
mod parts;
#[cfg(target_arch = "x86_64")]
mod peers;
#[cfg(target_arch = "x86_64")]
mod plot;
#[cfg(target_arch = "x86_64")]
mod timing;
#[cfg(target_arch = "x86_64")]
mod yard;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(target_arch = "x86_64")]
    parts::all()?;
    Ok(())
}
