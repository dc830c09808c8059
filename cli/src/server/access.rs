//! Settings about tokens for the API and logins.

use std::path::Path;
use std::time::Duration;

use cara_api::access::life;
use cara_controlplane::{AccessConfig, BOOTSTRAP_FILE};

use crate::settings::{Reader, Setting};

pub(super) const MAX_LIFE: Setting = Setting {
    key: "token-max-life",
    value: "DURATION",
    default: "366d",
    help: "How long tokens for the API may be good at most, such as 90d or 12h",
};

pub(super) fn read(reader: &mut Reader, data_dir: &Path) -> AccessConfig {
    let longest = reader.with(MAX_LIFE.key, |text| {
        life(text).ok_or("must be a duration such as 90d or 12h")
    });
    AccessConfig {
        longest_life: longest.unwrap_or(Duration::from_secs(1)),
        bootstrap_file: Some(data_dir.join(BOOTSTRAP_FILE)),
    }
}
