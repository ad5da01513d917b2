//! The ways in which programs save, step by step as they do it: through each, a document keeps one history, one identity and the
//! right contents, and nothing is left over.

mod rig;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rig::{Rig, context, noise};
use warifu_core::ids::FileId;
use warifu_vault::Access;
use warifu_vault::node::{Name, NodeId};

/// How a program saves: the folder, the document's name, its new contents, and which save it is.
type Save = fn(&Path, &str, &[u8], usize) -> std::io::Result<()>;

/// What a program leaves beside the document on purpose: a backup.
type Backup = fn(&str) -> Option<String>;

fn none(_name: &str) -> Option<String> {
    None
}

fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The lock file that Word and Excel lay beside a document while it is open.
fn owner_file(dir: &Path, name: &str) -> std::path::PathBuf {
    let short: String = name.chars().skip(2).collect();
    dir.join(format!("~${short}"))
}

/// Word, and Excel in the same order with other names: beside it, the old one away, the new one in its place, the old one removed.
fn word(dir: &Path, name: &str, bytes: &[u8], save: usize) -> std::io::Result<()> {
    let owner = owner_file(dir, name);
    put(&owner, &[4; 162])?;
    let (new, old) = (
        dir.join(format!("~WRD{save:04}.tmp")),
        dir.join(format!("~WRL{:04}.tmp", save * 7)),
    );
    put(&new, bytes)?;
    fs::rename(dir.join(name), &old)?;
    fs::rename(&new, dir.join(name))?;
    fs::remove_file(&old)?;
    fs::remove_file(&owner)
}

/// Excel: temporary names of eight digits, and no extension.
fn excel(dir: &Path, name: &str, bytes: &[u8], save: usize) -> std::io::Result<()> {
    let owner = owner_file(dir, name);
    put(&owner, &[5; 165])?;
    let (new, old) = (
        dir.join(format!("{:08X}", 0x5A31_0000 + save)),
        dir.join(format!("{:08X}.tmp", 0x7B00_0000 + save)),
    );
    put(&new, bytes)?;
    fs::rename(dir.join(name), &old)?;
    fs::rename(&new, dir.join(name))?;
    fs::remove_file(&old)?;
    fs::remove_file(&owner)
}

/// PowerPoint: the old one is removed before the new one comes.
fn powerpoint(dir: &Path, name: &str, bytes: &[u8], save: usize) -> std::io::Result<()> {
    let new = dir.join(format!("ppt{save:04X}.tmp"));
    put(&new, bytes)?;
    fs::remove_file(dir.join(name))?;
    fs::rename(&new, dir.join(name))
}

/// LibreOffice: a lock file, then a temporary one beside it and renamed over.
fn libreoffice(dir: &Path, name: &str, bytes: &[u8], save: usize) -> std::io::Result<()> {
    let lock = dir.join(format!(".~lock.{name}#"));
    put(
        &lock,
        b",hanako,desk-7,28.11.2026 10:00,file:///home/hanako;",
    )?;
    let new = dir.join(format!("lu{save}abc.tmp"));
    put(&new, bytes)?;
    fs::rename(&new, dir.join(name))?;
    fs::remove_file(&lock)
}

/// Notepad, and most simple programs: emptied and written.
fn notepad(dir: &Path, name: &str, bytes: &[u8], _save: usize) -> std::io::Result<()> {
    fs::write(dir.join(name), bytes)
}

/// Programs that write over what is there and cut off the rest, in pieces.
fn in_place(dir: &Path, name: &str, bytes: &[u8], _save: usize) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(dir.join(name))?;
    for part in bytes.chunks(10_000) {
        file.write_all(part)?;
    }
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// Acrobat's quick save: what changed is appended. Here that is the end of the new contents.
fn acrobat_append(dir: &Path, name: &str, bytes: &[u8], _save: usize) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(dir.join(name))?;
    let end = file.seek(SeekFrom::End(0))?;
    let more = usize::try_from(end).ok().and_then(|end| bytes.get(end..));
    file.write_all(more.unwrap_or_default())
}

/// Acrobat's full save.
fn acrobat_replace(dir: &Path, name: &str, bytes: &[u8], save: usize) -> std::io::Result<()> {
    let new = dir.join(format!("A9R{save:05}.tmp"));
    put(&new, bytes)?;
    fs::rename(&new, dir.join(name))
}

/// vim: tries out a name, keeps the old one as a backup until the new one is written.
fn vim(dir: &Path, name: &str, bytes: &[u8], _save: usize) -> std::io::Result<()> {
    let swap = dir.join(format!(".{name}.swp"));
    put(&swap, &[0x62; 4096])?;
    let probe = dir.join("4913");
    put(&probe, b"")?;
    fs::remove_file(&probe)?;
    let backup = dir.join(format!("{name}~"));
    fs::rename(dir.join(name), &backup)?;
    put(&dir.join(name), bytes)?;
    fs::remove_file(&backup)?;
    fs::remove_file(&swap)
}

/// Emacs: the old one stays as a backup; a link that leads nowhere is the lock.
fn emacs(dir: &Path, name: &str, bytes: &[u8], _save: usize) -> std::io::Result<()> {
    let lock = dir.join(format!(".#{name}"));
    std::os::unix::fs::symlink("hanako@desk-7.4711:1795000000", &lock)?;
    fs::rename(dir.join(name), dir.join(format!("{name}~")))?;
    put(&dir.join(name), bytes)?;
    fs::remove_file(&lock)
}

fn tilde(name: &str) -> Option<String> {
    Some(format!("{name}~"))
}

/// gedit and what else saves through GLib: a hidden temporary file, renamed over.
fn gedit(dir: &Path, name: &str, bytes: &[u8], save: usize) -> std::io::Result<()> {
    let new = dir.join(format!(".goutputstream-{save:06}"));
    put(&new, bytes)?;
    fs::rename(&new, dir.join(name))
}

/// Word that always keeps a backup.
fn word_with_backup(dir: &Path, name: &str, bytes: &[u8], save: usize) -> std::io::Result<()> {
    let new = dir.join(format!("~WRD{save:04}.tmp"));
    put(&new, bytes)?;
    let backup = dir.join(word_backup(name).unwrap());
    if backup.exists() {
        fs::remove_file(&backup)?;
    }
    fs::rename(dir.join(name), &backup)?;
    fs::rename(&new, dir.join(name))
}

fn word_backup(name: &str) -> Option<String> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    Some(format!("Backup of {stem}.wbk"))
}

/// Windows' ReplaceFile as Samba does it for one who keeps the file open meanwhile.
fn samba(dir: &Path, name: &str, bytes: &[u8], save: usize) -> std::io::Result<()> {
    let reader = fs::File::open(dir.join(name))?;
    let (new, old) = (
        dir.join(format!("new {save}.tmp")),
        dir.join(format!("{name}~RF{save:x}.TMP")),
    );
    put(&new, bytes)?;
    let attribute = b"\0\0\x05\0\x05\0\0\0\x11\0\0\0\x20\0\0\0";
    rustix::fs::setxattr(
        &new,
        "user.DOSATTRIB",
        attribute,
        rustix::fs::XattrFlags::empty(),
    )?;
    fs::rename(dir.join(name), &old)?;
    fs::rename(&new, dir.join(name))?;
    fs::remove_file(&old)?;
    drop(reader);
    Ok(())
}

const PROGRAMS: &[(&str, &str, Save, Backup)] = &[
    ("Word", "報告書.docx", word, none),
    (
        "Word with backup",
        "report.docx",
        word_with_backup,
        word_backup,
    ),
    ("Excel", "予算.xlsx", excel, none),
    ("PowerPoint", "説明.pptx", powerpoint, none),
    ("LibreOffice", "議事録.odt", libreoffice, none),
    ("Notepad", "memo.txt", notepad, none),
    ("in place", "台帳.dat", in_place, none),
    ("Acrobat, quick", "scan.pdf", acrobat_append, none),
    ("Acrobat, full", "form.pdf", acrobat_replace, none),
    ("vim", "notes.md", vim, none),
    ("Emacs", "notes.org", emacs, tilde),
    ("gedit", "list.csv", gedit, none),
    ("Samba", "shared.docx", samba, none),
];

/// The document behind a name, and what its versions hold.
fn history(rig: &Rig, dir: &str, name: &str) -> (FileId, Vec<Vec<u8>>) {
    rig.runtime.block_on(async {
        let component = |text: &str| Name::new(text.as_bytes()).unwrap();
        let dir = rig
            .vault
            .lookup(&context(), NodeId::ROOT, &component(dir))
            .await
            .unwrap();
        let attr = rig
            .vault
            .lookup(&context(), dir.node, &component(name))
            .await
            .unwrap();
        let mut contents = Vec::new();
        for version in rig.vault.history(&context(), attr.node).await.unwrap() {
            let opened = rig
                .vault
                .open_version(&context(), attr.node, version.number)
                .await
                .unwrap();
            let size = usize::try_from(version.size).unwrap();
            contents.push(opened.read(0, size).await.unwrap().expose().to_vec());
            opened.release(&context()).await.unwrap();
        }
        (attr.document, contents)
    })
}

/// Each version begins as the one before it did, so that one who appends can make it, too.
fn contents(save: usize) -> Vec<u8> {
    noise(7, 30_000 + save * 5_000)
}

#[test]
fn a_document_keeps_one_history_through_every_way_of_saving() {
    let Some(mut rig) = Rig::new() else { return };
    const SAVES: usize = 4;
    let mut documents = Vec::new();
    for (number, (_, name, _, _)) in PROGRAMS.iter().enumerate() {
        let dir = rig.at(format!("{number}"));
        fs::create_dir(&dir).unwrap();
        put(&dir.join(name), &contents(0)).unwrap();
        documents.push(history(&rig, &format!("{number}"), name).0);
    }
    for save in 1..=SAVES {
        for (number, (program, name, how, _)) in PROGRAMS.iter().enumerate() {
            let dir = rig.at(format!("{number}"));
            how(&dir, name, &contents(save), save)
                .unwrap_or_else(|error| panic!("{program}, save {save}: {error}"));
            let now = fs::read(dir.join(name)).unwrap();
            assert!(now == contents(save), "{program}, save {save}");
        }
    }
    for remounted in [false, true] {
        if remounted {
            rig.remount();
        }
        for (number, (program, name, _, backup)) in PROGRAMS.iter().enumerate() {
            let dir = format!("{number}");
            let (document, versions) = history(&rig, &dir, name);
            assert_eq!(document, documents[number], "{program}: another document");
            // Who empties a file first may leave empty versions between.
            let kept: Vec<_> = versions.iter().filter(|bytes| !bytes.is_empty()).collect();
            assert_eq!(
                kept.len(),
                SAVES + 1,
                "{program}: {} versions",
                versions.len()
            );
            for (save, bytes) in kept.into_iter().enumerate() {
                assert!(*bytes == contents(save), "{program}: version {save}");
            }
            let backup = backup(name);
            let expected: BTreeSet<_> = backup
                .clone()
                .into_iter()
                .chain([(*name).to_owned()])
                .collect();
            let left: BTreeSet<_> = fs::read_dir(rig.at(&dir))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(left, expected, "{program}");
            if let Some(backup) = backup {
                let before = fs::read(rig.at(&dir).join(&backup)).unwrap();
                assert!(before == contents(SAVES - 1), "{program}: the backup");
            }
        }
    }
}

#[test]
fn what_is_moved_away_and_stays_keeps_its_history() {
    let Some(rig) = Rig::new() else { return };
    fs::create_dir(rig.at("d")).unwrap();
    let at = |name: &str| rig.at("d").join(name);
    fs::write(at("report.docx"), "2025").unwrap();
    let (document, _) = history(&rig, "d", "report.docx");
    fs::rename(at("report.docx"), at("report-2025.docx")).unwrap();
    fs::write(at("report.docx"), "2026").unwrap();
    assert_eq!(history(&rig, "d", "report-2025.docx").0, document);
    assert_ne!(history(&rig, "d", "report.docx").0, document);
    // What has nothing to do with a document: a file that is removed, and another that comes elsewhere.
    fs::write(at("other"), "x").unwrap();
    fs::remove_file(at("report-2025.docx")).unwrap();
    assert_eq!(history(&rig, "d", "other").1, [b"x"]);
    // Now the place that it was moved from is its successor's.
    let (successor, versions) = history(&rig, "d", "report.docx");
    assert_eq!(successor, document);
    assert_eq!(versions, [b"2025", b"2026"]);
}

#[test]
fn a_file_that_is_open_goes_on_with_the_document_it_came_to() {
    let Some(rig) = Rig::new() else { return };
    fs::create_dir(rig.at("d")).unwrap();
    let at = |name: &str| rig.at("d").join(name);
    fs::write(at("report.docx"), "one").unwrap();
    let (document, _) = history(&rig, "d", "report.docx");
    // The program keeps the new file open through the dance and writes on.
    let mut new = fs::File::create(at("new.tmp")).unwrap();
    new.write_all(b"two").unwrap();
    new.sync_all().unwrap();
    fs::rename(at("report.docx"), at("old.tmp")).unwrap();
    fs::rename(at("new.tmp"), at("report.docx")).unwrap();
    fs::remove_file(at("old.tmp")).unwrap();
    new.write_all(b" and three").unwrap();
    drop(new);
    let (now, versions) = history(&rig, "d", "report.docx");
    assert_eq!(now, document);
    assert_eq!(versions, [&b"one"[..], b"two", b"two and three"]);
    assert_eq!(fs::read(at("report.docx")).unwrap(), b"two and three");
    // And one that was not saved before it came.
    let mut new = fs::File::create(at("new.tmp")).unwrap();
    new.write_all(b"four").unwrap();
    fs::rename(at("report.docx"), at("old.tmp")).unwrap();
    fs::rename(at("new.tmp"), at("report.docx")).unwrap();
    fs::remove_file(at("old.tmp")).unwrap();
    drop(new);
    let (now, versions) = history(&rig, "d", "report.docx");
    assert_eq!(now, document);
    assert_eq!(versions.last().unwrap(), b"four");
    let read = rig.runtime.block_on(async {
        let name = Name::new(b"d").unwrap();
        let dir = rig
            .vault
            .lookup(&context(), NodeId::ROOT, &name)
            .await
            .unwrap();
        let name = Name::new(b"report.docx").unwrap();
        let attr = rig.vault.lookup(&context(), dir.node, &name).await.unwrap();
        let handle = rig
            .vault
            .open(&context(), attr.node, Access::READ)
            .await
            .unwrap();
        let read = handle.read(0, 10).await.unwrap().expose().to_vec();
        handle.release(&context()).await.unwrap();
        read
    });
    assert_eq!(read, b"four");
}
