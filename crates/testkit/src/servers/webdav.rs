//! WebDAV servers: Apache's mod_dav, and nginx with dav-ext.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Certificates;
use super::listening::{Listening, on_a_free_port, program, run};

/// Who may log in.
const USER: &str = "warifu";
const PASSWORD: &str = "p\u{e4}ss: w\u{f6}rd";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Apache,
    Nginx,
}

/// A WebDAV server with a folder `/dav`.
#[derive(Debug)]
pub struct WebdavServer {
    process: Listening,
    kind: Kind,
    program: PathBuf,
    folder: TempDir,
    port: u16,
    certificates: Option<Certificates>,
}

impl WebdavServer {
    /// Apache httpd with mod_dav and mod_dav_fs. `None` where it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn apache(tls: bool) -> Option<Self> {
        Self::start(
            Kind::Apache,
            program("apache2", "Debian's apache2")?,
            tls,
            None,
        )
    }

    /// nginx with its WebDAV modules. `None` where it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn nginx(tls: bool) -> Option<Self> {
        let nginx = program(
            "nginx",
            "Debian's nginx-light and libnginx-mod-http-dav-ext",
        )?;
        Self::start(Kind::Nginx, nginx, tls, None)
    }

    /// Apache whose files lie in `data`, which must be there.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn apache_in(data: &Path) -> Option<Self> {
        let apache = program("apache2", "Debian's apache2")?;
        Self::start(Kind::Apache, apache, false, Some(data))
    }

    /// nginx whose files lie in `data`, which must be there.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn nginx_in(data: &Path) -> Option<Self> {
        let nginx = program(
            "nginx",
            "Debian's nginx-light and libnginx-mod-http-dav-ext",
        )?;
        Self::start(Kind::Nginx, nginx, false, Some(data))
    }

    fn start(kind: Kind, program: PathBuf, tls: bool, data: Option<&Path>) -> Option<Self> {
        let certificates = if tls {
            Some(Certificates::new()?)
        } else {
            None
        };
        let openssl = super::listening::program("openssl", "Debian's openssl")?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let open = |path: &Path| {
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("its owner may");
        };
        open(folder.path());
        fs::create_dir(folder.path().join("run")).expect("a folder can be made");
        open(&folder.path().join("run"));
        match data {
            Some(data) => {
                std::os::unix::fs::symlink(data, folder.path().join("top")).expect("a new name");
                open(data);
            }
            None => fs::create_dir(folder.path().join("top")).expect("a folder can be made"),
        }
        let dav = folder.path().join("top/dav");
        fs::create_dir(&dav).expect("a folder can be made");
        open(&dav);
        let hash = run(&openssl, &["passwd", "-apr1", PASSWORD]);
        fs::write(
            folder.path().join("users"),
            format!("{USER}:{}\n", hash.trim()),
        )
        .expect("a file can be written");
        let password = folder.path().join("password");
        fs::write(&password, format!("{PASSWORD}\n")).expect("a file can be written");
        fs::set_permissions(&password, Permissions::from_mode(0o600)).expect("its owner may");
        let (port, process) = on_a_free_port(|port| {
            spawn(kind, &program, folder.path(), port, certificates.as_ref())
        });
        Some(Self {
            process,
            kind,
            program,
            folder,
            port,
            certificates,
        })
    }

    /// Ends the server and starts it anew in the same place.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.process.kill();
        let certificates = self.certificates.as_ref();
        self.process = spawn(
            self.kind,
            &self.program,
            self.folder.path(),
            self.port,
            certificates,
        )
        .expect("it starts again");
    }

    /// The server's process.
    pub fn process(&mut self) -> &mut Listening {
        &mut self.process
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a folder in `/dav`, on this port or that of a proxy.
    #[must_use]
    pub fn url(&self, folder: &str, port: u16) -> String {
        let scheme = if self.certificates.is_some() {
            "webdavs"
        } else {
            "webdav"
        };
        format!("{scheme}://{USER}@localhost:{port}/dav/{folder}")
    }

    /// What a vault file has to say of this server, beside its URL.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![("password", format!("file:{}", self.password().display()))];
        if let Some(authority) = self.authority() {
            options.push(("ca", authority.display().to_string()));
        }
        options
    }

    /// A file with the password.
    #[must_use]
    pub fn password(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// The certificate of the authority to trust, where the server speaks TLS.
    #[must_use]
    pub fn authority(&self) -> Option<PathBuf> {
        self.certificates.as_ref().map(Certificates::authority)
    }

    /// Where the server keeps what lies in `/dav`.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("top/dav")
    }
}

fn spawn(
    kind: Kind,
    program: &Path,
    folder: &Path,
    port: u16,
    certificates: Option<&Certificates>,
) -> io::Result<Listening> {
    let conf = folder.join("server.conf");
    let text = match kind {
        Kind::Apache => apache(folder, port, certificates),
        Kind::Nginx => nginx(folder, port, certificates),
    };
    fs::write(&conf, text)?;
    let mut command = Command::new(program);
    match kind {
        // One process with many threads, so that a signal meets all of it.
        Kind::Apache => command.arg("-f").arg(&conf).arg("-X"),
        Kind::Nginx => command
            .arg("-c")
            .arg(&conf)
            .arg("-e")
            .arg(folder.join("error.log")),
    };
    Listening::start(&mut command, port, &folder.join("server.log"))
}

fn apache(folder: &Path, port: u16, certificates: Option<&Certificates>) -> String {
    let at = folder.display();
    let mut text = format!(
        "ServerRoot {at}\nServerName localhost\nPidFile {at}/run/pid\nListen 127.0.0.1:{port}\n"
    );
    let modules = [
        "mpm_event",
        "authn_core",
        "authn_file",
        "authz_core",
        "authz_user",
        "auth_basic",
        "dav",
        "dav_fs",
        "ssl",
    ];
    for module in modules {
        text.push_str(&format!(
            "LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n"
        ));
    }
    // Started as root it wants to be somebody else; otherwise it ignores this.
    text.push_str(&format!(
        "User www-data\nGroup www-data\nErrorLog {at}/error.log\nDocumentRoot {at}/top\nDavLockDB {at}/run/locks\n\
         StartServers 1\nServerLimit 1\nThreadsPerChild 64\nMaxRequestWorkers 64\nKeepAliveTimeout 5\nMaxKeepAliveRequests 0\n\
         <Directory {at}/top>\nDav On\nOptions FollowSymLinks\nAuthType Basic\nAuthName warifu\nAuthUserFile {at}/users\nRequire valid-user\n</Directory>\n"
    ));
    if let Some(certificates) = certificates {
        text.push_str(&format!(
            "SSLEngine on\nSSLCertificateFile {}\nSSLCertificateKeyFile {}\n",
            certificates.certificate().display(),
            certificates.key().display()
        ));
    }
    text
}

fn nginx(folder: &Path, port: u16, certificates: Option<&Certificates>) -> String {
    let at = folder.display();
    let tls = match certificates {
        Some(certificates) => format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            certificates.certificate().display(),
            certificates.key().display()
        ),
        None => String::new(),
    };
    let listen = if certificates.is_some() { " ssl" } else { "" };
    format!(
        "load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;\n\
         daemon off; master_process off; pid {at}/run/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
         access_log off; keepalive_timeout 5s; client_max_body_size 0;\n\
         client_body_temp_path {at}/top/.body; proxy_temp_path {at}/run/p; fastcgi_temp_path {at}/run/f;\n\
         uwsgi_temp_path {at}/run/u; scgi_temp_path {at}/run/s;\n\
         server {{ listen 127.0.0.1:{port}{listen}; {tls} root {at}/top; auth_basic warifu; auth_basic_user_file {at}/users;\n\
         location /dav {{ dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS; }} }} }}\n"
    )
}
