//! The Excel file.

use super::{COLUMNS, ROWS, package, xml};

const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";

const CONTENT_TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/><Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>"#;

const RELS: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;

const WORKBOOK_RELS: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#;

/// Cell formats: 0 plain, 1 bold on grey, 2 a date.
const STYLES: &str = r#"<numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy\-mm\-dd"/></numFmts><fonts count="2"><font><sz val="11"/><name val="Yu Gothic"/></font><font><b/><sz val="11"/><name val="Yu Gothic"/></font></fonts><fills count="3"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill><fill><patternFill patternType="solid"><fgColor rgb="FFD9D9D9"/><bgColor indexed="64"/></patternFill></fill></fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/><xf numFmtId="0" fontId="1" fillId="2" borderId="0" xfId="0" applyFont="1" applyFill="1"/><xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>"#;

/// A list of the residents' requests, with a sum.
pub fn table() -> std::io::Result<Vec<u8>> {
    let mut rows = String::from(r#"<row r="1">"#);
    for (column, head) in ('A'..).zip(COLUMNS) {
        rows.push_str(&text_cell(column, 1, 1, head));
    }
    rows.push_str("</row>");
    for (row, (date, district, subject, days, state)) in (2..).zip(ROWS) {
        rows.push_str(&format!(
            r#"<row r="{row}"><c r="A{row}" s="2"><v>{}</v></c>"#,
            serial(date)
        ));
        rows.push_str(&text_cell('B', row, 0, district));
        rows.push_str(&text_cell('C', row, 0, subject));
        rows.push_str(&format!(r#"<c r="D{row}"><v>{days}</v></c>"#));
        rows.push_str(&text_cell('E', row, 0, state));
        rows.push_str("</row>");
    }
    let last = ROWS.len() + 1;
    let sum: u32 = ROWS.iter().map(|row| row.3).sum();
    let row = last + 1;
    rows.push_str(&format!(
        r#"<row r="{row}">{}<c r="D{row}" s="1"><f>SUM(D2:D{last})</f><v>{sum}</v></c></row>"#,
        text_cell('A', row, 1, "合計")
    ));
    let head = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
    let columns = r#"<cols><col min="1" max="1" width="12" customWidth="1"/><col min="2" max="2" width="18" customWidth="1"/><col min="3" max="3" width="24" customWidth="1"/></cols>"#;
    let sheet = format!(
        "{head}\n<worksheet xmlns=\"{MAIN}\">{columns}<sheetData>{rows}</sheetData></worksheet>"
    );
    let workbook = format!(
        "{head}\n<workbook xmlns=\"{MAIN}\" xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets><sheet name=\"相談一覧\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>"
    );
    let styles = format!("{head}\n<styleSheet xmlns=\"{MAIN}\">{STYLES}</styleSheet>");
    package(&[
        ("[Content_Types].xml", CONTENT_TYPES),
        ("_rels/.rels", RELS),
        ("xl/workbook.xml", &workbook),
        ("xl/_rels/workbook.xml.rels", WORKBOOK_RELS),
        ("xl/worksheets/sheet1.xml", &sheet),
        ("xl/styles.xml", &styles),
    ])
}

fn text_cell(column: char, row: usize, style: u32, text: &str) -> String {
    format!(
        r#"<c r="{column}{row}" s="{style}" t="inlineStr"><is><t>{}</t></is></c>"#,
        xml(text)
    )
}

/// A date as Excel counts it: days since the end of 1899.
fn serial(date: &str) -> i64 {
    let zero = jiff::civil::date(1899, 12, 30);
    date.parse::<jiff::civil::Date>()
        .ok()
        .and_then(|date| date.since(zero).ok())
        .map_or(0, |span| span.get_days().into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_counted_as_excel_does() {
        assert_eq!(super::serial("2026-11-02"), 46328);
        assert_eq!(super::serial("1900-03-01"), 61);
    }
}
