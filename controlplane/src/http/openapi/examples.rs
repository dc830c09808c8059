//! Documents that can be sent as they are, one for each operation that takes one.

use cara_api::paths;

/// The example for a path.
pub(super) fn of(path: &str) -> Option<&'static str> {
    match path {
        paths::PROJECTS | paths::PROJECT => Some(PROJECT),
        paths::SECRETS | paths::SECRET => Some(SECRET),
        paths::NODES | paths::NODE => Some(NODE),
        paths::PROJECT_ROLLBACK => Some(r#"{"generation": 3}"#),
        paths::PROJECT_SHARE => Some(r#"{"ingress": "web", "expiresIn": "24h"}"#),
        paths::NODE_DRAIN => Some(r#"{"deleteEphemeralData": false}"#),
        paths::NODE_HEARTBEAT => Some(r#"{"state": "Ready", "network": {"ip": "10.0.0.7"}}"#),
        _ => None,
    }
}

const PROJECT: &str = r#"{
  "apiVersion": "caravanserai/v1",
  "kind": "Project",
  "metadata": {"name": "shop", "labels": {"team": "red"}},
  "spec": {
    "services": [
      {
        "name": "web",
        "image": "nginx:alpine",
        "env": [{"name": "GREETING", "value": "hello"}]
      }
    ],
    "ingress": [
      {"name": "web", "host": "shop", "target": {"service": "web", "port": 80}}
    ]
  }
}"#;

const SECRET: &str = r#"{
  "apiVersion": "caravanserai/v1",
  "kind": "Secret",
  "metadata": {"name": "database"},
  "data": {"password": "correct horse battery staple"}
}"#;

const NODE: &str = r#"{
  "apiVersion": "caravanserai/v1",
  "kind": "Node",
  "metadata": {"name": "node-1", "labels": {"zone": "a"}},
  "spec": {"hostname": "node-1.example.com"}
}"#;

#[cfg(test)]
mod tests {
    use cara_api::decode::document;
    use cara_api::hostname::Domain;
    use cara_api::{Node, Project, Secret, schema, validate};

    use super::*;

    #[test]
    fn examples_are_accepted_without_a_warning() {
        let project = document::<Project>(PROJECT.as_bytes(), &schema::PROJECT).expect("JSON");
        assert!(
            project.faults.is_empty() && project.warnings.is_empty(),
            "{project:?}"
        );
        let domain = Domain {
            environment: "dev".to_owned(),
            base: "example.com".to_owned(),
        };
        let faults = validate::project(&project.value.spec, "shop", &domain);
        assert!(faults.is_empty(), "{faults:?}");
        let secret = document::<Secret>(SECRET.as_bytes(), &schema::SECRET).expect("JSON");
        assert!(secret.faults.is_empty() && secret.warnings.is_empty());
        assert!(validate::secret(&secret.value).is_empty());
        let node = document::<Node>(NODE.as_bytes(), &schema::NODE).expect("JSON");
        assert!(node.faults.is_empty() && node.warnings.is_empty());
        assert!(validate::node(&node.value).is_empty());
    }
}
