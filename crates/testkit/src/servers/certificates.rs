//! An authority of the test's own, and a certificate for `localhost` from it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::listening::{program, run};

/// The files of an authority and of a server that it vouches for.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes new ones. `None` without OpenSSL.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn new() -> Option<Self> {
        let openssl = program("openssl", "Debian's openssl")?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        fs::write(
            at("ca.conf"),
            "[req]\ndistinguished_name=name\nprompt=no\nx509_extensions=ca\n[name]\nCN=warifu test authority\n\
             [ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n",
        )
        .expect("a file can be written");
        fs::write(
            at("server.conf"),
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
        )
        .expect("a file can be written");
        let mut args = vec!["req", "-x509", "-days", "3650", "-config"];
        let (conf, ca_key, ca) = (at("ca.conf"), at("ca.key"), at("ca.pem"));
        args.extend([conf.as_str(), "-keyout", &ca_key, "-out", &ca]);
        args.extend(key);
        run(&openssl, &args);
        let (server_key, request) = (at("server.key"), at("server.csr"));
        let mut args = vec!["req", "-config", &conf, "-subj", "/CN=localhost"];
        args.extend(["-keyout", &server_key, "-out", &request]);
        args.extend(key);
        run(&openssl, &args);
        let (extensions, certificate) = (at("server.conf"), at("server.pem"));
        let mut args = vec!["x509", "-req", "-days", "3650", "-in", &request, "-CA", &ca];
        args.extend([
            "-CAkey",
            &ca_key,
            "-set_serial",
            "1",
            "-extfile",
            &extensions,
        ]);
        args.extend(["-out", &certificate]);
        run(&openssl, &args);
        Some(Self { folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's certificate, which a client is to trust.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.file("server.pem")
    }

    /// The server's key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.file("server.key")
    }

    /// The folder with all of them.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
