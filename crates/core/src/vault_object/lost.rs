//! A lost server's piece of the vault key, made anew.

use alloc::vec::Vec;

use super::{RecoverError, VaultObject};
use crate::ids::{ServerId, ShareIndex};
use crate::keys::VaultKey;
use crate::secret::Secret;
use crate::shamir::Weights;

/// Makes the object of a lost server anew from those of k others, which stay as they are: the new piece is the value at `index` of the
/// polynomial on which theirs lie, those of the newest generation of which there are k. Where one of them says that the vault has ways in, or `key` is
/// [bound](VaultKey::is_bound), so does the new one, and there is no piece in it. Objects that `key` doesn't vouch for take no part, and neither does one of `index` itself.
///
/// The new object is the lost one again: whoever has the lost one and this one has *one* piece of the key.
///
/// # Errors
/// [`RecoverError::TooFew`] where fewer than k others belong together; [`RecoverError::NoFit`] where their dealing has no piece `index`.
pub fn rebuild_vault_object(
    objects: &[VaultObject],
    key: &VaultKey,
    index: ShareIndex,
    server: ServerId,
) -> Result<VaultObject, RecoverError> {
    let others = || {
        objects
            .iter()
            .filter(|object| object.index != index && object.is_authentic(key))
    };
    let of = |generation| {
        let mut members: Vec<&VaultObject> = Vec::new();
        for object in others().filter(|object| object.generation == generation) {
            if members.iter().all(|known| known.index != object.index) {
                members.push(object);
            }
        }
        members
    };
    let is_enough = |members: &Vec<&VaultObject>| {
        let first = members.first();
        first.is_some_and(|first| members.len() >= usize::from(first.threshold.k()))
    };
    let mut generations: Vec<_> = others().map(|object| object.generation).collect();
    generations.sort_unstable_by(|one, other| other.cmp(one));
    generations.dedup();
    let mut members = generations
        .iter()
        .map(|generation| of(*generation))
        .find(is_enough)
        .or_else(|| generations.first().map(|newest| of(*newest)))
        .unwrap_or_default();
    let Some(first) = members.first().copied() else {
        return Err(RecoverError::TooFew { needed: 1, got: 0 });
    };
    let (needed, got) = (usize::from(first.threshold.k()), members.len());
    let no_fit = RecoverError::NoFit {
        needed,
        got,
        tried: 0,
    };
    if key.is_bound() || others().any(|object| object.bound) {
        if index.get() > first.threshold.n() {
            return Err(no_fit);
        }
        return Ok(VaultObject::without_piece(
            key,
            first.vault,
            first.threshold,
            first.generation,
            server,
            index,
        ));
    }
    if got < needed {
        return Err(RecoverError::TooFew { needed, got });
    }
    if index.get() > first.threshold.n() {
        return Err(no_fit);
    }
    members.truncate(needed);
    let indices: Vec<ShareIndex> = members.iter().map(|object| object.index).collect();
    let pieces: Vec<&[u8]> = members
        .iter()
        .map(|object| object.piece.expose().as_slice())
        .collect();
    let weights = Weights::at(index, &indices).map_err(|_| no_fit.clone())?;
    let piece = Secret::filled(|out| weights.combine_into(&pieces, out)).map_err(|_| no_fit)?;
    let mut object = VaultObject {
        bound: false,
        threshold: first.threshold,
        index,
        generation: first.generation,
        vault: first.vault,
        server,
        piece,
        check: first.check,
        mac: [0; 32],
    };
    object.mac = key.vault_object_mac(object.vault, object.authenticated().as_slice());
    Ok(object)
}
