//! Headless LibreOffice on the drive: documents of the corpus are opened, changed, saved in place and turned into PDF; after
//! a remount the change is there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use warifu_tests::{Rig, can_mount, must, said, shared, skipped, tree, wait_until, which};

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
  ElseIf document.supportsService("com.sun.star.presentation.PresentationDocument") Then
    shape = document.createInstance("com.sun.star.drawing.TextShape")
    Dim size As New com.sun.star.awt.Size
    size.Width = 20000
    size.Height = 2000
    shape.setSize(size)
    document.DrawPages.getByIndex(0).add(shape)
    shape.String = "@MARK@"
  Else
    text = document.Text
    text.insertString(text.getStart(), "@MARK@ ", False)
  End If
  document.store()
  document.close(True)
End Sub

Sub Hold(url As String, ending As String)
  Dim hidden(0) As New com.sun.star.beans.PropertyValue
  hidden(0).Name = "Hidden"
  hidden(0).Value = True
  document = StarDesktop.loadComponentFromURL(url, "_blank", 0, hidden())
  Do While Not FileExists(ending)
    Wait 100
  Loop
  document.close(True)
End Sub

Sub Look(url As String, answer As String)
  Dim hidden(0) As New com.sun.star.beans.PropertyValue
  hidden(0).Name = "Hidden"
  hidden(0).Value = True
  document = StarDesktop.loadComponentFromURL(url, "_blank", 0, hidden())
  found = "refused"
  If Not IsNull(document) Then
    found = "editable"
    If document.isReadonly() Then found = "read-only"
    document.close(True)
  End If
  number = FreeFile
  Open answer For Output As #number
  Print #number, found
  Close #number
End Sub
</script:module>
"#;

struct Office {
    profile: PathBuf,
}

impl Office {
    fn new(scratch: &Path, name: &str) -> Self {
        let office = Self {
            profile: scratch.join(name),
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

    fn start(&self, arguments: &[&OsStr]) -> Child {
        Command::new("soffice")
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
            .unwrap()
    }

    /// Runs LibreOffice for at most two minutes.
    fn run(&self, arguments: &[&OsStr]) {
        Self::end(self.start(arguments), arguments);
    }

    fn end(mut child: Child, arguments: &[&OsStr]) {
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

    /// A macro of two words.
    fn call(name: &str, document: &Path, other: &Path) -> String {
        format!(
            "macro:///Standard.Module1.{name}(\"file://{}\",\"{}\")",
            document.display(),
            other.display()
        )
    }

    /// The text that LibreOffice sees in a document: as it prints it.
    fn text(&self, document: &Path, out: &Path) -> String {
        self.pdf(document, out);
        let printed = out
            .join(document.file_name().unwrap())
            .with_extension("pdf");
        must("pdftotext", [printed.as_os_str(), OsStr::new("-")])
    }

    fn pdf(&self, document: &Path, out: &Path) {
        self.run(
            &["--convert-to", "pdf", "--outdir"]
                .map(OsStr::new)
                .into_iter()
                .chain([out.as_os_str(), document.as_os_str()])
                .collect::<Vec<_>>(),
        );
    }
}

/// Documents of the corpus that LibreOffice can open without a password, one of each kind.
fn choose(corpus: &Path) -> Vec<PathBuf> {
    let files: Vec<_> = tree(corpus).into_keys().collect();
    [
        "Word開発標準書式.docx",
        "inventory-table.xlsx",
        ".odt",
        "issue127.ods",
        "cht-point-props.pptx",
    ]
    .into_iter()
    .map(|name| {
        let found = files
            .iter()
            .find(|path| path.as_os_str().as_bytes().ends_with(name.as_bytes()));
        corpus.join(found.unwrap_or_else(|| panic!("the corpus has no {name}")))
    })
    .collect()
}

/// Whether LibreOffice can be had.
fn able() -> bool {
    if !can_mount() {
        return false;
    }
    if which("soffice").is_none() || which("pdftotext").is_none() {
        skipped(
            "no LibreOffice: apt-get install libreoffice-writer-nogui libreoffice-calc-nogui libreoffice-impress-nogui poppler-utils",
        );
        return false;
    }
    true
}

/// The sizes of a document's versions, the oldest first.
fn history(rig: &Rig, name: &str) -> Vec<u64> {
    let output = rig.warifu("history", &[OsStr::new(name), OsStr::new("--json")]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let versions = answer
        .as_array()
        .unwrap_or_else(|| panic!("history: {}", said(&output)));
    let mut numbered: Vec<_> = versions
        .iter()
        .map(|version| {
            (
                version["version"].as_u64().unwrap(),
                version["size"].as_u64().unwrap(),
            )
        })
        .collect();
    numbered.sort_unstable();
    numbered.into_iter().map(|(_, size)| size).collect()
}

#[test]
fn libreoffice_changes_documents_in_place_and_makes_pdf_of_them() {
    let Some(corpus) = shared("corpus") else {
        return;
    };
    if !able() {
        return;
    }
    let rig = Rig::new(2, 3);
    let office = Office::new(rig.scratch(), "profile");
    let out = rig.scratch().join("text");
    fs::create_dir(&out).unwrap();
    rig.mount();
    let mut documents = Vec::new();
    for (number, source) in choose(&corpus).into_iter().enumerate() {
        let extension = source.extension().unwrap().to_str().unwrap();
        let name = format!("document-{number}.{extension}");
        fs::copy(&source, rig.drive.join(&name)).unwrap();
        documents.push((name, fs::metadata(&source).unwrap().len()));
    }
    for (name, size) in &documents {
        let document = rig.drive.join(name);
        let before = fs::read(&document).unwrap();
        office.mark(&document);
        let after = fs::read(&document).unwrap();
        assert!(after != before, "{name} was not saved");
        let versions = history(&rig, name);
        assert!(
            versions.first() == Some(size) && versions.last() == Some(&(after.len() as u64)),
            "{name} of {size} and then {} bytes has the versions {versions:?}",
            after.len()
        );
        office.pdf(&document, &rig.drive);
        let pdf = fs::read(document.with_extension("pdf")).unwrap();
        assert!(pdf.starts_with(b"%PDF-"), "{name} became no PDF");
    }
    rig.unmount_cleanly();
    rig.mount();
    for (name, _) in &documents {
        let text = office.text(&rig.drive.join(name), &out);
        // The lines of a page are broken where the words end.
        assert!(
            MARK.split(' ').all(|word| text.contains(word)),
            "{name}: the change is gone after a remount"
        );
        assert!(
            fs::read(rig.drive.join(name).with_extension("pdf"))
                .unwrap()
                .starts_with(b"%PDF-")
        );
    }
    let names: BTreeSet<_> = tree(&rig.drive).into_keys().collect();
    let expected: BTreeSet<_> = documents
        .iter()
        .flat_map(|(name, _)| [PathBuf::from(name), Path::new(name).with_extension("pdf")])
        .collect();
    assert_eq!(names, expected, "something was left over");
    rig.unmount_cleanly();
}

#[test]
fn a_second_libreoffice_sees_that_the_first_has_the_document_open() {
    let Some(corpus) = shared("corpus") else {
        return;
    };
    if !able() {
        return;
    }
    let rig = Rig::new(2, 3);
    rig.mount();
    let document = rig.drive.join("shared.odt");
    fs::copy(&choose(&corpus)[2], &document).unwrap();
    let (first, second) = (
        Office::new(rig.scratch(), "first"),
        Office::new(rig.scratch(), "second"),
    );
    let (answer, done) = (rig.scratch().join("answer"), rig.scratch().join("done"));
    let look = || {
        let call = Office::call("Look", &document, &answer);
        second.run(&[OsStr::new(&call)]);
        fs::read_to_string(&answer).unwrap().trim().to_owned()
    };
    let call = Office::call("Hold", &document, &done);
    let holds = [OsStr::new(&call)];
    let holding = first.start(&holds);
    let lock = rig.drive.join(".~lock.shared.odt#");
    assert!(
        wait_until(Duration::from_secs(60), || lock.exists()),
        "no lock file"
    );
    let seen = look();
    fs::write(&done, "").unwrap();
    Office::end(holding, &holds);
    assert!(seen == "read-only" || seen == "refused", "{seen}");
    assert!(!lock.exists(), "the lock file is still there");
    assert_eq!(look(), "editable");
    rig.unmount_cleanly();
}
