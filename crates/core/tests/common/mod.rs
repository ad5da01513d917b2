//! A dealing with its keys and objects, as the tests need it.
#![allow(dead_code, reason = "each test file uses a part")]

use warifu_core::format::{
    CombineError, Dealing, ExtentKind, JoinError, Joiner, OpenShare, Scheme, Seat, Suite, deal,
};
use warifu_core::ids::{
    ExtentId, FileId, Generation, RoundId, ServerId, Threshold, VaultId, VersionNo,
};
use warifu_core::keys::{SealKey, VaultKey};

/// Bytes without a short period.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// A fresh dealing.
pub fn dealing(k: u8, n: u8, suite: Suite) -> Dealing {
    Dealing {
        vault: VaultId::fresh().unwrap(),
        file: FileId::fresh().unwrap(),
        version: VersionNo(7),
        kind: ExtentKind::Data,
        number: 3,
        extent: ExtentId::fresh().unwrap(),
        generation: Generation(1),
        round: RoundId::NIL,
        threshold: Threshold::new(k, n).unwrap(),
        scheme: Scheme::Shamir,
        suite,
    }
}

/// Why a test's shares were not joined.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// They do not belong together.
    Combine(CombineError),
    /// One is damaged.
    Join(JoinError),
}

/// What was dealt, and the keys to it.
pub struct Deal {
    pub vault_key: VaultKey,
    pub dealing: Dealing,
    pub servers: Vec<ServerId>,
    pub objects: Vec<Vec<u8>>,
}

impl Deal {
    pub fn new(dealing: Dealing, secret: &[u8]) -> Self {
        let servers = dealing
            .threshold
            .indices()
            .map(|_| ServerId::fresh().unwrap())
            .collect();
        Self::with(VaultKey::generate().unwrap(), servers, dealing, secret)
    }

    pub fn with(
        vault_key: VaultKey,
        servers: Vec<ServerId>,
        dealing: Dealing,
        secret: &[u8],
    ) -> Self {
        let objects = vec![Vec::new(); servers.len()];
        let mut dealt = Self {
            vault_key,
            dealing,
            servers,
            objects,
        };
        let keys: Vec<_> = dealt
            .servers
            .iter()
            .map(|server| dealt.key(*server))
            .collect();
        let seats = dealt.seats(&keys);
        let mut objects = std::mem::take(&mut dealt.objects);
        deal(&dealing, &seats, secret, &mut objects).unwrap();
        dealt.objects = objects;
        dealt
    }

    pub fn key(&self, server: ServerId) -> SealKey {
        self.vault_key.seal_key(server)
    }

    pub fn seats<'a>(&self, keys: &'a [SealKey]) -> Vec<Seat<'a>> {
        self.servers
            .iter()
            .zip(keys)
            .map(|(server, key)| Seat {
                server: *server,
                key,
            })
            .collect()
    }

    pub fn open(&self, at: usize) -> OpenShare {
        OpenShare::open(&self.objects[at], &self.key(self.servers[at])).unwrap()
    }

    pub fn join(&self, chosen: &[usize]) -> Result<Vec<u8>, Failure> {
        let shares = chosen.iter().map(|at| self.open(*at)).collect();
        let mut joiner = Joiner::new(shares).map_err(Failure::Combine)?;
        let bodies: Vec<&[u8]> = chosen
            .iter()
            .map(|at| &self.objects[*at][joiner.shares()[0].header().prefix_len()..])
            .collect();
        let mut out = vec![0; usize::try_from(joiner.secret_len()).unwrap()];
        match joiner.join_chunks(0, &bodies, &mut out) {
            Ok(()) => Ok(out),
            Err(error) => {
                assert!(
                    out.iter().all(|byte| *byte == 0),
                    "the result of a failed join is erased"
                );
                Err(Failure::Join(error))
            }
        }
    }
}
