//! The text of a first document. Pure.

/// What to try when nothing else is said.
pub const IMAGE: &str = "nginx:alpine";
/// Where that image listens.
pub const PORT: &str = "80";
/// Longest name of a project.
const NAME_MAX: usize = 63;

/// What the document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Name of the project.
    pub name: String,
    /// Image of its service.
    pub image: String,
    /// Port of the service.
    pub port: u16,
    /// Host of its ingress.
    pub host: String,
}

/// A name that a project can have, near to a text.
pub fn name_of(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = lower.chars().map(fits).take(NAME_MAX).collect();
    let name = name.trim_matches('-');
    match name.is_empty() {
        true => "app".to_owned(),
        false => name.to_owned(),
    }
}

/// A text as YAML writes it, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./:@".contains(c));
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let ends = !text.ends_with(':');
    // Words that YAML takes for something else than text.
    let is_word = matches!(
        text,
        "true" | "false" | "null" | "yes" | "no" | "on" | "off"
    );
    match plain && starts && ends && !is_word {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

/// The document; `schema` is the path of its schema.
pub fn render(choice: &Choice, schema: &str) -> String {
    let (name, image, host) = (
        quoted(&choice.name),
        quoted(&choice.image),
        quoted(&choice.host),
    );
    let port = choice.port;
    format!(
        "# yaml-language-server: $schema={schema}
#
# A project: services that run together, and where they are reached.
# Every field with what it means: docs/project.md, or your editor by the line above.
apiVersion: caravanserai/v1
kind: Project
metadata:
  name: {name}
  # Words to select by, as in: caractrl get projects -l team=shop
  # labels:
  #   team: shop
spec:
  services:
    - name: web
      image: {image}
      # Settings as environment variables; values of secrets are named, not written here:
      # caractrl create secret database --from-file password=FILE
      # env:
      #   - name: GREETING
      #     value: hello
      #   - name: DATABASE_PASSWORD
      #     valueFrom: {{secretKeyRef: {{name: database, key: password}}}}
      # It gets requests once this answers; without it, once the port accepts connections.
      # healthCheck:
      #   readiness: {{http: {{path: /, port: {port}}}, interval: 2s}}
      # Reserved for it on its node, and what it may use at most.
      # resources:
      #   requests: {{cpu: 100m, memory: 64Mi}}
      #   limits: {{memory: 256Mi}}
      # volumeMounts:
      #   - name: data
      #     mountPath: /data
    # Another service reaches the first one by its name, at http://web:{port}/
    # - name: worker
    #   image: {image}
    #   restartPolicy: OnFailure
  # Data that outlives containers.
  # volumes:
  #   - name: data
  #     type: Persistent
  ingress:
    - name: web
      # A name without dots becomes NAME.ENVIRONMENT.DOMAIN of the server; one with dots stays as it is.
      host: {host}
      target:
        service: web
        port: {port}
  # After this time the project is removed.
  # expireAt: 2030-01-01T00:00:00Z
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::{Project, decode, schema};

    fn project(text: &str) -> decode::Decoded<Project> {
        let value: serde_json::Value = serde_saphyr::from_str(text).expect("YAML");
        decode::document(value.to_string().as_bytes(), &schema::PROJECT).expect("a document")
    }

    fn choice(name: &str, image: &str, host: &str) -> Choice {
        Choice {
            name: name.to_owned(),
            image: image.to_owned(),
            port: 8080,
            host: host.to_owned(),
        }
    }

    #[test]
    fn the_document_says_what_was_chosen() {
        for (name, image, host) in [
            ("shop", "nginx:alpine", "shop"),
            (
                "on",
                "registry.example.com:5000/a/b@sha256:00",
                "shop.example.com",
            ),
            ("true", "x", "*"),
            ("7", "x", "a: b # c"),
        ] {
            let decoded = project(&render(&choice(name, image, host), "s.json"));
            assert!(
                decoded.faults.is_empty() && decoded.warnings.is_empty(),
                "{decoded:?}"
            );
            let found = decoded.value;
            let service = &found.spec.services[0];
            let rule = &found.spec.ingress[0];
            assert_eq!(
                (
                    found.metadata.name.as_str(),
                    service.image.as_str(),
                    rule.host.as_str()
                ),
                (name, image, host)
            );
            assert_eq!(rule.target.port, 8080);
        }
    }

    #[test]
    fn what_is_commented_out_is_right_as_well() {
        let text = render(&choice("shop", "x", "shop"), "s.json");
        let prose = |line: &str| {
            let said = line.trim_start().trim_start_matches("# ").trim_start();
            let key = said.split_once(':').map_or(" ", |(key, _)| key);
            let is_field = !key.contains([' ', '-']);
            !is_field && !said.starts_with("- ")
        };
        let open = |line: &str| match line.trim_start().starts_with("# ") && !prose(line) {
            true => line.replacen("# ", "", 1),
            false => line.to_owned(),
        };
        let text: String = text.lines().map(|line| open(line) + "\n").collect();
        let decoded = project(&text);
        assert!(
            decoded.faults.is_empty() && decoded.warnings.is_empty(),
            "{:?} {:?}\n{text}",
            decoded.faults,
            decoded.warnings
        );
        let domain = cara_api::hostname::Domain {
            environment: "dev".to_owned(),
            base: "example.com".to_owned(),
        };
        let faults = cara_api::validate::project(&decoded.value.spec, "shop", &domain);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(decoded.value.spec.services.len(), 2);
    }

    #[test]
    fn a_directory_gives_a_name() {
        for (text, expected) in [
            ("My Shop", "my-shop"),
            ("a.b_c", "a-b-c"),
            ("--", "app"),
            ("", "app"),
            ("Ünder", "nder"),
        ] {
            assert_eq!(name_of(text), expected);
        }
    }
}
