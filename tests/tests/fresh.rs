//! What is generated is fresh. `make schemas` writes it again.

use std::path::Path;

use cara_api::schema;

fn check(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .join(path);
    #[expect(
        clippy::disallowed_methods,
        reason = "how `make schemas` asks for the files"
    )]
    if std::env::var("UPDATE").is_ok() {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, expected).expect("written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{path} is not what the code says: run `make schemas` or `make references`"
    );
}

#[test]
fn json_schemas_follow_from_the_types() {
    check(
        "deploy/schemas/project.json",
        &format!("{:#}\n", schema::PROJECT.document()),
    );
    check(
        "deploy/schemas/node.json",
        &format!("{:#}\n", schema::NODE.document()),
    );
    check(
        "deploy/schemas/secret.json",
        &format!("{:#}\n", schema::SECRET.document()),
    );
    check(
        "deploy/schemas/certificate.json",
        &format!("{:#}\n", schema::CERTIFICATE.document()),
    );
    for (path, schema) in [
        ("deploy/schemas/user.json", &schema::USER),
        ("deploy/schemas/token.json", &schema::TOKEN),
        ("deploy/schemas/federation.json", &schema::FEDERATION),
    ] {
        check(path, &format!("{:#}\n", schema.document()));
    }
}

#[test]
fn the_configuration_reference_follows_from_the_settings() {
    let text = format!(
        "# Configuration\n\nDefaults give way to the TOML file named by `--config`, that to environment variables, those \
         to flags. Keys of the file are the flags without dashes. All faults are reported at once.\n\n\
         ## cara-server\n\n{}\n## cara-agent\n\n{}",
        cara_cli::settings::reference(cara_cli::server::SETTINGS),
        cara_cli::settings::reference(cara_cli::agent::SETTINGS),
    );
    check("docs/configuration.md", &text);
}

/// Pages in a folder that holds nothing else.
fn check_folder(folder: &str, pages: &[cara_cli::ctl::reference::Page]) {
    for page in pages {
        check(&format!("{folder}/{}", page.name), &page.text);
    }
    let whole = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .join(folder);
    for entry in std::fs::read_dir(whole).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        let is_known = pages.iter().any(|page| page.name == name);
        assert!(is_known, "{folder}/{name} belongs to no command: delete it");
    }
}

#[test]
fn the_command_reference_follows_from_the_definitions() {
    check_folder("docs/cli", &cara_cli::ctl::reference::markdown());
}

#[test]
fn man_pages_follow_from_the_definitions() {
    let pages = cara_cli::ctl::reference::man().expect("written");
    check_folder("deploy/man", &pages);
}

#[test]
fn every_example_meets_the_rules() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .join("deploy/examples");
    let domain = cara_api::hostname::Domain {
        environment: "dev".into(),
        base: "localhost".into(),
    };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        for value in serde_saphyr::from_multiple::<serde_json::Value>(&text).expect("YAML") {
            let body = value.to_string();
            let decoded =
                cara_api::decode::document::<cara_api::Project>(body.as_bytes(), &schema::PROJECT);
            let decoded = decoded.expect("an object");
            assert_eq!(
                (decoded.faults, decoded.warnings),
                (vec![], vec![]),
                "{}",
                path.display()
            );
            let project = decoded.value;
            let faults =
                cara_api::validate::project(&project.spec, &project.metadata.name, &domain);
            assert_eq!(faults, [], "{}", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "there are examples");
}
