//! The Word file.

use super::{package, xml};

const W: &str = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";

const CONTENT_TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/><Override PartName="/word/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.styles+xml"/></Types>"#;

const RELS: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>"#;

const DOCUMENT_RELS: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#;

const STYLES: &str = r#"<w:docDefaults><w:rPrDefault><w:rPr><w:rFonts w:ascii="Yu Mincho" w:eastAsia="Yu Mincho" w:hAnsi="Yu Mincho"/><w:sz w:val="21"/><w:lang w:val="en-US" w:eastAsia="ja-JP"/></w:rPr></w:rPrDefault></w:docDefaults><w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style><w:style w:type="paragraph" w:styleId="Title"><w:name w:val="Title"/><w:basedOn w:val="Normal"/><w:pPr><w:jc w:val="center"/><w:spacing w:before="240" w:after="240"/></w:pPr><w:rPr><w:b/><w:sz w:val="32"/></w:rPr></w:style>"#;

/// An invitation to an evacuation drill.
pub fn letter() -> std::io::Result<Vec<u8>> {
    let lines: [(&str, &str); 11] = [
        ("right", "令和8年11月20日"),
        ("left", "割符町にお住まいの皆さま"),
        ("right", "割符町役場 総務課 防災係"),
        ("title", "防災訓練のお知らせ"),
        (
            "left",
            "日ごろより町の防災活動にご協力いただき、ありがとうございます。",
        ),
        (
            "left",
            "下記のとおり防災訓練を行いますので、ご参加ください。",
        ),
        ("center", "記"),
        ("left", "1 日時　令和8年12月6日（日）午前9時から11時まで"),
        ("left", "2 場所　割符町立第一小学校 校庭"),
        ("left", "3 内容　避難誘導、初期消火、応急手当、炊き出し"),
        ("right", "以上"),
    ];
    let mut body = String::new();
    for (place, text) in lines {
        let properties = match place {
            "title" => r#"<w:pStyle w:val="Title"/>"#.to_owned(),
            place => format!(r#"<w:jc w:val="{place}"/>"#),
        };
        body.push_str(&format!(
            r#"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t xml:space="preserve">{}</w:t></w:r></w:p>"#,
            xml(text)
        ));
    }
    let head = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
    let page = r#"<w:sectPr><w:pgSz w:w="11906" w:h="16838"/><w:pgMar w:top="1701" w:right="1701" w:bottom="1701" w:left="1701" w:header="851" w:footer="992" w:gutter="0"/></w:sectPr>"#;
    let document =
        format!("{head}\n<w:document xmlns:w=\"{W}\"><w:body>{body}{page}</w:body></w:document>");
    let styles = format!("{head}\n<w:styles xmlns:w=\"{W}\">{STYLES}</w:styles>");
    package(&[
        ("[Content_Types].xml", CONTENT_TYPES),
        ("_rels/.rels", RELS),
        ("word/document.xml", &document),
        ("word/_rels/document.xml.rels", DOCUMENT_RELS),
        ("word/styles.xml", &styles),
    ])
}
