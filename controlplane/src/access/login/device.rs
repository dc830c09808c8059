//! Logins of devices (RFC 8628): the steps at the issuer. How many there may be and how often each may
//! ask is decided in [`crate::plan::access::pending`].

use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cara_api::Timestamp;
use cara_api::access::login::DeviceLogin;
use cara_api::signing::Secret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Fault, Logins, Said, Signers, refused};
use crate::config::LoginConfig;
use crate::plan::access::mapping::Claims;
use crate::plan::access::pending::{Full, Pending, Turn};

/// Longest time for a login of a device, in seconds.
const LIFE_MAX_S: u64 = 1_800;
/// Pause between polls unless the issuer says so (RFC 8628 section 3.2), in seconds.
const INTERVAL_S: u64 = 5;
/// When a place that nobody asks for is free again, as it is told to who finds none, in seconds.
const PLACE_FREE_S: u64 = 120;
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A login, as its handle carries it.
#[derive(Serialize, Deserialize)]
struct Device {
    id: Uuid,
    code: String,
    interval_s: u64,
    end: i64,
}

/// What a poll found.
pub(crate) enum Polled {
    Pending { retry_after_s: u64 },
    Complete(Claims),
}

#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

impl From<Full> for Fault {
    fn from(full: Full) -> Self {
        match full {
            Full::Address => Self::Crowded(PLACE_FREE_S),
            Full::All => Self::Full,
        }
    }
}

impl Logins {
    fn devices(&self) -> MutexGuard<'_, Pending> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a login of a device at an address.
    pub(crate) async fn begin_device(
        &self,
        config: &LoginConfig,
        secret: &Secret,
        (address, now): (IpAddr, Timestamp),
    ) -> Result<DeviceLogin, Fault> {
        let id = Uuid::now_v7();
        self.devices().begin(id, address, Instant::now())?;
        let begun = self.ask_for_code(config).await;
        let begun = begun.inspect_err(|_| self.devices().forget(id))?;
        let life_s = begun.expires_in.min(LIFE_MAX_S);
        let interval_s = begun.interval.unwrap_or(INTERVAL_S).clamp(1, 60);
        let device = Device {
            id,
            code: begun.device_code,
            interval_s,
            end: now.as_second() + i64::try_from(life_s).unwrap_or(0),
        };
        Ok(DeviceLogin {
            verification_uri: begun.verification_uri,
            verification_uri_complete: begun.verification_uri_complete.unwrap_or_default(),
            user_code: begun.user_code,
            handle: Signers::new(secret).device.seal(&device),
            interval_s,
            expires_in_s: life_s,
        })
    }

    async fn ask_for_code(&self, config: &LoginConfig) -> Result<Begun, Fault> {
        let known = self.known(config).await?;
        let endpoint = &known.endpoints.device_authorization_endpoint;
        let url = endpoint
            .as_ref()
            .ok_or_else(|| Fault::NoDevices(config.issuer.clone()))?;
        let form = [("scope", config.scopes.as_str())];
        let answer = self.ask(config, &known.endpoints, url, &form).await?;
        if answer.status != 200 {
            return Err(refused(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|_| Fault::Silent(config.issuer.clone()))
    }

    /// Asks whether a login of a device is complete. Who asks too early hears how long to wait, and the
    /// issuer is not asked.
    pub(crate) async fn poll_device(
        &self,
        config: &LoginConfig,
        secret: &Secret,
        handle: &str,
        (address, now): (IpAddr, Timestamp),
    ) -> Result<Polled, Fault> {
        let device: Option<Device> = Signers::new(secret).device.open(handle);
        let device = device.filter(|device| now.as_second() < device.end);
        let device = device.ok_or(Fault::Stale)?;
        let pause = Duration::from_secs(device.interval_s);
        let turn = self
            .devices()
            .poll(device.id, address, pause, Instant::now())?;
        match turn {
            Turn::Ask => {}
            Turn::Early(wait) => return Ok(pending(wait)),
            Turn::Over => return Err(Fault::Stale),
        }
        let polled = self.ask_for_token(config, &device, pause).await;
        let is_over = match &polled {
            Ok(Polled::Complete(_)) => true,
            Ok(Polled::Pending { .. }) | Err(Fault::Silent(_)) => false,
            Err(_) => true,
        };
        if is_over {
            self.devices().end(device.id);
        }
        polled
    }

    async fn ask_for_token(
        &self,
        config: &LoginConfig,
        device: &Device,
        pause: Duration,
    ) -> Result<Polled, Fault> {
        let known = self.known(config).await?;
        let form = [("grant_type", GRANT), ("device_code", device.code.as_str())];
        let url = &known.endpoints.token_endpoint;
        let answer = self.ask(config, &known.endpoints, url, &form).await?;
        if answer.status == 200 {
            let claims = self.claims(config, &answer, None).await;
            return claims.map(Polled::Complete);
        }
        let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
        match said.error.as_str() {
            "authorization_pending" => Ok(pending(self.devices().pause(device.id, pause))),
            "slow_down" => {
                let now = Instant::now();
                Ok(pending(self.devices().slow_down(device.id, pause, now)))
            }
            "access_denied" => Err(Fault::Declined),
            "expired_token" => Err(Fault::Stale),
            _ => Err(refused(&answer)),
        }
    }
}

/// In whole seconds, and never too few of them.
fn pending(wait: Duration) -> Polled {
    let retry_after_s = wait.as_millis().div_ceil(1_000).max(1);
    Polled::Pending {
        retry_after_s: u64::try_from(retry_after_s).unwrap_or(u64::MAX),
    }
}
