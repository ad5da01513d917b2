//! Files of known host keys, in OpenSSH's format.

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::PublicKey;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use sha1::Sha1;

/// What files of known hosts say of one server.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its keys, and where each stands.
    pub keys: Vec<(PublicKey, String)>,
    /// Keys that must not be accepted from it.
    pub revoked: Vec<(PublicKey, String)>,
}

/// The files that OpenSSH looks into.
pub(super) fn usual_files() -> Vec<PathBuf> {
    let own = std::env::home_dir().map(|home| home.join(".ssh/known_hosts"));
    own.into_iter()
        .chain([PathBuf::from("/etc/ssh/ssh_known_hosts")])
        .collect()
}

impl Known {
    /// Reads what the files say of the server that OpenSSH calls `host`. Lines that cannot be read are passed over, as OpenSSH does.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn read(files: &[PathBuf], host: &str) -> Result<Self, (PathBuf, std::io::Error)> {
        let mut known = Self::default();
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => known.add(&String::from_utf8_lossy(&bytes), file, host),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err((file.clone(), error)),
            }
        }
        Ok(known)
    }

    fn add(&mut self, text: &str, file: &Path, host: &str) {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Ok(entry) = line.parse::<Entry>() else {
                continue;
            };
            if !names(entry.host_patterns(), host) {
                continue;
            }
            let place = format!("{}, line {number}", file.display());
            let key = entry.public_key().clone();
            match entry.marker() {
                None => self.keys.push((key, place)),
                Some(Marker::Revoked) => self.revoked.push((key, place)),
                // Certificates of hosts are not asked for.
                Some(Marker::CertAuthority) => {}
            }
        }
    }
}

fn names(patterns: &HostPatterns, host: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
            .is_ok_and(|mac| mac.chain_update(host).verify_slice(hash).is_ok()),
        HostPatterns::Patterns(patterns) => {
            let mut named = false;
            for pattern in patterns {
                let pattern = pattern.to_ascii_lowercase();
                match pattern.strip_prefix('!') {
                    Some(not) if fits(not.as_bytes(), host.as_bytes()) => return false,
                    Some(_) => {}
                    None => named |= fits(pattern.as_bytes(), host.as_bytes()),
                }
            }
            named
        }
    }
}

/// Whether a pattern with `*` and `?` fits.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), Some((_, after))) => fits(rest, text) || fits(pattern, after),
        (Some((b'*', rest)), None) => fits(rest, text),
        (Some((b'?', rest)), Some((_, after))) => fits(rest, after),
        (Some((one, rest)), Some((other, after))) => one == other && fits(rest, after),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGpoLbRvxBBm6WQ8nLEm1Xwa0vqHgqXxoBk7JxTWdnzN";

    fn known(line: &str, host: &str) -> (usize, usize) {
        let mut known = Known::default();
        known.add(line, Path::new("known_hosts"), host);
        (known.keys.len(), known.revoked.len())
    }

    #[test]
    fn lines_are_for_the_hosts_they_name() {
        for (hosts, host, yes) in [
            ("nas", "nas", true),
            ("nas", "nas2", false),
            ("NAS,10.0.0.1", "nas", true),
            ("a,b", "b", true),
            ("[nas]:2222", "[nas]:2222", true),
            ("nas", "[nas]:2222", false),
            ("*.example.jp", "a.example.jp", true),
            ("*.example.jp,!a.example.jp", "a.example.jp", false),
            ("n?s", "nas", true),
            ("n?s", "naas", false),
            // `ssh-keygen -H` of "nas" with a salt of its own.
            (
                "|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                "nas",
                false,
            ),
        ] {
            let line = format!("{hosts} {KEY}");
            assert_eq!(known(&line, host), (usize::from(yes), 0), "{hosts} {host}");
        }
        assert_eq!(known(&format!("@revoked nas {KEY} stolen"), "nas"), (0, 1));
        assert_eq!(known(&format!("@cert-authority nas {KEY}"), "nas"), (0, 0));
        assert_eq!(
            known(&format!("# nas {KEY}\n\nnas what\nnas\t{KEY} x"), "nas"),
            (1, 0)
        );
    }

    #[test]
    fn hashed_names_are_found() {
        let salt = [7_u8; 20];
        let hash = Hmac::<Sha1>::new_from_slice(&salt)
            .unwrap()
            .chain_update("nas")
            .finalize()
            .into_bytes();
        let patterns = HostPatterns::HashedName {
            salt: salt.to_vec(),
            hash: hash.into(),
        };
        assert!(names(&patterns, "nas") && !names(&patterns, "nas2"));
    }
}
