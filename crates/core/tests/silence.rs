//! Nothing that prints says anything of a secret.

mod common;

use common::{Deal, dealing};
use warifu_core::format::{Joiner, Suite};
use warifu_core::head::Head;
use warifu_core::ids::{Generation, ServerId, Threshold, VaultId};
use warifu_core::keys::VaultKey;
use warifu_core::random::NoRandomness;
use warifu_core::secret::{Secret, SecretBytes};
use warifu_core::vault_object::deal_vault_key;

#[test]
fn debug_is_silent() {
    let key = VaultKey::generate().unwrap();
    let vault = VaultId::fresh().unwrap();
    let servers = [ServerId::fresh().unwrap()];
    let object = deal_vault_key(
        &key,
        &vault,
        Threshold::new(1, 1).unwrap(),
        Generation(1),
        &servers,
    )
    .unwrap()
    .remove(0);
    let head = Head {
        path: vec![b"gibberish".to_vec()],
        author: "gibberish".into(),
        host: "gibberish".into(),
        xattrs: vec![(b"gibberish".to_vec(), b"gibberish".to_vec())],
        ..Head::default()
    };
    let dealt = Deal::new(dealing(1, 1, Suite::best()), b"gibberish");
    let secret = Secret::<9>::filled(|bytes| {
        bytes.copy_from_slice(b"gibberish");
        Ok::<_, NoRandomness>(())
    });
    let secret = secret.unwrap();
    let texts = [
        format!("{secret:?}"),
        format!("{:?}", SecretBytes::from_slice(b"gibberish")),
        format!("{key:?}"),
        format!("{:?}", key.seal_key(servers[0])),
        format!("{:?}", key.catalog_key(vault)),
        format!("{head:?}"),
        format!("{:?}", dealt.open(0)),
        format!("{:?}", Joiner::new(vec![dealt.open(0)]).unwrap()),
    ];
    assert_eq!(
        texts[..5],
        [
            "Secret(..)",
            "SecretBytes(..)",
            "VaultKey(..)",
            "SealKey(..)",
            "CatalogKey(..)"
        ]
    );
    for text in texts {
        assert!(
            !text.contains("gibberish") && !text.contains("103, 105"),
            "{text}"
        );
    }
    // With k = 1 the piece is the key.
    let piece = &object.encode()[48..80];
    let text = format!("{object:?} {object:#?}");
    let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = piece
        .iter()
        .map(u8::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    assert!(
        !text.contains(&hex[..8]) && !text.contains(&decimal[..12]),
        "{text}"
    );
}
