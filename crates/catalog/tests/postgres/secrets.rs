//! What the database sees.

use warifu_testkit::servers::SharedPostgres;
use warifu_vault::node::{NodeId, NodeKind};
use warifu_vault::seam::catalog::{Catalog, Durability, XattrMode};

use crate::common::{name, new_node, write};
use crate::new_catalog;

#[tokio::test]
async fn p1_the_database_sees_no_name() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let planted = [
        "confidential-filename",
        "confidential-target",
        "user.confidential-attribute",
        "confidential-value",
        "confidential-detail",
        "juumin-madoguchi",
        "soffice.bin",
    ];
    let write = || write("confidential-detail", Durability::Now);
    let made = catalog
        .create(
            NodeId::ROOT,
            &name("confidential-filename"),
            new_node(NodeKind::File),
            write(),
        )
        .await
        .unwrap();
    let mut link = new_node(NodeKind::Symlink);
    link.target = b"confidential-target".to_vec();
    catalog
        .create(NodeId::ROOT, &name("link"), link, write())
        .await
        .unwrap();
    catalog
        .set_xattr(
            made.node,
            b"user.confidential-attribute",
            b"confidential-value",
            XattrMode::Set,
            write(),
        )
        .await
        .unwrap();
    // Once with lines that have only arrived, and once with all of them chained.
    for _ in 0..2 {
        let dump = server.dump(url.rsplit('=').next().unwrap());
        let text = String::from_utf8_lossy(&dump).into_owned();
        assert!(text.contains("COPY"), "the dump has the rows");
        for word in planted {
            // Bytes are dumped as hexadecimal digits.
            let digits: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!text.contains(word) && !text.contains(&digits), "{word}");
        }
        assert_eq!(catalog.audit(0, 10).await.unwrap().len(), 3);
    }
}
