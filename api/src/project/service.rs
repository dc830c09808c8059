//! A service: one container, as the user describes it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::quantity;

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Unique within the project; the host name under which other services reach this one.
    #[schema(required = true, max_length = 63)]
    pub name: String,
    /// Image reference, such as `postgres:15`.
    #[schema(required = true)]
    pub image: String,
    /// Replaces the image's entrypoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Directory that the process starts in; the image's when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// User, or `user:group`, by name or number; the image's when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Environment variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Small files with a given content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<ConfigFile>,
    /// Secrets that appear as files, which live in memory only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretFile>,
    /// Volumes and where they appear in the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Services that must have come so far before this one starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// When to start the container again after it ended; `Always` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = RestartPolicy)]
    pub restart_policy: String,
    /// Time between asking the container to stop and killing it, such as `30s`; 10 s when left
    /// out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_grace_period: String,
    /// How to find out whether it has started, is ready and is alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// What it needs and what it may use.
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Labels of the container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Linux capabilities beyond the small default set, such as `NET_RAW`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Lets programs gain rights that the container did not start with (setuid, file
    /// capabilities); off unless asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_privilege_escalation: bool,
}

/// Time for a container to stop when the service does not say.
const STOP_GRACE: Duration = Duration::from_secs(10);

impl Service {
    /// When to start the container again.
    pub fn restart(&self) -> RestartPolicy {
        RestartPolicy::parse(&self.restart_policy).unwrap_or_default()
    }

    /// Time between asking the container to stop and killing it.
    pub fn stop_grace(&self) -> Duration {
        quantity::duration(&self.stop_grace_period).unwrap_or(STOP_GRACE)
    }

    /// Names of the secrets that it uses, as files or variables.
    pub fn secrets_used(&self) -> impl Iterator<Item = &str> {
        let files = self.secrets.iter().map(|file| file.secret.as_str());
        let variables = self.env.iter().filter_map(|variable| {
            let key = variable.value_from.as_ref()?.secret_key_ref.as_ref()?;
            Some(key.name.as_str())
        });
        files.chain(variables)
    }
}

/// One environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// The variable's name.
    #[schema(required = true)]
    pub name: String,
    /// Its value; empty when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Takes the value from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ValueFrom {
    /// A key of a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = true)]
    pub secret_key_ref: Option<SecretKey>,
}

/// A key of a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SecretKey {
    /// The secret.
    #[schema(required = true)]
    pub name: String,
    /// The key in it.
    #[schema(required = true)]
    pub key: String,
}

/// A small file with a given content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ConfigFile {
    /// Absolute path in the container.
    #[schema(required = true)]
    pub path: String,
    /// What is in it.
    pub content: String,
}

/// Keys of a secret as files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SecretFile {
    /// The secret.
    #[schema(required = true)]
    pub secret: String,
    /// The key in it. Left out: every key, as a file of its name in the directory `path`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Absolute path in the container.
    #[schema(required = true)]
    pub path: String,
}

/// A volume in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// A name out of `spec.volumes`.
    #[schema(required = true)]
    pub name: String,
    /// Absolute path inside the container.
    #[schema(required = true)]
    pub mount_path: String,
    /// The container may not write to it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A service that another one waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Dependency {
    /// A name out of `spec.services`.
    #[schema(required = true)]
    pub service: String,
    /// How far it must have come; `Ready` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(value_type = DependencyCondition)]
    pub condition: String,
}

impl Dependency {
    /// How far the other service must have come.
    pub fn until(&self) -> DependencyCondition {
        DependencyCondition::parse(&self.condition).unwrap_or_default()
    }
}

/// How far a service must have come before one that depends on it starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum DependencyCondition {
    /// Its container was started.
    Started,
    /// Its checks pass.
    #[default]
    Ready,
    /// Its container ended with exit code 0.
    Completed,
}

impl DependencyCondition {
    /// Reads a condition.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Started" => Some(Self::Started),
            "Ready" => Some(Self::Ready),
            "Completed" => Some(Self::Completed),
            _ => None,
        }
    }
}

/// When to start a container again after it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum RestartPolicy {
    /// Whatever its exit code is.
    #[default]
    Always,
    /// Unless it ended with exit code 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// How to find out how a service is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HealthCheck {
    /// Until it passes once, the others wait; when it fails too often, the container is started
    /// again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    /// While it fails, the service gets no requests. Left out: a connection to each port that an
    /// ingress targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// When it fails too often, the container is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
}

/// One check, repeated: exactly one of `http`, `tcp` and `exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Passes when a GET is answered with a status from 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// Passes when a connection is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// Passes when a command in the container ends with exit code 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecCheck>,
    /// Pause between checks, such as `5s`, which is also what it is when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interval: String,
    /// How long an answer may take; 2 s when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub timeout: String,
    /// Failures in a row that count; 3 when left out (30 for `startup`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub failure_threshold: Option<i64>,
}

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

impl Probe {
    /// Pause between checks.
    pub fn interval(&self) -> Duration {
        quantity::duration(&self.interval).unwrap_or(INTERVAL)
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        quantity::duration(&self.timeout).unwrap_or(TIMEOUT)
    }

    /// Failures in a row that count, or `default`.
    pub fn failure_threshold(&self, default: u32) -> u32 {
        let given = self.failure_threshold;
        given
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0)
            .unwrap_or(default)
    }
}

/// A check by HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HttpCheck {
    /// Begins with `/`, which is also what it is when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The port that the container listens on, 1 to 65535.
    #[schema(required = true, minimum = 1, maximum = 65535)]
    pub port: i64,
}

/// A check by connecting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TcpCheck {
    /// The port that the container listens on, 1 to 65535.
    #[schema(required = true, minimum = 1, maximum = 65535)]
    pub port: i64,
}

/// A check by a command in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ExecCheck {
    /// Program and arguments; no shell.
    #[schema(required = true, min_items = 1)]
    pub command: Vec<String>,
}

/// What a service needs and what it may use. Amounts by name: `cpu` (cores, such as `500m`),
/// `memory` (bytes, such as `256Mi`) and, among the limits, `pids`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Resources {
    /// Reserved on the node; what is not named here but limited is reserved up to its limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
    /// Enforced on the container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
}

impl Resources {
    /// True when nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is reserved of a resource, in thousandths of its unit: the request, else the limit,
    /// else nothing.
    pub fn reserved_milli(&self, resource: &str) -> u128 {
        let text = self
            .requests
            .get(resource)
            .or_else(|| self.limits.get(resource));
        text.and_then(|text| quantity::milli(text)).unwrap_or(0)
    }

    /// The limit of a resource in thousandths of its unit, if there is one.
    pub fn limit_milli(&self, resource: &str) -> Option<u128> {
        quantity::milli(self.limits.get(resource)?)
    }
}
