//! `backup`: everything that the server stores, in a file and back.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cara_api::backup::{ARCHIVE_MAX, RestorePlan};
use cara_api::plan::Weight;
use futures_util::TryStreamExt;

use super::args::{Backup, DryRun, Restore};
use super::consent::{self, Intent};
use super::failure::Failure;
use super::{Context, out, tell};

/// The path that stands for standard input and output.
const STDIO: &str = "-";

/// Does what was asked for.
pub async fn run(context: &Context, what: Backup) -> Result<(), Failure> {
    match what {
        Backup::Create { file, overwrite } => create(context, &file, overwrite).await,
        Backup::Restore(options) => restore(context, &options).await,
    }
}

async fn create(context: &Context, file: &str, overwrite: bool) -> Result<(), Failure> {
    if file != STDIO && !overwrite && Path::new(file).exists() {
        let message = format!("backup: {file} exists");
        return Err(Failure::usage(message).with("--overwrite writes over it"));
    }
    if file == STDIO && context.screen.shows {
        return Err(Failure::usage("backup: a backup is no text: name a file"));
    }
    let failed = |error| Failure::of("create backup", &error);
    let stream = context.client.backup().await;
    let mut stream = stream.map_err(failed)?;
    let mut bytes = Vec::new();
    // Whole in memory, so that a file is there whole or not at all.
    while let Some(chunk) = stream.try_next().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
    }
    let written = match file {
        STDIO => std::io::stdout().lock().write_all(&bytes),
        path => keep(Path::new(path), &bytes),
    };
    written.map_err(|error| Failure::other(format!("write {file}: {error}")))?;
    tell(format_args!(
        "backup of {} bytes; what is encrypted in it opens only with the server's key file secret.key: keep that elsewhere",
        bytes.len()
    ));
    Ok(())
}

/// Writes a file for its owner alone, whole or not at all.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.part", std::process::id()));
    let draft = PathBuf::from(draft);
    let write = || {
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}

async fn restore(context: &Context, options: &Restore) -> Result<(), Failure> {
    let file = options.file.as_str();
    let dry_run = options.trial.dry_run;
    if dry_run == DryRun::Client {
        let message = "restore backup: only the server can read a backup";
        return Err(Failure::usage(message).with("--dry-run=server has it checked there"));
    }
    let bytes = read(file).map_err(|error| Failure::other(format!("read {file}: {error}")))?;
    let failed = |error| Failure::of("restore backup", &error);
    let client = &context.client;
    let plan = client.restore(bytes.clone(), &[("dryRun", "All")]).await;
    let plan = plan.map_err(failed)?;
    if dry_run.is_dry() {
        out(&show(&plan))?;
        let created_at = plan.created_at;
        return out(&format!(
            "restored the backup of {created_at}{}\n",
            dry_run.mark()
        ));
    }
    let weight = match plan.is_in_use {
        true => Weight::Destroys,
        false => Weight::Harmless,
    };
    let intent = Intent::new(weight, show(&plan).lines().map(str::to_owned).collect());
    if plan.is_in_use && !options.force {
        consent::show(&[&intent]);
        let message =
            "restore backup: the server is in use, and a restore replaces everything that it holds";
        return Err(Failure::conflict(message).with(
            "restore into a new server; --force replaces what this one holds, by the plan above",
        ));
    }
    let question = "Replace everything that this server holds?";
    consent::obtain(context, options.consent, &[intent], question)?;
    let query: &[(&str, &str)] = if options.force {
        &[("force", "true")]
    } else {
        &[]
    };
    let done = client.restore(bytes, query).await.map_err(failed)?;
    out(&format!("restored the backup of {}\n", done.created_at))?;
    tell(format_args!(
        "restart the server now: it signs logins and links with the key that it found when it started"
    ));
    Ok(())
}

fn read(file: &str) -> std::io::Result<Bytes> {
    let mut source: Box<dyn Read> = match file {
        STDIO => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path)?),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(ARCHIVE_MAX).unwrap_or(u64::MAX);
    source
        .by_ref()
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() > ARCHIVE_MAX {
        let message = format!("it has more than {ARCHIVE_MAX} bytes");
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            message,
        ));
    }
    Ok(bytes.into())
}

/// The plan as lines.
fn show(plan: &RestorePlan) -> String {
    let mut text = format!(
        "backup of {}, revision {}, made by version {}\n",
        plan.created_at, plan.revision, plan.server_version
    );
    for (kind, counts) in &plan.kinds {
        let parts = [
            ("create", counts.create),
            ("replace", counts.replace),
            ("keep", counts.keep),
            ("delete", counts.delete),
        ];
        let parts = parts.iter().filter(|(_, count)| *count > 0);
        let parts: Vec<String> = parts
            .map(|(verb, count)| format!("{verb} {count}"))
            .collect();
        text.push_str(&format!("  {kind}: {}\n", parts.join(", ")));
    }
    for warning in &plan.warnings {
        text.push_str(&format!("Warning: {warning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use cara_api::backup::Counts;

    #[test]
    fn a_plan_names_what_becomes_of_each_kind() {
        let counts = |create, replace, keep, delete| Counts {
            create,
            replace,
            keep,
            delete,
        };
        let plan = RestorePlan {
            created_at: "2026-01-02T03:04:05Z".parse().expect("a time"),
            revision: 812,
            server_version: "0.1.0".into(),
            is_in_use: true,
            kinds: [
                ("nodes".to_owned(), counts(0, 1, 1, 0)),
                ("projects".to_owned(), counts(3, 0, 0, 2)),
            ]
            .into(),
            warnings: vec!["odd".into()],
            restored_at: None,
        };
        assert_eq!(
            show(&plan),
            "backup of 2026-01-02T03:04:05Z, revision 812, made by version 0.1.0\n  nodes: replace 1, keep 1\n  \
             projects: create 3, delete 2\nWarning: odd\n"
        );
    }

    #[test]
    fn a_backup_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("b");
        keep(&path, b"one").expect("written");
        keep(&path, b"two").expect("written again");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        let mode = std::fs::metadata(&path).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("read").count(),
            1
        );
    }
}
