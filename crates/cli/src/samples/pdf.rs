//! The PDF file.
//!
//! Its Japanese font is one of those that PDF names without embedding them; viewers bring a font of their own for it.

use std::fmt::Write as _;

/// A leaflet of one page.
pub fn leaflet() -> Vec<u8> {
    let japanese = [
        "割符（わりふ）",
        "一つの印を二つに割り、合わせて初めて意味をなす札。",
        "ファイルも同じように割って、別々のサーバに預けます。",
    ];
    let english = [
        "warifu: a split tally, two halves that mean something only when they meet.",
        "A file becomes n shares on n servers. Any k of them give it back;",
        "fewer than k of them say nothing about it.",
    ];
    let mut page = String::from("BT\n/J 24 Tf\n1 0 0 1 72 740 Tm\n");
    for (position, line) in japanese.iter().enumerate() {
        let _ = writeln!(page, "<{}> Tj", utf16_hex(line));
        let _ = writeln!(
            page,
            "/J 12 Tf\n0 {} Td",
            if position == 0 { -44 } else { -22 }
        );
    }
    page.push_str("/L 12 Tf\n0 -16 Td\n");
    for line in english {
        let _ = writeln!(page, "({line}) Tj\n0 -18 Td");
    }
    page.push_str("ET\n2 w\n72 500 m 523 500 l S\n");
    // Two halves of a tally.
    page.push_str("0.55 0.1 0.1 RG\n120 380 m 290 380 l 290 400 l 280 420 l 290 440 l 290 460 l 120 460 l h S\n");
    page.push_str("475 380 m 305 380 l 305 400 l 295 420 l 305 440 l 305 460 l 475 460 l h S\n");
    let to_unicode = to_unicode();
    let objects: [String; 9] = [
        "<< /Type /Catalog /Pages 2 0 R /Lang (ja) >>".into(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".into(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /J 5 0 R /L 8 0 R >> >> >>".into(),
        format!("<< /Length {} >>\nstream\n{page}endstream", page.len()),
        "<< /Type /Font /Subtype /Type0 /BaseFont /HeiseiKakuGo-W5-UniJIS-UTF16-H /Encoding /UniJIS-UTF16-H /DescendantFonts [6 0 R] /ToUnicode 9 0 R >>".into(),
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /HeiseiKakuGo-W5 /CIDSystemInfo << /Registry (Adobe) /Ordering (Japan1) /Supplement 5 >> /DW 1000 /FontDescriptor 7 0 R >>".into(),
        "<< /Type /FontDescriptor /FontName /HeiseiKakuGo-W5 /Flags 4 /FontBBox [-92 -250 1010 922] /ItalicAngle 0 /Ascent 752 /Descent -221 /CapHeight 737 /StemV 114 >>".into(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".into(),
        format!("<< /Length {} >>\nstream\n{to_unicode}endstream", to_unicode.len()),
    ];
    let mut file = b"%PDF-1.6\n%\xe5\x89\xb2\xe7\xac\xa6\n".to_vec();
    let mut places = Vec::new();
    for (position, object) in objects.iter().enumerate() {
        places.push(file.len());
        file.extend_from_slice(format!("{} 0 obj\n{object}\nendobj\n", position + 1).as_bytes());
    }
    let table = file.len();
    let mut end = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for place in places {
        let _ = writeln!(end, "{place:010} 00000 n ");
    }
    let _ = write!(
        end,
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        objects.len() + 1
    );
    file.extend_from_slice(end.as_bytes());
    file
}

fn utf16_hex(text: &str) -> String {
    text.encode_utf16().fold(String::new(), |mut hex, unit| {
        let _ = write!(hex, "{unit:04X}");
        hex
    })
}

/// Says that the codes are Unicode already, for viewers that look for text.
fn to_unicode() -> String {
    let mut ranges = String::new();
    // A range must not cross a multiple of 256, and a block has at most 100 of them.
    for block in (0u32..256).collect::<Vec<_>>().chunks(100) {
        let _ = writeln!(ranges, "{} beginbfrange", block.len());
        for high in block {
            let _ = writeln!(ranges, "<{high:02X}00> <{high:02X}FF> <{high:02X}00>");
        }
        ranges.push_str("endbfrange\n");
    }
    format!(
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n\
         /CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n\
         /CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n\
         1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n{ranges}\
         endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
    )
}
