//! The program's words, in Japanese and English: one file per language under `words/`, in Fluent's syntax.
//!
//! `say!("id", name = value)` gives a message in the language chosen at the start. A test reads the program's source and
//! checks that every message used exists in both languages, with the same variables.

use std::borrow::Cow;
use std::env;
use std::sync::OnceLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use unic_langid::LanguageIdentifier;

pub use fluent_bundle::FluentValue as Value;

/// A language of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// Japanese.
    Ja,
    /// English.
    En,
}

impl Lang {
    /// The language of a locale's name such as `ja_JP.UTF-8`.
    fn of_locale(locale: &str) -> Self {
        if locale == "ja"
            || locale.starts_with("ja_")
            || locale.starts_with("ja-")
            || locale.starts_with("ja.")
        {
            Self::Ja
        } else {
            Self::En
        }
    }

    /// The language to speak: `--lang` on the command line before anything else, then the locale of messages.
    ///
    /// The command line is looked at as it is, because its errors are to be told in that language too.
    pub fn choose(args: impl IntoIterator<Item = String>) -> Self {
        let mut args = args.into_iter().take_while(|arg| arg != "--");
        while let Some(arg) = args.next() {
            if arg == "--lang" {
                if let Some(value) = args.next() {
                    return Self::of_locale(&value);
                }
            } else if let Some(value) = arg.strip_prefix("--lang=") {
                return Self::of_locale(value);
            }
        }
        ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .filter_map(|name| env::var(name).ok())
            .find(|value| !value.is_empty())
            .map_or(Self::En, |locale| Self::of_locale(&locale))
    }

    /// The language's name for `--lang`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ja => "ja",
            Self::En => "en",
        }
    }
}

const EN: &str = concat!(
    include_str!("words/en.ftl"),
    include_str!("words/folders.en.ftl"),
    include_str!("words/past.en.ftl"),
    include_str!("words/retain.en.ftl"),
    include_str!("words/ways.en.ftl")
);
const JA: &str = concat!(
    include_str!("words/ja.ftl"),
    include_str!("words/folders.ja.ftl"),
    include_str!("words/past.ja.ftl"),
    include_str!("words/retain.ja.ftl"),
    include_str!("words/ways.ja.ftl")
);
const HELP_JA: &str = concat!(
    include_str!("words/help.ja.ftl"),
    include_str!("words/past.help.ja.ftl"),
    include_str!("words/ways.help.ja.ftl"),
    include_str!("words/retain.help.ja.ftl"),
);

/// One language's words.
pub struct Words {
    lang: Lang,
    bundle: FluentBundle<FluentResource>,
}

impl Words {
    /// The words of a language.
    pub fn new(lang: Lang) -> Self {
        let id: LanguageIdentifier = lang.as_str().parse().unwrap_or_default();
        let mut bundle = FluentBundle::new_concurrent(vec![id]);
        // The marks are invisible on some terminals and garbage on others.
        bundle.set_use_isolating(false);
        let sources: &[&str] = match lang {
            Lang::Ja => &[JA, HELP_JA],
            Lang::En => &[EN],
        };
        for source in sources {
            // A part that does not parse or is there twice is missing or ignored; a test finds it.
            let resource =
                FluentResource::try_new((*source).to_owned()).unwrap_or_else(|(part, _)| part);
            let _ = bundle.add_resource(resource);
        }
        Self { lang, bundle }
    }

    /// Which language.
    pub const fn lang(&self) -> Lang {
        self.lang
    }

    /// A message, or an attribute of one (`id.attribute`); `None` where there is none.
    pub fn find(&self, id: &str, args: &[(&'static str, Value<'_>)]) -> Option<String> {
        let mut values = FluentArgs::with_capacity(args.len() + 2);
        values.set("warifu", program());
        values.set("vault", vault_words());
        for (name, value) in args {
            values.set(*name, value.clone());
        }
        let pattern = match id.split_once('.') {
            None => self.bundle.get_message(id)?.value()?,
            Some((id, attribute)) => self
                .bundle
                .get_message(id)?
                .get_attribute(attribute)?
                .value(),
        };
        let mut errors = Vec::new();
        Some(
            self.bundle
                .format_pattern(pattern, Some(&values), &mut errors)
                .into_owned(),
        )
    }
}

static WORDS: OnceLock<Words> = OnceLock::new();
static VAULT: OnceLock<String> = OnceLock::new();

/// Chooses the language, once.
pub fn set_language(lang: Lang) {
    let _ = WORDS.set(Words::new(lang));
}

/// The words of the language chosen.
pub fn words() -> &'static Words {
    WORDS.get_or_init(|| Words::new(Lang::En))
}

/// Remembers how the vault file was named on the command line, so that messages can show commands that run as they stand.
pub fn set_vault(path: &std::path::Path) {
    let _ = VAULT.set(crate::output::shell_word(path.as_os_str()));
}

fn vault_words() -> Cow<'static, str> {
    VAULT
        .get()
        .map_or(Cow::Borrowed("VAULT"), |path| Cow::Borrowed(path.as_str()))
}

/// How this program is called from here: `warifu` where that finds it, its path otherwise.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let Ok(me) = env::current_exe() else {
            return "warifu".into();
        };
        let on_path = env::var_os("PATH").is_some_and(|path| {
            let first = env::split_paths(&path)
                .map(|folder| folder.join("warifu"))
                .find(|file| file.is_file());
            first.and_then(|file| file.canonicalize().ok()) == me.canonicalize().ok()
        });
        if on_path {
            return "warifu".into();
        }
        let here = env::current_dir().ok();
        match here.as_deref().and_then(|here| me.strip_prefix(here).ok()) {
            Some(inside) => {
                crate::output::shell_word(std::path::Path::new(".").join(inside).as_os_str())
            }
            None => crate::output::shell_word(me.as_os_str()),
        }
    })
}

/// Renders a message; the id itself where it is unknown, which a test makes impossible.
pub fn render(id: &str, args: &[(&'static str, Value<'_>)]) -> String {
    words().find(id, args).unwrap_or_else(|| id.to_owned())
}

/// A message in the language chosen: `say!("id", name = value, …)`.
macro_rules! say {
    ($id:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::words::render($id, &[$((stringify!($name), $crate::words::Value::from($value))),*])
    };
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// The messages of a file, with the variables that each uses.
    fn messages(source: &str) -> BTreeMap<String, BTreeSet<String>> {
        FluentResource::try_new(source.to_owned())
            .unwrap_or_else(|(_, errors)| panic!("{errors:?}"));
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut current = String::new();
        for line in source.lines() {
            if line.starts_with('#') {
                continue;
            }
            if let Some((id, _)) = line.split_once(" =")
                && !line.starts_with([' ', '}', '[', '*'])
            {
                current = id.to_owned();
                assert!(
                    found.insert(current.clone(), BTreeSet::new()).is_none(),
                    "{id} is there twice"
                );
            }
            for part in line.split('$').skip(1) {
                let name: String = part
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                found.get_mut(&current).unwrap().insert(name);
            }
        }
        found
    }

    fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }

    #[test]
    fn both_languages_say_the_same() {
        let (english, japanese) = (messages(EN), messages(JA));
        assert!(english.len() > 50, "the messages are found at all");
        assert_eq!(english, japanese);
    }

    #[test]
    fn every_message_used_exists_and_every_one_that_exists_is_used() {
        let known: BTreeSet<String> = messages(EN).into_keys().collect();
        let mut files = Vec::new();
        sources(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
            &mut files,
        );
        let mut text = String::new();
        for file in files {
            text.push_str(&fs::read_to_string(file).unwrap());
        }
        let mut used = BTreeSet::new();
        // Put together, so that this line is not found itself.
        for part in text.split(concat!("say", "!(")).skip(1) {
            let Some(id) = part
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next())
            else {
                continue;
            };
            if id != "id" {
                assert!(known.contains(id), "{id} is used and not there");
                used.insert(id.to_owned());
            }
        }
        for id in &known {
            // Messages of a family are chosen by a computed id, which stands in the source as a literal all the same.
            assert!(
                used.contains(id) || text.contains(&format!("\"{id}\"")),
                "{id} is there and not used"
            );
        }
    }

    #[test]
    fn variables_are_filled_without_marks() {
        let words = Words::new(Lang::En);
        let said = words
            .find("not-found", &[("subject", "/a b".into())])
            .unwrap();
        assert!(
            said.contains("/a b") && !said.contains(['\u{2068}', '\u{2069}', '{']),
            "{said}"
        );
    }

    #[test]
    fn the_locale_chooses_the_language() {
        for (locale, lang) in [
            ("ja_JP.UTF-8", Lang::Ja),
            ("ja", Lang::Ja),
            ("C", Lang::En),
            ("jav_ID", Lang::En),
            ("de_DE", Lang::En),
        ] {
            assert_eq!(Lang::of_locale(locale), lang, "{locale}");
        }
        assert_eq!(
            Lang::choose(["x", "--lang", "ja"].map(String::from)),
            Lang::Ja
        );
        assert_eq!(Lang::choose(["x", "--lang=en"].map(String::from)), Lang::En);
    }
}
