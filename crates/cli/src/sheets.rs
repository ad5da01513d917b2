//! Paper shares for people: on a terminal, and as PDF files of one page, each with its words and a QR code.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pdf_writer::types::{CidFontType, FontFlags, SystemInfo};
use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str};
use qrcodegen::{QrCode, QrCodeEcc};
use warifu::paper::{WordList, as_code, as_words};
use warifu::ways::{CustodianSet, PaperShare};
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::shown_text;
use crate::words::say;

/// A sheet to be handed out.
pub struct Sheet<'a> {
    pub share: &'a PaperShare,
    pub set: CustodianSet,
    /// What people call the way.
    pub way: &'a str,
    /// The name of the vault file.
    pub vault: &'a str,
    pub list: WordList,
}

const COLUMNS: usize = 3;

impl Sheet<'_> {
    /// What stands above the words.
    fn head(&self) -> Vec<String> {
        vec![
            say!(
                "sheet-title",
                number = self.share.index().get(),
                sheets = self.set.sheets
            ),
            say!(
                "sheet-of",
                vault = shown_text(self.vault),
                way = shown_text(self.way),
                set = format!("{:05x}", self.set.set)
            ),
            say!(
                "sheet-needed",
                needed = self.set.needed,
                sheets = self.set.sheets
            ),
            say!("sheet-keep"),
        ]
    }

    fn qr(&self) -> Result<QrCode, Failure> {
        let code = as_code(&self.share.words());
        QrCode::encode_text(&code, QrCodeEcc::Medium).map_err(|error| {
            Failure::new(
                Exit::Failed,
                say!("sheet-none", detail = error.to_string()),
                say!("failed-next"),
            )
        })
    }

    /// For a terminal: the words, and the QR code in half blocks, light on dark.
    pub fn as_text(&self) -> Result<Zeroizing<String>, Failure> {
        // Whatever holds a secret is not to grow.
        let mut text = Zeroizing::new(String::with_capacity(32 << 10));
        for line in self.head() {
            text.push_str(&line);
            text.push('\n');
        }
        text.push('\n');
        let words = as_words(&self.share.words(), self.list);
        for (at, word) in words.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {:>2}. {word}", at + 1);
        }
        text.push('\n');
        let qr = self.qr()?;
        let size = qr.size();
        let dark = |x: i32, y: i32| qr.get_module(x, y);
        for y in (-2..size + 2).step_by(2) {
            text.push_str("  ");
            for x in -2..size + 2 {
                text.push(match (dark(x, y), dark(x, y + 1)) {
                    (true, true) => ' ',
                    (true, false) => '▄',
                    (false, true) => '▀',
                    (false, false) => '█',
                });
            }
            text.push('\n');
        }
        let _ = writeln!(text, "\n  {}\n", *as_code(&self.share.words()));
        Ok(text)
    }

    /// One page of A4.
    pub fn as_pdf(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let ids = [1, 2, 3, 4, 5, 6, 7, 8].map(Ref::new);
        let [
            catalog,
            pages,
            page,
            contents,
            latin,
            kanji,
            cid,
            descriptor,
        ] = ids;
        let mut pdf = Pdf::new();
        pdf.catalog(catalog).pages(pages);
        pdf.pages(pages).kids([page]).count(1);
        let mut leaf = pdf.page(page);
        leaf.parent(pages)
            .media_box(Rect::new(0.0, 0.0, 595.0, 842.0))
            .contents(contents);
        leaf.resources()
            .fonts()
            .pair(Name(b"L"), latin)
            .pair(Name(b"K"), kanji);
        leaf.finish();
        pdf.type1_font(latin).base_font(Name(b"Helvetica"));
        // A font that every reader of PDF has or replaces, so that none has to be put into the file.
        let font = Name(b"HeiseiKakuGo-W5");
        pdf.type0_font(kanji)
            .base_font(font)
            .encoding_predefined(Name(b"UniJIS-UTF16-H"))
            .descendant_font(cid);
        pdf.cid_font(cid)
            .subtype(CidFontType::Type0)
            .base_font(font)
            .system_info(SystemInfo {
                registry: Str(b"Adobe"),
                ordering: Str(b"Japan1"),
                supplement: 2,
            })
            .font_descriptor(descriptor)
            .default_width(1000.0);
        pdf.font_descriptor(descriptor)
            .name(font)
            .flags(FontFlags::SYMBOLIC)
            .bbox(Rect::new(-92.0, -250.0, 1010.0, 922.0))
            .italic_angle(0.0)
            .ascent(752.0)
            .descent(-221.0)
            .cap_height(737.0)
            .stem_v(114.0);
        let mut page = Content::new();
        let (mut y, mut size) = (770.0, 20.0);
        for line in self.head() {
            for part in broken(&line) {
                put(&mut page, &part, 56.0, y, size);
                y -= size + 8.0;
            }
            size = 11.0;
        }
        y -= 16.0;
        let words = as_words(&self.share.words(), self.list);
        let rows = words.len().div_ceil(COLUMNS);
        for (at, word) in words.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a page has few words")]
            let (column, row) = ((at / rows) as f32, (at % rows) as f32);
            let (x, y) = (56.0 + column * 165.0, y - row * 26.0);
            put(&mut page, &format!("{}.", at + 1), x, y, 11.0);
            put(&mut page, word, x + 26.0, y, 14.0);
        }
        let qr = self.qr()?;
        let (left, top, module) = (200.0, 330.0, 5.0);
        for row in 0..qr.size() {
            for column in 0..qr.size() {
                if qr.get_module(column, row) {
                    #[expect(clippy::cast_precision_loss, reason = "a code has few modules")]
                    let (x, y) = (column as f32, row as f32);
                    page.rect(left + x * module, top - y * module, module, module);
                }
            }
        }
        page.fill_nonzero();
        // What is in the code, for readers of PDF that have no Japanese letters.
        put(&mut page, &as_code(&self.share.words()), 56.0, 140.0, 9.0);
        let drawn = page.finish();
        pdf.stream(contents, drawn.as_slice());
        Ok(Zeroizing::new(pdf.finish()))
    }

    /// Writes it as a PDF file that nobody else can read, where none is yet.
    pub fn write_pdf(&self, folder: &Path) -> Result<PathBuf, Failure> {
        let plain = |c: char| if c.is_alphanumeric() { c } else { '-' };
        let name: String = self.way.chars().map(plain).collect();
        let (number, sheets) = (self.share.index().get(), self.set.sheets);
        let path = folder.join(format!("{name}-{number}-of-{sheets}.pdf"));
        let bytes = self.as_pdf()?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .map_err(|error| Failure::local(&path, &error))?;
        Ok(path)
    }
}

/// Lines that fit the page.
fn broken(line: &str) -> Vec<String> {
    const WIDTH: usize = 84;
    let mut lines = vec![String::new()];
    let mut used = 0;
    let breaks_anywhere = !line.is_ascii();
    let parts: Vec<&str> = if breaks_anywhere {
        line.split_inclusive(|_: char| true).collect()
    } else {
        line.split_inclusive(' ').collect()
    };
    for part in parts {
        let width: usize = part.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
        if used + width > WIDTH && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        used += width;
        if let Some(last) = lines.last_mut() {
            last.push_str(part);
        }
    }
    lines
}

fn put(page: &mut Content, text: &str, x: f32, y: f32, size: f32) {
    page.begin_text();
    if text.is_ascii() {
        page.set_font(Name(b"L"), size);
        page.next_line(x, y).show(Str(text.as_bytes()));
    } else {
        let utf16: Zeroizing<Vec<u8>> =
            Zeroizing::new(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
        page.set_font(Name(b"K"), size);
        page.next_line(x, y).show(Str(&utf16));
    }
    page.end_text();
}
