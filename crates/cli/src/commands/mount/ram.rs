//! Whether what is in RAM stays there: looked at before a drive is mounted, and while it is.

use std::path::Path;
use std::time::Duration;

use warifu::{MemoryRule, Warifu};
use warifu_mount::{Hygiene, Memory, SwapKind, protect_process, swap_areas};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{shown_path, shown_text, size};
use crate::words::say;

/// How this machine could bring what is in RAM onto a disk.
#[derive(Clone, PartialEq, Eq)]
pub struct Exposure {
    hygiene: Hygiene,
    /// The areas of swap that are not encrypted; or why that cannot be told.
    plain: Result<Vec<String>, String>,
}

impl Exposure {
    /// Looks at this machine and this process.
    pub fn look() -> Self {
        Self {
            hygiene: protect_process(),
            plain: plain_swap(),
        }
    }

    fn swaps_plain(&self) -> bool {
        self.plain.as_ref().map_or(true, |areas| !areas.is_empty())
    }

    /// What is wrong with swap, and what to do.
    fn swap_failure(&self) -> Failure {
        let (what, area) = match &self.plain {
            Ok(areas) => (
                say!("ram-swap", areas = areas.join(", ")),
                areas.first().cloned().unwrap_or_default(),
            ),
            Err(detail) => (
                say!("ram-swap-unknown", detail = detail.as_str()),
                "/dev/…".to_owned(),
            ),
        };
        Failure::new(Exit::NoMount, what, say!("ram-swap-next", area = area))
    }

    /// What is wrong with swap, where something is.
    pub fn swap(&self) -> Option<Failure> {
        self.swaps_plain().then(|| self.swap_failure())
    }

    /// What is wrong with the lock on memory, and what to do.
    pub fn lock_failure(&self) -> Option<Failure> {
        let what = match self.hygiene.memory {
            Memory::Locked => return None,
            Memory::LimitTooLow { limit } => say!("ram-not-locked", limit = size(limit)),
            Memory::Refused { errno } => say!("ram-not-locked-refused", errno = errno),
            _ => say!("ram-not-locked-refused", errno = 0),
        };
        Some(Failure::new(
            Exit::NoMount,
            what,
            say!("ram-not-locked-next"),
        ))
    }

    /// Whether a drive may be mounted here. Where it may only because somebody said so, returns the line for the audit log.
    pub fn judge(&self, rule: MemoryRule, allow_swap: bool) -> Result<Option<String>, Failure> {
        if self.swaps_plain() && rule != MemoryRule::Any && !allow_swap {
            let failure = self.swap_failure();
            return Err(match self.lock_failure() {
                // The second thing to mend; nobody wants to hear of it the next time.
                Some(lock) => failure.with([lock.what, lock.next]),
                None => failure,
            });
        }
        if rule == MemoryRule::Locked
            && let Some(failure) = self.lock_failure()
        {
            return Err(failure);
        }
        Ok(self.swaps_plain().then(|| {
            let by = if allow_swap {
                "--allow-swap"
            } else {
                "the vault file"
            };
            format!("plaintext may reach swap, allowed by {by}: {}", self.told())
        }))
    }

    /// For the audit log.
    fn told(&self) -> String {
        let swap = match &self.plain {
            Ok(areas) => format!("not encrypted: {}", areas.join(", ")),
            Err(detail) => format!("swap cannot be told: {detail}"),
        };
        format!("{swap}; {}", self.hygiene)
    }

    /// What the tour says where a drive of one's own would be refused.
    pub fn for_the_tour(&self) -> Option<String> {
        let failure = self.judge(MemoryRule::Guarded, false).err()?;
        Some(say!("ram-tour", what = failure.what, next = failure.next))
    }
}

fn plain_swap() -> Result<Vec<String>, String> {
    let areas =
        swap_areas(Path::new("/")).map_err(|error| shown_text(&format!("/proc/swaps: {error}")))?;
    let plain = areas
        .iter()
        .filter(|area| area.kind == SwapKind::Plain)
        .map(|area| shown_path(&area.path));
    Ok(plain.collect())
}

/// Writes into the audit log when plain swap is turned on under a mounted drive. Ends when dropped.
pub struct Watch(tokio::task::JoinHandle<()>);

impl Watch {
    const EVERY: Duration = Duration::from_secs(10);

    pub fn begin(warifu: &Warifu, mut known: Exposure) -> Self {
        let (vault, context) = (warifu.vault().clone(), warifu.context().clone());
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Self::EVERY).await;
                let plain = plain_swap();
                if plain == known.plain {
                    continue;
                }
                let now = Exposure { plain, ..known };
                if now.swaps_plain() {
                    let detail = format!("swap was turned on under the drive: {}", now.told());
                    if vault.attach(&context, &detail).await.is_err() {
                        // Told when the catalogue can be written again.
                        known = Exposure {
                            plain: Ok(Vec::new()),
                            ..now
                        };
                        continue;
                    }
                }
                known = now;
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(plain: Result<Vec<String>, String>, locked: bool) -> Exposure {
        let mut hygiene = protect_process();
        hygiene.memory = if locked {
            Memory::Locked
        } else {
            Memory::LimitTooLow { limit: 8 << 20 }
        };
        Exposure { hygiene, plain }
    }

    #[test]
    fn p6_a_machine_that_could_write_ram_to_a_disk_is_refused() {
        let plain = || Ok(vec!["/dev/sda2".to_owned()]);
        for locked in [true, false] {
            let bad = machine(plain(), locked);
            let failure = bad.judge(MemoryRule::Guarded, false).unwrap_err();
            assert_eq!(failure.exit, Exit::NoMount);
            assert!(failure.what.contains("/dev/sda2"), "{failure:?}");
            assert!(
                ["swapoff -a", "cryptsetup", "--allow-swap"]
                    .iter()
                    .all(|word| failure.next.contains(word)),
                "{failure:?}"
            );
            assert_eq!(
                failure
                    .details
                    .iter()
                    .any(|line| line.contains("ulimit -l")),
                !locked
            );
            // The override is for the log, with what it was about.
            let told = bad.judge(MemoryRule::Guarded, true).unwrap().unwrap();
            assert!(told.contains("--allow-swap") && told.contains("/dev/sda2"));
            let told = bad.judge(MemoryRule::Any, false).unwrap().unwrap();
            assert!(told.contains("the vault file"), "{told}");
            assert!(bad.for_the_tour().unwrap().contains("/dev/sda2"));
        }
        // What cannot be told is not taken for good.
        let blind = machine(Err("/proc/swaps: denied".to_owned()), true);
        assert!(blind.judge(MemoryRule::Guarded, false).is_err());
    }

    #[test]
    fn p6_a_machine_without_plain_swap_is_fit_and_a_vault_may_ask_for_the_lock() {
        let fit = machine(Ok(Vec::new()), true);
        for rule in [MemoryRule::Guarded, MemoryRule::Locked, MemoryRule::Any] {
            assert_eq!(fit.judge(rule, false), Ok(None));
        }
        assert_eq!(fit.for_the_tour(), None);
        let unlocked = machine(Ok(Vec::new()), false);
        assert_eq!(unlocked.judge(MemoryRule::Guarded, false), Ok(None));
        let failure = unlocked.judge(MemoryRule::Locked, true).unwrap_err();
        assert!(
            failure.next.contains("LimitMEMLOCK=infinity") && failure.next.contains("ulimit -l"),
            "{failure:?}"
        );
    }
}
