//! `share`: a link that opens an ingress for a time.

use cara_api::client::Method;
use cara_api::paths;
use cara_api::share::{ShareLink, ShareRequest};

use super::args::Share;
use super::failure::Failure;
use super::{Context, out};

/// Prints the link alone on stdout, so that it can be copied, and when it ends on stderr.
pub async fn run(context: &Context, options: Share) -> Result<(), Failure> {
    let name = &context.project_or(options.project)?;
    let path = paths::fill(paths::PROJECT_SHARE, &[name]);
    let wish = ShareRequest {
        ingress: options.ingress.unwrap_or_default(),
        expires_in: options.life.unwrap_or_default(),
    };
    let made = context
        .client
        .write::<ShareLink, _>(Method::POST, &path, &wish);
    let link = made
        .await
        .map_err(|error| Failure::of(&format!("share project {name:?}"), &error))?
        .object;
    if let Some(text) = context.output.document(&link)? {
        return out(&text);
    }
    out(&format!("{}\n", link.url))?;
    super::tell(format_args!(
        "Whoever has this link comes in until {}.",
        link.expires_at
    ));
    Ok(())
}
