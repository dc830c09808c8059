//! `ca`: the certificate of the internal authority, printed, or made known to this machine.
//!
//! What is to be done is decided from what is there ([`plan`]); files and programs are touched
//! only by [`carry_out`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cara_api::certificate::AuthorityInfo;
use cara_api::paths;

use super::args::{Ca, DryRun, Install};
use super::failure::Failure;
use super::{Context, out};

/// The system's trust stores: where certificates are put, and the program that takes them up.
const STORES: [(&str, &str, &[&str]); 3] = [
    (
        "/usr/local/share/ca-certificates",
        "update-ca-certificates",
        &[],
    ),
    (
        "/etc/pki/ca-trust/source/anchors",
        "update-ca-trust",
        &["extract"],
    ),
    (
        "/etc/ca-certificates/trust-source/anchors",
        "update-ca-trust",
        &[],
    ),
];
/// Databases of browsers below a home directory: Chromium, and Firefox' profiles.
/// Chromium of today takes the second one unless the first is there.
const SHARED_DATABASES: [&str; 2] = [".pki/nssdb", ".local/share/pki/nssdb"];
const FIREFOX: [&str; 3] = [
    ".mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".config/mozilla/firefox",
];
/// How long a program may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Prints or installs it.
pub async fn run(context: &Context, what: Ca) -> Result<(), Failure> {
    let read = context.client.get::<AuthorityInfo>(paths::CA).await;
    let authority = read.map_err(|error| Failure::of("read the internal authority", &error))?;
    match what {
        Ca::Print => out(&authority.certificate),
        Ca::Install(options) => install(&authority, &options).await,
    }
}

async fn install(authority: &AuthorityInfo, options: &Install) -> Result<(), Failure> {
    let is_root = rustix::process::geteuid().is_root();
    let surroundings = Surroundings {
        system: STORES
            .into_iter()
            .find(|(folder, ..)| Path::new(folder).is_dir()),
        databases: databases(&homes(options)),
        has_certutil: has_program("certutil"),
        is_root,
    };
    let plan = plan(authority, options, &surroundings)?;
    for note in &plan.notes {
        super::tell(format_args!("{note}"));
    }
    for step in &plan.steps {
        if options.trial.dry_run.is_dry() {
            // Either way it is this machine that is looked at.
            out(&format!("would {step}{}\n", DryRun::Client.mark()))?;
        } else {
            carry_out(step, &authority.certificate).await?;
            out(&format!("did {step}\n"))?;
        }
    }
    let has =
        |is_it: fn(&Step) -> bool| !options.trial.dry_run.is_dry() && plan.steps.iter().any(is_it);
    if has(|step| matches!(step, Step::Write(_))) {
        super::tell(format_args!(
            "`curl` and other programs that start from now on use it"
        ));
    }
    if has(|step| matches!(step, Step::Run("certutil", _))) {
        super::tell(format_args!("browsers that run need a restart"));
    }
    Ok(())
}

/// What of this machine matters.
struct Surroundings {
    /// Folder, program and its arguments.
    system: Option<(&'static str, &'static str, &'static [&'static str])>,
    databases: Vec<PathBuf>,
    has_certutil: bool,
    is_root: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Write(PathBuf),
    Run(&'static str, Vec<String>),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(path) => write!(f, "write {}", path.display()),
            Self::Run(program, arguments) => write!(f, "run {program} {}", arguments.join(" ")),
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    steps: Vec<Step>,
    notes: Vec<String>,
}

/// Decides what to do.
fn plan(
    authority: &AuthorityInfo,
    options: &Install,
    machine: &Surroundings,
) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    // Authorities of several servers are told apart.
    let short: String = authority.fingerprint.chars().take(16).collect();
    let name = format!("caravanserai-{short}");
    if options.browsers_of.is_empty() {
        let (folder, program, arguments) = machine.system.ok_or_else(|| {
            Failure::other("ca install: the trust store of this system is not known").with(
                "caractrl ca print > cara.crt, and install that file by the system's own means",
            )
        })?;
        if !machine.is_root && !options.trial.dry_run.is_dry() {
            return Err(
                Failure::denied(format!("ca install: only root may write to {folder}"))
                    .with("sudo caractrl ca install")
                    .with("--browsers-of \"$HOME\" needs no root and is enough for browsers"),
            );
        }
        plan.steps
            .push(Step::Write(Path::new(folder).join(format!("{name}.crt"))));
        let arguments = arguments.iter().map(ToString::to_string).collect();
        plan.steps.push(Step::Run(program, arguments));
    }
    if machine.databases.is_empty() {
        if let Some(home) = options.browsers_of.first() {
            let database = home.join(SHARED_DATABASES[0]);
            let database = database.display();
            return Err(Failure::other(format!("ca install: no browser has a database below {} yet", home.display()))
                .with(format!("start the browser once, or: mkdir -p {database} && certutil -d sql:{database} -N --empty-password")));
        }
        return Ok(plan);
    }
    if !machine.has_certutil {
        plan.notes.push(format!(
            "{} database(s) of browsers are left as they are: certutil is missing (Debian: libnss3-tools, Fedora: nss-tools)",
            machine.databases.len()
        ));
        return Ok(plan);
    }
    for database in &machine.databases {
        let database = format!("sql:{}", database.display());
        // PEM (`-a`) from the standard input, which it reads unless it is given a file: it takes
        // none that is a pipe.
        let arguments = ["-d", &database, "-A", "-t", "C,,", "-n", &name, "-a"];
        let arguments = arguments.iter().map(ToString::to_string).collect();
        plan.steps.push(Step::Run("certutil", arguments));
    }
    Ok(plan)
}

/// Home directories whose browsers are looked for: those given, or the user's own; under sudo
/// that of who called it.
fn homes(options: &Install) -> Vec<PathBuf> {
    if !options.browsers_of.is_empty() {
        return options.browsers_of.clone();
    }
    let caller = crate::process::variable("SUDO_USER").map(|user| Path::new("/home").join(user));
    let own = crate::process::variable("HOME").map(PathBuf::from);
    caller.or(own).into_iter().collect()
}

fn databases(homes: &[PathBuf]) -> Vec<PathBuf> {
    let is_database = |folder: &PathBuf| folder.join("cert9.db").is_file();
    let mut found = Vec::new();
    for home in homes {
        let profiles = FIREFOX
            .iter()
            .filter_map(|f| std::fs::read_dir(home.join(f)).ok());
        let profiles = profiles
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()));
        let shared = SHARED_DATABASES.iter().map(|place| home.join(place));
        found.extend(shared.chain(profiles).filter(is_database));
    }
    found.sort();
    found
}

fn has_program(name: &str) -> bool {
    let path = crate::process::variable("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

async fn carry_out(step: &Step, certificate: &str) -> Result<(), Failure> {
    match step {
        Step::Write(path) => std::fs::write(path, certificate)
            .map_err(|error| Failure::other(format!("write {}: {error}", path.display()))),
        Step::Run(program, arguments) => run_program(program, arguments, certificate).await,
    }
}

/// Runs a program that may read the certificate from its standard input.
async fn run_program(program: &str, arguments: &[String], input: &str) -> Result<(), Failure> {
    use tokio::io::AsyncWriteExt;
    let failed = |error: &dyn std::fmt::Display| Failure::other(format!("run {program}: {error}"));
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Programs that do not read it may be gone already.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
    let output = ended
        .map_err(|_| failed(&format!("not finished after {} s", DEADLINE.as_secs())))?
        .map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(&format!("{}: {}", output.status, said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        browsers_of: &[&str],
        dry_run: bool,
        machine: &Surroundings,
    ) -> Result<Vec<String>, String> {
        let authority = AuthorityInfo {
            fingerprint: "0123456789abcdef0123".to_owned(),
            ..AuthorityInfo::default()
        };
        let options = Install {
            trial: super::super::args::Trial {
                dry_run: if dry_run {
                    DryRun::Client
                } else {
                    DryRun::None
                },
            },
            browsers_of: browsers_of.iter().map(PathBuf::from).collect(),
        };
        let plan = plan(&authority, &options, machine).map_err(|failure| format!("{failure:?}"))?;
        let steps = plan.steps.iter().map(ToString::to_string);
        Ok(steps.chain(plan.notes).collect())
    }

    fn machine(
        system: bool,
        databases: &[&str],
        has_certutil: bool,
        is_root: bool,
    ) -> Surroundings {
        Surroundings {
            system: system.then_some(STORES[0]),
            databases: databases.iter().map(PathBuf::from).collect(),
            has_certutil,
            is_root,
        }
    }

    #[test]
    fn the_system_and_browsers_are_told() {
        let crt = "write /usr/local/share/ca-certificates/caravanserai-0123456789abcdef.crt";
        let nss = "run certutil -d sql:/h/.pki/nssdb -A -t C,, -n caravanserai-0123456789abcdef -a";
        let update = "run update-ca-certificates ";
        let db = &["/h/.pki/nssdb"][..];
        assert_eq!(
            check(&[], false, &machine(true, &[], true, true)),
            Ok(vec![crt.into(), update.into()])
        );
        assert_eq!(
            check(&[], true, &machine(true, db, true, false)),
            Ok(vec![crt.into(), update.into(), nss.into()])
        );
        assert_eq!(
            check(&["/h"], false, &machine(false, db, true, false)),
            Ok(vec![nss.into()])
        );
        let without = check(&["/h"], false, &machine(false, db, false, false)).expect("a note");
        assert!(without[0].contains("libnss3-tools"), "{without:?}");
    }

    #[test]
    fn databases_of_all_browsers_are_found() {
        let home = tempfile::tempdir().expect("a directory");
        let places = [
            ".local/share/pki/nssdb",
            ".mozilla/firefox/a.default",
            ".pki/nssdb",
        ];
        let places = places.map(|place| home.path().join(place));
        for place in &places {
            std::fs::create_dir_all(place).expect("a directory");
            std::fs::write(place.join("cert9.db"), "").expect("a file");
        }
        assert_eq!(databases(&[home.path().to_owned()]), places);
    }

    #[test]
    fn what_is_missing_is_said() {
        for (browsers_of, machine, expected) in [
            (
                &[][..],
                machine(true, &[], true, false),
                "sudo caractrl ca install",
            ),
            (&[], machine(false, &[], true, true), "caractrl ca print"),
            (
                &["/h"],
                machine(true, &[], true, false),
                "start the browser once",
            ),
        ] {
            let said = check(browsers_of, false, &machine).expect_err("refused");
            assert!(said.contains(expected), "{said}");
        }
    }
}
