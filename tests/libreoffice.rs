//! Headless LibreOffice on the drive: documents of the corpus are opened, changed, saved in place and turned into PDF; after
//! a remount the change is there.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use warifu_tests::{Rig, can_mount, said, shared, skipped, tree, wait_until, which};

/// What is written into each document. It is looked for in what LibreOffice makes of the document afterwards.
const MARK: &str = "割符の印 WARIFU-MARK-4711";

/// A macro in LibreOffice's own Basic: opens a document, writes the mark into it, saves it in place.
const MACRO: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd">
<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Module1" script:language="StarBasic">
Sub Mark(url As String)
  Dim hidden(0) As New com.sun.star.beans.PropertyValue
  hidden(0).Name = "Hidden"
  hidden(0).Value = True
  document = StarDesktop.loadComponentFromURL(url, "_blank", 0, hidden())
  If document.supportsService("com.sun.star.sheet.SpreadsheetDocument") Then
    document.Sheets.getByIndex(0).getCellByPosition(0, 0).String = "@MARK@"
  Else
    text = document.Text
    text.insertString(text.getStart(), "@MARK@ ", False)
  End If
  document.store()
  document.close(True)
End Sub
</script:module>
"#;

struct Office {
    profile: PathBuf,
}

impl Office {
    fn new(scratch: &Path) -> Self {
        let office = Self {
            profile: scratch.join("profile"),
        };
        // LibreOffice makes its profile itself; the macro takes the place of the empty one in it.
        office.run(&[OsStr::new("--terminate_after_init")]);
        let library = office.profile.join("user/basic/Standard");
        fs::write(library.join("Module1.xba"), MACRO.replace("@MARK@", MARK)).unwrap();
        fs::write(
            library.join("script.xlb"),
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE library:library PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "library.dtd">
<library:library xmlns:library="http://openoffice.org/2000/library" library:name="Standard" library:readonly="false" library:passwordprotected="false">
 <library:element library:name="Module1"/>
</library:library>
"#,
        )
        .unwrap();
        office
    }

    /// Runs LibreOffice for at most two minutes.
    fn run(&self, arguments: &[&OsStr]) {
        let mut child = Command::new("soffice")
            .arg(format!(
                "-env:UserInstallation=file://{}",
                self.profile.display()
            ))
            .args(["--headless", "--norestore", "--nologo"])
            .args(arguments)
            .env("HOME", &self.profile)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ended = false;
        wait_until(Duration::from_secs(120), || {
            ended = child.try_wait().is_ok_and(|status| status.is_some());
            ended
        });
        if !ended {
            let _ = child.kill();
        }
        let output = child.wait_with_output().unwrap();
        assert!(
            ended && output.status.success(),
            "soffice {arguments:?}: {}",
            said(&output)
        );
    }

    fn mark(&self, document: &Path) {
        let call = format!(
            "macro:///Standard.Module1.Mark(\"file://{}\")",
            document.display()
        );
        self.run(&[OsStr::new(&call)]);
    }

    /// The text that LibreOffice sees in a document.
    fn text(&self, document: &Path, out: &Path) -> String {
        let sheet = document
            .extension()
            .is_some_and(|extension| extension == "xlsx");
        // 76 is UTF-8 in LibreOffice's filter options.
        let (filter, extension) = if sheet {
            ("csv:Text - txt - csv (StarCalc):44,34,76", "csv")
        } else {
            ("txt:Text (encoded):UTF8", "txt")
        };
        self.run(
            &["--convert-to", filter, "--outdir"]
                .map(OsStr::new)
                .into_iter()
                .chain([out.as_os_str(), document.as_os_str()])
                .collect::<Vec<_>>(),
        );
        fs::read_to_string(
            out.join(document.file_name().unwrap())
                .with_extension(extension),
        )
        .unwrap()
    }
}

/// Documents of the corpus that LibreOffice can open without a password, by type; plain names, for the macro's URL.
fn choose(corpus: &Path, extension: &str) -> Vec<PathBuf> {
    let wanted = match extension {
        "docx" => ["Word開発標準書式.docx", "共通コンポーネント設計標準.docx"],
        _ => ["Excel開発標準書式.xlsx", "inventory-table.xlsx"],
    };
    let files = tree(corpus).into_keys().map(|path| corpus.join(path));
    let found: Vec<_> = files
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| wanted.iter().any(|w| name == *w))
        })
        .collect();
    assert!(!found.is_empty(), "the corpus has none of {wanted:?}");
    found
}

#[test]
fn libreoffice_changes_documents_in_place_and_makes_pdf_of_them() {
    let Some(corpus) = shared("corpus") else {
        return;
    };
    if !can_mount() {
        return;
    }
    if which("soffice").is_none() {
        skipped("no LibreOffice: apt-get install libreoffice-writer-nogui libreoffice-calc-nogui");
        return;
    }
    let rig = Rig::new(2, 3);
    let office = Office::new(rig.scratch());
    let out = rig.scratch().join("text");
    fs::create_dir(&out).unwrap();
    rig.mount();
    let mut documents = Vec::new();
    for (number, source) in choose(&corpus, "docx")
        .into_iter()
        .chain(choose(&corpus, "xlsx"))
        .enumerate()
    {
        let extension = source.extension().unwrap().to_str().unwrap();
        let name = format!("document-{number}.{extension}");
        fs::copy(&source, rig.drive.join(&name)).unwrap();
        documents.push(name);
    }
    for name in &documents {
        let document = rig.drive.join(name);
        let before = fs::read(&document).unwrap();
        office.mark(&document);
        assert!(
            fs::read(&document).unwrap() != before,
            "{name} was not saved"
        );
        office.run(
            &["--convert-to", "pdf", "--outdir"]
                .map(OsStr::new)
                .into_iter()
                .chain([rig.drive.as_os_str(), document.as_os_str()])
                .collect::<Vec<_>>(),
        );
        let pdf = fs::read(document.with_extension("pdf")).unwrap();
        assert!(pdf.starts_with(b"%PDF-"), "{name} became no PDF");
    }
    rig.unmount_cleanly();
    rig.mount();
    for name in &documents {
        let text = office.text(&rig.drive.join(name), &out);
        assert!(
            text.contains(MARK),
            "{name}: the change is gone after a remount"
        );
        assert!(
            fs::read(rig.drive.join(name).with_extension("pdf"))
                .unwrap()
                .starts_with(b"%PDF-")
        );
    }
    let left: Vec<_> = tree(&rig.drive)
        .into_keys()
        .filter(|path| path.to_string_lossy().starts_with(".~lock"))
        .collect();
    assert!(left.is_empty(), "lock files were left: {left:?}");
    rig.unmount_cleanly();
}
