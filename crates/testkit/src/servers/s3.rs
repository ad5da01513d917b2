//! S3 servers: `s3s-fs`, which keeps objects in a folder, and Garage, a distributed one, here as a cluster of one.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::listening::{Listening, of_cargo, on_a_free_port, program, run};
use super::process::{free_port, installed};

const BUCKET: &str = "warifu-test";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    S3s,
    Garage { rpc: u16 },
}

/// An S3 server with one bucket.
#[derive(Debug)]
pub struct S3Server {
    process: Listening,
    kind: Kind,
    program: PathBuf,
    folder: TempDir,
    data: PathBuf,
    port: u16,
}

impl S3Server {
    /// `s3s-fs`. `None` where it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn s3s() -> Option<Self> {
        Self::s3s_at(None)
    }

    /// `s3s-fs` that keeps its objects in `data`, which must be there and empty.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn s3s_in(data: &Path) -> Option<Self> {
        Self::s3s_at(Some(data))
    }

    fn s3s_at(data: Option<&Path>) -> Option<Self> {
        let program = program("s3s-fs", "cargo install s3s-fs --features binary")?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let data = data.map_or_else(|| folder.path().join("data"), Into::into);
        fs::create_dir_all(data.join(BUCKET)).expect("a folder can be made");
        secrets(folder.path(), "warifu", "hunter2 hunter2");
        let kind = Kind::S3s;
        let (port, process) =
            on_a_free_port(|port| spawn(kind, &program, folder.path(), &data, port));
        Some(Self {
            process,
            kind,
            program,
            folder,
            data,
            port,
        })
    }

    /// Garage. `None` where it is not installed: it takes long to build, so only some machines have it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn garage() -> Option<Self> {
        // No machine must have it.
        let Some(program) = installed("garage").or_else(|| of_cargo("garage")) else {
            eprintln!("SKIPPED: garage is not installed (cargo install garage)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let data = folder.path().join("data");
        let (port, (kind, process)) = on_a_free_port(|port| {
            let kind = Kind::Garage { rpc: free_port() };
            spawn(kind, &program, folder.path(), &data, port).map(|process| (kind, process))
        });
        let conf = folder.path().join("garage.toml").display().to_string();
        let cli = |args: &[&str]| {
            let mut all = vec!["-c", conf.as_str()];
            all.extend(args);
            run(&program, &all)
        };
        let id = cli(&["node", "id", "-q"]);
        let id = id.trim().split('@').next().unwrap_or_default().to_owned();
        cli(&["layout", "assign", "-z", "here", "-c", "1G", &id]);
        cli(&["layout", "apply", "--version", "1"]);
        cli(&["bucket", "create", BUCKET]);
        let (access, secret) = (format!("GK{}", "31".repeat(12)), "a7".repeat(32));
        cli(&["key", "import", "--yes", "-n", "test", &access, &secret]);
        cli(&[
            "bucket", "allow", "--read", "--write", BUCKET, "--key", &access,
        ]);
        secrets(folder.path(), &access, &secret);
        Some(Self {
            process,
            kind,
            program,
            folder,
            data,
            port,
        })
    }

    /// Ends the server and starts it anew in the same place.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(
            self.kind,
            &self.program,
            self.folder.path(),
            &self.data,
            self.port,
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

    /// The URL of a place in the bucket, on this port or that of a proxy.
    #[must_use]
    pub fn url(&self, prefix: &str, port: u16) -> String {
        self.url_of(BUCKET, prefix, port)
    }

    /// The URL of a place in a bucket that may not be there.
    #[must_use]
    pub fn url_of(&self, bucket: &str, prefix: &str, port: u16) -> String {
        let region = match self.kind {
            Kind::S3s => "us-east-1",
            Kind::Garage { .. } => "garage",
        };
        format!("s3://{bucket}/{prefix}?endpoint=http://127.0.0.1:{port}&region={region}")
    }

    /// What a vault file has to say of this server, beside its URL.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let file = |path: PathBuf| format!("file:{}", path.display());
        vec![
            ("access_key", file(self.access_key())),
            ("secret_key", file(self.secret_key())),
        ]
    }

    /// A file with the name of the key.
    #[must_use]
    pub fn access_key(&self) -> PathBuf {
        self.folder.path().join("access")
    }

    /// A file with the key.
    #[must_use]
    pub fn secret_key(&self) -> PathBuf {
        self.folder.path().join("secret")
    }
}

fn secrets(folder: &Path, access: &str, secret: &str) {
    for (name, text) in [("access", access), ("secret", secret)] {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its owner may");
    }
}

fn spawn(
    kind: Kind,
    program: &Path,
    folder: &Path,
    data: &Path,
    port: u16,
) -> io::Result<Listening> {
    let mut command = Command::new(program);
    match kind {
        Kind::S3s => {
            let read = |name: &str| fs::read_to_string(folder.join(name));
            command
                .args(["--host", "127.0.0.1", "--port", &port.to_string()])
                .args(["--access-key", &read("access")?])
                .args(["--secret-key", &read("secret")?])
                .arg(data)
        }
        Kind::Garage { rpc } => {
            let conf = folder.join("garage.toml");
            let at = folder.display();
            fs::write(
                &conf,
                format!(
                    "metadata_dir = \"{at}/meta\"\ndata_dir = \"{}\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
                     rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{}\"\n\
                     [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{port}\"\nroot_domain = \".s3.localhost\"\n",
                    data.display(),
                    "5e".repeat(32)
                ),
            )?;
            fs::set_permissions(&conf, Permissions::from_mode(0o600))?;
            command
                .env("RUST_LOG", "garage=warn")
                .arg("-c")
                .arg(&conf)
                .arg("server")
        }
    };
    Listening::start(&mut command, port, &folder.join("server.log"))
}
