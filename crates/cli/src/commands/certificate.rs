//! Certificates of destruction: what was destroyed, signed so that whoever has the vault's public key can check it, without the vault.

use std::fs;

use serde::Serialize;
use serde_json::Value;
use warifu::{Destroyed, Warifu, is_signed};

use super::retain::{JsonOutcome, JsonVersion, json_outcomes, json_versions};
use super::{Done, with_vault};
use crate::args::{Certificate as Args, CertificateCommand, CertificateKey, CertificateVerify};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{json, note, print, shown_path, shown_text, utc_time};
use crate::words::{say, set_vault};

/// The name of a certificate's format.
const CERTIFICATE: &str = "warifu certificate of destruction, 1";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect()
}

fn public_key(text: &str) -> Option<[u8; 32]> {
    unhex(text.trim())?.try_into().ok()
}

#[derive(Serialize)]
struct Certificate {
    certificate: &'static str,
    vault: String,
    at: String,
    by: String,
    host: String,
    versions: Vec<JsonVersion>,
    names: u64,
    extents: u64,
    servers: Vec<JsonOutcome>,
    complete: bool,
}

/// The text of a certificate. What is signed is its body as compact JSON, its fields in the order of their names.
pub fn certificate(warifu: &Warifu, destroyed: &Destroyed) -> Result<String, Failure> {
    let body = Certificate {
        certificate: CERTIFICATE,
        vault: warifu.file().vault.to_string(),
        at: utc_time(destroyed.at),
        by: warifu.context().actor.clone(),
        host: warifu.context().host.clone(),
        versions: json_versions(&destroyed.versions),
        names: destroyed.names,
        extents: destroyed.extents,
        servers: json_outcomes(destroyed),
        complete: destroyed.is_complete(),
    };
    let failed = |error: serde_json::Error| Failure::from(std::io::Error::from(error));
    // As a value, its fields are in the order of their names: so whoever checks it finds the same text.
    let body = serde_json::to_value(&body).map_err(failed)?;
    let text = serde_json::to_string(&body).map_err(failed)?;
    let key = signer(warifu)?;
    let whole = serde_json::json!({
        "body": body,
        "key": hex(&key.public()),
        "signature": hex(&key.sign(text.as_bytes())),
    });
    let mut text = serde_json::to_string_pretty(&whole).map_err(failed)?;
    text.push('\n');
    Ok(text)
}

/// The key that signs. Asked for before anything is destroyed, so that no certificate fails after it.
pub fn signer(warifu: &Warifu) -> Result<warifu::CertificateKey, Failure> {
    warifu.vault().certificate_key().ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            say!("certificate-no-key"),
            say!("certificate-no-key-next"),
        )
    })
}

pub async fn run(args: Args) -> Done {
    match args.command {
        CertificateCommand::Verify(args) => verify(&args),
        CertificateCommand::Key(args) => key(args).await,
    }
}

async fn key(args: CertificateKey) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        print(&format!("{}\n", hex(&signer(&warifu)?.public())))?;
        Ok(Exit::Ok)
    })
    .await
}

#[derive(Serialize)]
struct JsonVerified {
    /// The signature is that of the text under the key.
    genuine: bool,
    /// The key is the one that was asked for; null where none was.
    key_matches: Option<bool>,
    key: Option<String>,
    complete: Option<bool>,
    versions: Option<usize>,
}

/// What a certificate says, where its signature is that of its text.
struct Genuine<'a> {
    body: &'a Value,
    key: [u8; 32],
}

fn genuine(value: &Value) -> Option<Genuine<'_>> {
    let body = value.get("body")?;
    if body.get("certificate")? != CERTIFICATE {
        return None;
    }
    let key = public_key(value.get("key")?.as_str()?)?;
    let signature = unhex(value.get("signature")?.as_str()?)?;
    let text = serde_json::to_string(body).ok()?;
    is_signed(&key, text.as_bytes(), &signature).then_some(Genuine { body, key })
}

fn verify(args: &CertificateVerify) -> Done {
    let wanted = match &args.key {
        None => None,
        Some(text) => Some(public_key(text).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                say!("certificate-bad-key"),
                say!("certificate-bad-key-next"),
            )
        })?),
    };
    let text = fs::read(&args.file).map_err(|error| Failure::local(&args.file, &error))?;
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    let genuine = genuine(&value);
    let matches = genuine
        .as_ref()
        .and_then(|found| wanted.map(|wanted| wanted == found.key));
    let complete = genuine
        .as_ref()
        .and_then(|found| found.body.get("complete")?.as_bool());
    let versions = genuine
        .as_ref()
        .and_then(|found| Some(found.body.get("versions")?.as_array()?.len()));
    if args.json {
        json(&JsonVerified {
            genuine: genuine.is_some(),
            key_matches: matches,
            key: genuine.as_ref().map(|found| hex(&found.key)),
            complete,
            versions,
        })?;
    }
    let Some(found) = genuine.filter(|_| matches != Some(false)) else {
        if args.json {
            return Ok(Exit::BadInput);
        }
        return Err(Failure::new(
            Exit::BadInput,
            say!("certificate-false", path = shown_path(&args.file)),
            say!("certificate-false-next"),
        ));
    };
    if !args.json {
        let field = |name: &str| {
            let text = found.body.get(name).and_then(Value::as_str);
            shown_text(text.unwrap_or_default())
        };
        let line = say!(
            "certificate-genuine",
            versions = versions.unwrap_or(0),
            time = field("at"),
            person = field("by"),
            host = field("host"),
            vault_id = field("vault")
        );
        print(&format!("{line}\n"))?;
        if complete != Some(true) {
            print(&format!("{}\n", say!("certificate-incomplete")))?;
        }
        if matches.is_none() {
            print(&format!(
                "{}\n",
                say!("certificate-whose", key = hex(&found.key))
            ))?;
            note(&say!("next", next = say!("certificate-whose-next")));
        }
    }
    Ok(if complete == Some(true) && matches == Some(true) {
        Exit::Ok
    } else {
        Exit::Care
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_printed() {
        let key = [0xa5; 32];
        assert_eq!(public_key(&format!(" {}\n", hex(&key))), Some(key));
        for bad in [
            "",
            "a5",
            "zz",
            "a5a",
            &"a5".repeat(31),
            &"a5".repeat(33),
            "é",
        ] {
            assert_eq!(public_key(bad), None, "{bad}");
        }
    }
}
