//! `cp`: files and directories into a service or out of it.
//!
//! Links stay links. What comes out of a service stays below the destination, whatever names and
//! links it has.

mod pack;
mod place;
mod tree;
mod unpack;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cara_api::client::{Error, Look};
use cara_api::paths;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::args::Copy;
use super::failure::Failure;
use super::{Context, tell};
use pack::Packed;
use place::{Place, Remote};

/// Pieces of a tar stream that wait.
const WAITING: usize = 8;

/// Copies, and says what was copied.
pub async fn run(context: &Context, options: Copy) -> Result<(), Failure> {
    let (from, to) = (
        Place::parse(&options.from, context.project.as_deref()),
        Place::parse(&options.to, context.project.as_deref()),
    );
    match (from, to) {
        (Place::Here(from), Place::There(to)) => upload(context, &from, &to).await,
        (Place::There(from), Place::Here(to)) => download(context, &from, &to).await,
        (Place::Here(_), Place::Here(_)) => Err(Failure::usage(
            "neither path is in a service: write one as PROJECT/SERVICE:/path",
        )),
        (Place::There(_), Place::There(_)) => Err(Failure::usage(
            "both paths are in services: copy to this machine first",
        )),
    }
}

fn files_of(remote: &Remote) -> String {
    paths::fill(paths::SERVICE_FILES, &[&remote.project, &remote.service])
}

async fn look(context: &Context, remote: &Remote, path: &str) -> Result<Option<Look>, Failure> {
    let found = context
        .client
        .look(&files_of(remote), &[("path", path)])
        .await;
    found.map_err(|error| failed(remote, &error))
}

fn failed(remote: &Remote, error: &Error) -> Failure {
    Failure::of(&format!("cp {remote}"), error)
}

/// Whether a path in a service is a directory, or a link to one; none when nothing is there.
async fn is_directory(context: &Context, remote: &Remote) -> Result<Option<bool>, Failure> {
    let path = remote.path.as_str();
    let Some(found) = look(context, remote, path).await? else {
        return Ok(None);
    };
    Ok(Some(match found.kind.as_str() {
        "directory" => true,
        "link" => {
            let inner = format!("{}/.", path.trim_end_matches('/'));
            look(context, remote, &inner)
                .await?
                .is_some_and(|look| look.kind == "directory")
        }
        _ => false,
    }))
}

async fn upload(context: &Context, from: &Path, to: &Remote) -> Result<(), Failure> {
    // Also says, in words, when the project or the service is not there.
    super::logs::service_of(context, &to.project, Some(&to.service)).await?;
    let source = std::fs::symlink_metadata(from)
        .map_err(|error| Failure::other(format!("cannot read {}: {error}", from.display())))?;
    let there = is_directory(context, to).await?;
    let (directory, name) = place::destination(from, source.is_dir(), to, there)?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let progress = bar(context, None);
    let (packing, moved) = (from.to_owned(), progress.clone());
    let packed = tokio::task::spawn_blocking(move || pack::pack(&packing, &name, sender, &moved));
    let pieces = stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
        let piece: std::io::Result<Bytes> = receiver.recv().await?;
        Some((piece, receiver))
    });
    let query = [("path", directory.as_str())];
    let sent = context.client.upload(&files_of(to), &query, pieces).await;
    let packed = packed.await;
    progress.finish_and_clear();
    // A file that cannot be read is the reason of whatever the server says.
    let packed = packed.map_err(|error| Failure::other(error.to_string()))?;
    match (sent, packed) {
        (Ok(()), Ok(packed)) => {
            told(&packed, &to.to_string());
            Ok(())
        }
        (_, Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("cp {}: {error}", from.display())))
        }
        (Err(error), _) => Err(failed(to, &error)),
        (Ok(()), Err(error)) => Err(Failure::other(format!("cp {}: {error}", from.display()))),
    }
}

async fn download(context: &Context, from: &Remote, to: &Path) -> Result<(), Failure> {
    super::logs::service_of(context, &from.project, Some(&from.service)).await?;
    let query = [("path", from.path.as_str())];
    let opened = context.client.download(&files_of(from), &query).await;
    let (look, mut pieces) = opened.map_err(|error| failed(from, &error))?;
    let progress = bar(context, (look.kind == "file").then_some(look.size_bytes));
    let (sender, receiver) = mpsc::channel(WAITING);
    let target = to.to_owned();
    let name = from.name().map(PathBuf::from);
    let moved = progress.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        unpack::unpack(receiver, &target, name.as_deref(), &moved)
    });
    let mut cut = None;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            cut = Some(failed(from, &error));
            std::io::Error::other("the stream broke")
        });
        let is_over = piece.is_err();
        // Who unpacks says why it stopped.
        if sender.send(piece).await.is_err() || is_over {
            break;
        }
    }
    drop(sender);
    let unpacked = unpacked
        .await
        .map_err(|error| Failure::other(error.to_string()));
    progress.finish_and_clear();
    if let Some(cut) = cut {
        return Err(cut);
    }
    let done = unpacked?.map_err(|error| Failure::other(format!("cp {from}: {error}")))?;
    told(&done, &to.display().to_string());
    Ok(())
}

/// Progress on a terminal; elsewhere nothing is shown.
fn bar(context: &Context, total: Option<u64>) -> ProgressBar {
    if !context.screen.moves {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total.unwrap_or(0));
    let template = match total {
        Some(_) => "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}",
        None => "{spinner} {bytes}, {bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn told(packed: &Packed, to: &str) {
    for note in &packed.notes {
        tell(format_args!("Warning: {note}"));
    }
    let (files, bytes) = (packed.files, packed.bytes);
    let files = match files {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let size = indicatif::HumanBytes(bytes);
    tell(format_args!("copied {files}, {size}, to {to}"));
}
