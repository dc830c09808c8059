//! `cara-server rotate-key`: another master key, while the server is stopped.

use std::time::Duration;

use anyhow::Context;
use cara_controlplane::vault::{self, KeySource};
use clap::{ArgMatches, Command};
use prometheus::Registry;

use super::{Options, SECRET_KEY, SETTINGS, key_of, open_store};
use crate::process;
use crate::settings;

/// Holds the next key, where [`SECRET_KEY`] holds the current one.
const NEW_SECRET_KEY: &str = "CARA_NEW_SECRET_KEY";

/// The subcommand; it takes the settings of the server.
pub fn rotate_command() -> Command {
    let about = "Seal everything that is encrypted with a new key; the server must be stopped";
    settings::command("rotate-key", about, SETTINGS)
}

/// Makes a new key, seals everything with it, and puts it in the place of the old one.
///
/// # Errors
/// The server runs, or the current key does not open what is stored.
pub fn rotate_key(flags: &ArgMatches) -> anyhow::Result<()> {
    let mut options = Options::read(process::read_settings(SETTINGS, flags))?;
    if let Some(key) = key_of(SECRET_KEY)? {
        options.secret_key = KeySource::Given(key);
    }
    let given = key_of(NEW_SECRET_KEY)?;
    let database = options.data_dir.join(cara_store::sqlite::FILE_NAME);
    anyhow::ensure!(
        database.exists(),
        "there is no store in {}: name the server's --data-dir",
        options.data_dir.display()
    );
    let store = open_store(&options.data_dir, &Registry::new(), Duration::ZERO)
        .context("the server must be stopped while its key is rotated")?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let done = runtime.block_on(vault::rotate(&store, &options.secret_key, given))?;
    println!(
        "key {} took the place of {}: {} entries sealed anew",
        done.new, done.old, done.entries
    );
    match &options.secret_key {
        KeySource::File(path) => eprintln!(
            "keep a copy of {} elsewhere; backups that were made before need the old key, kept as {}",
            path.display(),
            path.with_extension(format!("key.{}", done.old)).display()
        ),
        KeySource::Given(_) => eprintln!("start the server with the new key in {SECRET_KEY}"),
    }
    Ok(())
}
