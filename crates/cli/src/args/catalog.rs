//! The arguments of `warifu catalog`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args, Debug)]
pub struct Catalog {
    #[command(subcommand)]
    pub command: CatalogCommand,
}

#[derive(Subcommand, Debug)]
pub enum CatalogCommand {
    /// Move the catalogue to a PostgreSQL database, or back into a file.
    Move(CatalogMove),
}

#[derive(Args, Debug)]
pub struct CatalogMove {
    /// The vault file.
    pub vault: PathBuf,
    /// Where it goes: postgres://USER@HOST/DATABASE, or sqlite:PATH. The place where it is takes back a move that was cut off.
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// How the database is logged in to: password=file:PATH, password=env:NAME, or ca=PATH (further certificate authorities).
    #[arg(long, value_name = "FIELD=VALUE")]
    pub catalog_option: Vec<String>,
    /// Carry the plan out.
    #[arg(short, long)]
    pub yes: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}
