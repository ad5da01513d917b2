//! Sample documents for the tour: a real Word, Excel and PDF file and two text files, all made here.
//!
//! The Office files hold their parts uncompressed, so that a search for a word in them finds it, and the tour can show
//! that the same search on a server finds nothing.

mod docx;
mod pdf;
mod xlsx;

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A sample document.
pub struct Sample {
    /// Its path in the vault.
    pub path: &'static str,
    /// Its bytes.
    pub contents: Vec<u8>,
}

/// The letter, a Word file.
pub const LETTER: &str = "/見本/防災訓練のお知らせ.docx";
/// The table, an Excel file.
pub const TABLE: &str = "/見本/住民相談一覧.xlsx";
/// The leaflet, a PDF file.
pub const LEAFLET: &str = "/見本/warifu-leaflet.pdf";
/// The first thing to read.
pub const README: &str = "/はじめにお読みください.txt";
/// The table as text.
pub const CSV: &str = "/見本/住民相談一覧.csv";
/// A word that stands, in the clear, in every sample but the PDF file.
pub const WORD: &str = "割符町";

/// All sample documents.
pub fn all() -> std::io::Result<Vec<Sample>> {
    Ok(vec![
        Sample {
            path: README,
            contents: readme().into_bytes(),
        },
        Sample {
            path: LETTER,
            contents: docx::letter()?,
        },
        Sample {
            path: TABLE,
            contents: xlsx::table()?,
        },
        Sample {
            path: CSV,
            contents: csv().into_bytes(),
        },
        Sample {
            path: LEAFLET,
            contents: pdf::leaflet(),
        },
    ])
}

/// The rows of the table: date, district, subject, days taken, state. Nobody in them exists.
const ROWS: [(&str, &str, &str, u32, &str); 6] = [
    ("2026-11-02", "割符町一丁目", "転入の手続き", 1, "済"),
    ("2026-11-04", "割符町二丁目", "保育園の申し込み", 5, "済"),
    ("2026-11-05", "割符町一丁目", "道路の補修", 12, "対応中"),
    ("2026-11-09", "割符町三丁目", "税証明の発行", 1, "済"),
    ("2026-11-11", "割符町二丁目", "空き家の相談", 20, "対応中"),
    ("2026-11-16", "割符町三丁目", "粗大ごみの収集", 3, "済"),
];

/// The heads of the table's columns.
const COLUMNS: [&str; 5] = ["受付日", "地区", "相談内容", "所要日数", "状態"];

fn readme() -> String {
    format!(
        "warifu の見本です（{WORD}は実在しません）。\n\
         このファイルは 3 台の割符サーバに分かれて置かれ、どの 1 台を見ても何もわかりません。\n\
         どの 2 台からでも、こうして読めます。\n\
         \n\
         This is a sample of warifu (the town {WORD} does not exist).\n\
         The file lies as shares on three servers. One of them alone says nothing about it;\n\
         any two of them give it back, as you see.\n"
    )
}

fn csv() -> String {
    // Excel takes a file for UTF-8 by this mark.
    let mut text = String::from("\u{feff}");
    text.push_str(&COLUMNS.join(","));
    text.push_str("\r\n");
    for (date, district, subject, days, state) in ROWS {
        text.push_str(&format!("{date},{district},{subject},{days},{state}\r\n"));
    }
    text
}

/// A package of Office Open XML: its parts in order, the list of content types first.
fn package(parts: &[(&str, &str)]) -> std::io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // One fixed date, so that the documents are the same bytes each time.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    for (name, text) in parts {
        zip.start_file(*name, options)
            .map_err(std::io::Error::from)?;
        zip.write_all(text.as_bytes())?;
    }
    Ok(zip.finish().map_err(std::io::Error::from)?.into_inner())
}

/// Text as it stands in XML.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(haystack: &[u8], needle: &str) -> bool {
        haystack
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    }

    #[test]
    fn samples_are_what_they_say_and_small() {
        for sample in all().unwrap() {
            assert!(
                sample.contents.len() > 300 && sample.contents.len() < 40_000,
                "{}",
                sample.path
            );
            let start: &[u8] = match sample.path.rsplit('.').next().unwrap() {
                "docx" | "xlsx" => b"PK\x03\x04",
                "pdf" => b"%PDF-1.",
                "csv" => "\u{feff}".as_bytes(),
                _ => b"warifu",
            };
            assert!(sample.contents.starts_with(start), "{}", sample.path);
            assert_eq!(
                holds(&sample.contents, WORD),
                sample.path != LEAFLET,
                "{}",
                sample.path
            );
        }
    }

    #[test]
    fn samples_are_the_same_bytes_each_time() {
        for (first, second) in all().unwrap().into_iter().zip(all().unwrap()) {
            assert_eq!(first.contents, second.contents, "{}", first.path);
        }
    }
}
