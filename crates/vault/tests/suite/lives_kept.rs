//! Sequences that failed once, as short as they could be made.

use crate::model::Op::{self, *};
use crate::model::run::live_through;

#[track_caller]
fn is_fine(ops: &[Op]) {
    for (k, n) in [(1, 1), (2, 3), (3, 5)] {
        live_through(k, n, ops).unwrap_or_else(|error| panic!("{k} of {n}: {error}"));
    }
}

/// The emptied version was in the catalogue's memory only: there was nothing on servers to settle.
#[test]
fn p5_fsync_after_a_file_was_emptied_and_closed() {
    is_fine(&[
        Open {
            slot: 1,
            file: 3,
            rewrite: false,
        },
        Truncate { file: 3, size: 45 },
        Restart,
        Open {
            slot: 0,
            file: 3,
            rewrite: true,
        },
        Flush { slot: 0 },
        Fsync { slot: 0 },
        PowerCut { seed: 460 },
    ]);
}

/// A version of which a bad server kept a share and another one lost its own is out of reach, and neither lost nor taken back.
#[test]
fn p5_a_power_cut_while_a_server_hangs() {
    is_fine(&[
        Open {
            slot: 1,
            file: 2,
            rewrite: false,
        },
        Bad { how: 2 },
        Cut { slot: 1, size: 73 },
        Release { slot: 1 },
        PowerCut { seed: 342 },
    ]);
}

/// Two files that are alike are told apart by their nodes.
#[test]
fn p5_links_and_removals_before_a_power_cut() {
    is_fine(&[
        Open {
            slot: 1,
            file: 2,
            rewrite: false,
        },
        Open {
            slot: 3,
            file: 0,
            rewrite: false,
        },
        Sync,
        Remove { file: 0 },
        Link { from: 2, to: 0 },
        PowerCut { seed: 794 },
        Truncate { file: 2, size: 34 },
    ]);
}

/// With a server away the newest version could not be judged; the one before it, lost as well, was taken for settled, and
/// became current when the newest was found to be lost.
#[test]
fn p5_two_versions_lost_while_a_server_is_away() {
    // Which servers keep what is by chance.
    for _ in 0..40 {
        is_fine(&[
            Bad { how: 2 },
            Open {
                slot: 1,
                file: 4,
                rewrite: false,
            },
            Truncate { file: 4, size: 16 },
            Write {
                slot: 1,
                at: 37623,
                len: 133,
                seed: 97,
            },
            Flush { slot: 1 },
            Write {
                slot: 1,
                at: 19,
                len: 252,
                seed: 133,
            },
            Open {
                slot: 1,
                file: 2,
                rewrite: false,
            },
            Release { slot: 1 },
            Open {
                slot: 3,
                file: 1,
                rewrite: false,
            },
            Exchange { from: 4, to: 1 },
            Open {
                slot: 0,
                file: 4,
                rewrite: false,
            },
            Remove { file: 4 },
            PowerCut { seed: 593 },
        ]);
    }
}

/// The version was of an earlier life and could not be judged, because a server failed: `fsync` said that it was safe, and
/// nobody looked again when the server was back.
#[test]
fn p5_what_could_not_be_checked_at_the_start_is_not_called_safe() {
    for last in [Fsync { slot: 0 }, Sync] {
        let ops = [
            Open {
                slot: 1,
                file: 1,
                rewrite: false,
            },
            Truncate { file: 1, size: 24 },
            Fault { server: 0, how: 5 },
            Kill,
            Open {
                slot: 0,
                file: 1,
                rewrite: false,
            },
            last,
            PowerCut { seed: 682 },
        ];
        live_through(2, 2, &ops).unwrap();
        // And when it is back, it is made safe.
        let ops = [&ops[..5], &[Heal, last, PowerCut { seed: 682 }]].concat();
        live_through(2, 2, &ops).unwrap();
    }
}

/// A share that could not be had for the moment was told as damage when a file was closed, and with the file's name.
#[test]
fn p10_a_close_that_cannot_read_what_stays_blames_the_servers() {
    let ops = [
        Open {
            slot: 1,
            file: 0,
            rewrite: false,
        },
        Truncate { file: 0, size: 27 },
        Kill,
        Open {
            slot: 1,
            file: 0,
            rewrite: false,
        },
        Cut { slot: 1, size: 39 },
        Fault { server: 1, how: 1 },
        Release { slot: 1 },
    ];
    live_through(2, 2, &ops).unwrap();
}
