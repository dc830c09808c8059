//! Dynamic updates (RFC 2136) signed with a shared key (TSIG, RFC 8945): BIND, Knot, PowerDNS and
//! others.
//!
//! The zone is found by asking the server for the SOA record of the name. Everything goes over TCP:
//! an update must not be lost or truncated.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hickory_proto::op::update_message::{append, delete_by_rdata};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, RData, Record, RecordSet, RecordType, TSigner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{DnsProvider, TxtRecord};
use crate::{ChallengeError, Secret};

/// How far the clocks of both sides may differ, in seconds; what BIND's tools use.
const FUDGE_SECONDS: u16 = 300;

/// How long one question or update may take.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);

/// How often servers are asked whether they have the record.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How a shared key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`, what `tsig-keygen` makes.
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

impl Algorithm {
    /// The algorithm of a name as BIND spells it, such as `hmac-sha256`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().trim_end_matches('.') {
            "hmac-sha256" => Some(Self::HmacSha256),
            "hmac-sha384" => Some(Self::HmacSha384),
            "hmac-sha512" => Some(Self::HmacSha512),
            _ => None,
        }
    }
}

/// A key that is known to the DNS server.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name, as in the server's settings.
    pub name: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// The secret in base64, as in the server's settings.
    pub secret_base64: Secret<String>,
}

/// Where and how to update.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HOST:PORT` of the primary server, which takes updates over TCP.
    pub server: String,
    /// `HOST:PORT` of further servers of the zone: a record counts as present when they have it as
    /// well.
    pub secondaries: Vec<String>,
    /// The key that may change TXT records.
    pub key: Key,
    /// Time to live of the records, in seconds.
    pub ttl_seconds: u32,
    /// How long to wait until all servers have a record.
    pub deadline: Duration,
}

/// The provider. `Debug` shows no secret.
pub struct Rfc2136 {
    settings: Settings,
    signer: TSigner,
}

impl std::fmt::Debug for Rfc2136 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rfc2136")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Rfc2136 {
    /// Checks the settings; asks nobody.
    ///
    /// # Errors
    ///
    /// [`ChallengeError::Misconfigured`] names the setting that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, ChallengeError> {
        let key = &settings.key;
        let bad = |what: &str| ChallengeError::Misconfigured(format!("TSIG key: {what}"));
        let secret = BASE64_STANDARD
            .decode(key.secret_base64.expose().trim())
            .map_err(|_| bad("the secret is not base64"))?;
        let name = Name::from_ascii(&key.name).map_err(|_| bad("the name is no DNS name"))?;
        let algorithm = match key.algorithm {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let signer = TSigner::new(secret, algorithm, name, FUDGE_SECONDS)
            .map_err(|_| bad("the algorithm is not supported"))?;
        Ok(Self { settings, signer })
    }

    /// Adds or removes one value.
    async fn update(
        &self,
        record: &TxtRecord,
        make: fn(RecordSet, Name) -> Message,
    ) -> Result<(), ChallengeError> {
        let server = &self.settings.server;
        let name = name_of(record)?;
        let zone = find_zone(server, &name).await?;
        let data = RData::TXT(TXT::new(vec![record.value.clone()]));
        let set = Record::from_rdata(name, self.settings.ttl_seconds, data).into();
        let mut message = make(set, zone.clone());
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|_| ChallengeError::Misconfigured("the clock is before 1970".into()))?;
        let fault = |error| ChallengeError::caused(format!("signing an update for {zone}"), error);
        let verifier = message
            .finalize(&self.signer, now.as_secs())
            .map_err(fault)?;
        let answer = ask(server, &message).await?;
        let response = parse(server, &answer)?;
        // Errors come unsigned when the server does not know the key.
        if response.metadata.response_code != ResponseCode::NoError {
            return Err(refusal(server, &zone, &response));
        }
        if let Some(mut verifier) = verifier {
            verifier.verify(&answer).map_err(|error| {
                ChallengeError::caused(format!("the answer of {server} is not signed"), error)
            })?;
        }
        Ok(())
    }

    /// Waits until a server answers with the value.
    async fn wait_for(&self, server: &str, record: &TxtRecord) -> Result<(), ChallengeError> {
        let name = name_of(record)?;
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        let found = timeout(self.settings.deadline, async {
            loop {
                ticks.tick().await;
                match has_value(server, &name, &record.value).await {
                    Ok(true) => return,
                    Ok(false) => last = None,
                    Err(error) => last = Some(error),
                }
            }
        });
        if found.await.is_ok() {
            return Ok(());
        }
        let limit = self.settings.deadline.as_secs();
        let context = format!(
            "{server} does not answer with {} after {limit} s",
            record.name
        );
        Err(match last {
            Some(error) => ChallengeError::caused(context, error),
            None => ChallengeError::failed(context),
        })
    }
}

#[async_trait]
impl DnsProvider for Rfc2136 {
    async fn present(&self, record: &TxtRecord) -> Result<(), ChallengeError> {
        let add = |set, zone| append(set, zone, false, false);
        self.update(record, add).await?;
        self.wait_for(&self.settings.server, record).await?;
        for server in &self.settings.secondaries {
            self.wait_for(server, record).await?;
        }
        Ok(())
    }

    async fn cleanup(&self, record: &TxtRecord) -> Result<(), ChallengeError> {
        self.update(record, |set, zone| delete_by_rdata(set, zone, false))
            .await
    }
}

fn name_of(record: &TxtRecord) -> Result<Name, ChallengeError> {
    let mut name = Name::from_ascii(&record.name)
        .map_err(|_| ChallengeError::Misconfigured(format!("{} is no DNS name", record.name)))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The zone of a name: the owner of the SOA record in the answer or, for a name that does not
/// exist, beside it.
async fn find_zone(server: &str, name: &Name) -> Result<Name, ChallengeError> {
    let response = parse(
        server,
        &ask(server, &question(name, RecordType::SOA)).await?,
    )?;
    let mut records = response.answers.iter().chain(&response.authorities);
    let soa = records.find(|record| record.record_type() == RecordType::SOA);
    let zone = soa.map(|record| record.name.clone());
    zone.filter(|zone| zone.zone_of(name)).ok_or_else(|| {
        let code = response.metadata.response_code;
        ChallengeError::Misconfigured(format!("{server} serves no zone for {name} ({code})"))
    })
}

/// Whether a server has the value, with authority.
async fn has_value(server: &str, name: &Name, value: &str) -> Result<bool, ChallengeError> {
    let response = parse(
        server,
        &ask(server, &question(name, RecordType::TXT)).await?,
    )?;
    let is_value = |record: &Record| match &record.data {
        RData::TXT(text) => text.txt_data.concat() == value.as_bytes(),
        _ => false,
    };
    Ok(response.metadata.authoritative && response.answers.iter().any(is_value))
}

fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name.clone(), kind));
    message
}

fn refusal(server: &str, zone: &Name, response: &Message) -> ChallengeError {
    let code = response.metadata.response_code;
    let text = format!("{server} refuses to update {zone} ({code})");
    match code {
        ResponseCode::NotAuth | ResponseCode::Refused => ChallengeError::Misconfigured(format!(
            "{text}: check the key's name, secret and algorithm, the clocks, and the zone's \
             update policy"
        )),
        _ => ChallengeError::failed(text),
    }
}

fn parse(server: &str, answer: &[u8]) -> Result<Message, ChallengeError> {
    Message::from_vec(answer)
        .map_err(|error| ChallengeError::caused(format!("unreadable answer of {server}"), error))
}

/// Sends a message over TCP and reads the answer to it.
async fn ask(server: &str, message: &Message) -> Result<Vec<u8>, ChallengeError> {
    let context = || format!("asking the DNS server {server}");
    let bytes = message
        .to_vec()
        .map_err(|error| ChallengeError::caused(context(), error))?;
    match timeout(EXCHANGE_LIMIT, exchange(server, &bytes)).await {
        Ok(Ok(answer)) if answer.get(..2) == bytes.get(..2) => Ok(answer),
        Ok(Ok(_)) => Err(ChallengeError::failed(format!(
            "{}: the answer is to another question",
            context()
        ))),
        Ok(Err(error)) => Err(ChallengeError::caused(context(), error)),
        Err(_) => Err(ChallengeError::failed(format!(
            "{}: no answer in {} s",
            context(),
            EXCHANGE_LIMIT.as_secs()
        ))),
    }
}

/// Messages over TCP follow their length in two bytes (RFC 1035, 4.2.2).
async fn exchange(server: &str, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let too_long = |_| std::io::Error::other("the message is too long");
    let length = u16::try_from(message.len()).map_err(too_long)?;
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
