//! Who this process acts for.

use std::env;

use warifu_vault::context::Context;

/// The [`Context`] of this process: its user, this machine, and the program's name.
#[must_use]
pub fn process_context(program: &str) -> Context {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    Context {
        actor: user_name(uid),
        uid,
        gid,
        host: host_name(),
        program: program.into(),
        purpose: String::new(),
    }
}

/// The name of a user number, or `uid:1000` where the system has none.
#[must_use]
pub fn user_name(uid: u32) -> String {
    match uzers::get_user_by_uid(uid) {
        Some(user) => user.name().to_string_lossy().into_owned(),
        None => format!("uid:{uid}"),
    }
}

/// The name of a group number, or `gid:1000` where the system has none.
#[must_use]
pub fn group_name(gid: u32) -> String {
    match uzers::get_group_by_gid(gid) {
        Some(group) => group.name().to_string_lossy().into_owned(),
        None => format!("gid:{gid}"),
    }
}

/// This machine's name.
fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() {
        env::var("HOSTNAME").unwrap_or_default()
    } else {
        name
    }
}
