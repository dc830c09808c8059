//! Certificates. Private keys come in and are sealed; no answer carries them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cara_api::certificate::{AuthorityInfo, CertificateSpec, CertificateStatus, ManagedBy};
use cara_api::decode::Decoded;
use cara_api::hostname::Hostname;
use cara_api::problem::FieldError;
use cara_api::project::Ingress;
use cara_api::secret::Hidden;
use cara_api::validate::{self, Key};
use cara_api::{API_VERSION, Certificate, ResourceVersion, schema};
use cara_certs::Bundle;

use super::App;
use super::extract::{document, expected_version, sound};
use super::failure::Failure;
use super::objects::{self, Named, in_use};
use super::query::is_forced;
use super::rehearse::Writing;
use super::view::{View, begin, now, written};
use super::watch::Watched;
use crate::Shared;
use crate::audit::{self, Caller, Op, Operation, Verb};
use crate::cache::{Object, State as CacheState};
use crate::plan::certs::{self, Attempts, Facts};
use crate::plan::claims::Claim;
use crate::repo::{self, KEY_FIELD, SealedCertificate};
use crate::vault::{self, Sealed, Values};

/// How many hostnames a status names at most.
const SERVES_MAX: usize = 20;

impl View for SealedCertificate {
    type Shown = Certificate;

    fn view(&self, shared: &Shared) -> Certificate {
        let (serves, serves_count) = shared.cache.read(|state| serves(&self.facts, state));
        let facts = self.facts.clone();
        Certificate {
            api_version: API_VERSION.to_owned(),
            kind: "Certificate".to_owned(),
            metadata: self.metadata.clone(),
            spec: CertificateSpec {
                certificate: self.chain.clone(),
                private_key: Hidden::default(),
                hosts: self.hosts.clone(),
            },
            status: CertificateStatus {
                managed_by: self.managed_by,
                names: facts.names,
                issuer: facts.issuer,
                not_before: facts.not_before,
                not_after: facts.not_after,
                fingerprint: facts.fingerprint,
                serves,
                serves_count,
                conditions: self.conditions.clone(),
                last_error: self.attempts.last_error.clone(),
                failed_attempts: self.attempts.failed,
                next_try: self.attempts.next_try,
            },
        }
    }
}

/// The claimed hostnames that a certificate covers: the first of them, and how many there are.
fn serves(facts: &Facts, state: &CacheState) -> (Vec<String>, u64) {
    let mut named = Vec::new();
    let mut count = 0;
    let mut take = |host: &str| {
        count += 1;
        if named.len() < SERVES_MAX {
            named.push(host.to_owned());
        }
    };
    let is_claimed = |name: &str| {
        let claim = Hostname::parse(name).ok().map(Claim::Host);
        claim.is_some_and(|claim| state.claims().contains_key(&claim))
    };
    for name in &facts.names {
        match name.strip_prefix("*.") {
            None if is_claimed(name) => take(name),
            None => {}
            Some(parent) => {
                let below =
                    |host: &str| host.split_once('.').is_some_and(|(_, rest)| rest == parent);
                let hosts = state.claims().keys().filter_map(|claim| match claim {
                    Claim::Host(host) => Some(host.as_str()),
                    Claim::Port(_) => None,
                });
                hosts.filter(|host| below(host)).for_each(&mut take);
            }
        }
    }
    (named, count)
}

impl Watched for SealedCertificate {
    const FIELDS: &'static [&'static str] = &["metadata.name", "status.managedBy"];

    fn field(&self, field: &str) -> Cow<'_, str> {
        match field {
            "metadata.name" => Cow::Borrowed(&self.metadata.name),
            "status.managedBy" => Cow::Borrowed(self.managed_by.as_str()),
            _ => Cow::Borrowed(""),
        }
    }

    fn of(object: &Object) -> Option<&Arc<Self>> {
        match object {
            Object::Certificate(certificate) => Some(certificate),
            Object::Project(_) | Object::Node(_) | Object::Secret(_) => None,
        }
    }

    fn all(state: &CacheState) -> Vec<Arc<Self>> {
        state.certificates().values().cloned().collect()
    }

    fn find<'s>(state: &'s CacheState, name: &str) -> Option<&'s Arc<Self>> {
        state.certificate(name)
    }
}

/// Lists or watches certificates, without their keys.
#[utoipa::path(get, path = "/api/v1/certificates", tag = "certificates",
    params(("watch" = Option<bool>, Query, description = "Stream changes as JSON lines instead"),
        ("resourceVersion" = Option<String>, Query, description = "Watch what happens after this version")),
    responses((status = 200, description = "CertificateList, or a stream of watch events"),
        (status = 410, body = cara_api::Problem, description = "The version is too old: list again")))]
pub(super) async fn list(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    objects::list::<SealedCertificate>(&app, &query, Named::All)
}

/// Reads or watches one certificate, without its key.
#[utoipa::path(get, path = "/api/v1/certificates/{name}", tag = "certificates", params(("name" = String, Path)),
    responses((status = 200, body = Certificate), (status = 404, body = cara_api::Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    objects::read::<SealedCertificate>(&app, &query, name)
}

/// The internal authority, as clients install it.
#[utoipa::path(get, path = "/api/v1/ca", tag = "certificates",
    responses((status = 200, body = AuthorityInfo), (status = 503, body = cara_api::Problem)))]
pub(super) async fn authority(State(app): State<App>) -> Result<Response, Failure> {
    app.must_be_live()?;
    let key = repo::authority_key();
    let listing = app.list_stored(key.as_str().to_owned()).await?;
    let entry = listing.entries.iter().find(|entry| entry.key == key);
    let not_yet = || Failure::unavailable("the internal authority is being made: try again");
    let stored = repo::decode_authority(entry.ok_or_else(not_yet)?).map_err(Failure::internal)?;
    let info = AuthorityInfo {
        api_version: API_VERSION.to_owned(),
        kind: "CertificateAuthority".to_owned(),
        certificate: stored.certificate,
        fingerprint: stored.fingerprint,
        not_after: Some(stored.not_after),
    };
    Ok(Json(info).into_response())
}

/// Stores a certificate of a user.
#[utoipa::path(post, path = "/api/v1/certificates", tag = "certificates", request_body = Certificate,
    responses((status = 201, body = Certificate, description = "Stored; the answer has no key"),
        (status = 400, body = cara_api::Problem), (status = 409, body = cara_api::Problem),
        (status = 413, body = cara_api::Problem)))]
pub(super) async fn create(
    Writing(app): Writing,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Certificate>(body, &schema::CERTIFICATE).await?;
    let given = &decoded.value;
    let mut faults =
        validate::identity::<Certificate>(&given.api_version, &given.kind, &given.metadata.name);
    faults.extend(validate::certificate_name(&given.metadata.name));
    faults.extend(validate::certificate(given, Key::Required));
    let key = given.spec.private_key.clone();
    let (mut given, bundle, warned) = usable(decoded, faults, &key)?;
    begin(&mut given.metadata);
    let certificate = SealedCertificate {
        managed_by: ManagedBy::User,
        sealed: Some(seal(&app, &given.metadata, &key)?),
        metadata: given.metadata,
        chain: given.spec.certificate,
        hosts: given.spec.hosts,
        facts: Facts::of(&bundle),
        conditions: Vec::new(),
        attempts: Attempts::default(),
    };
    let certificate = with_conditions(certificate);
    let batch = repo::create_certificate(&certificate);
    let created = objects::create(&app, certificate, batch).await?;
    audit(&app, &by, Verb::Create, None, Some(&created));
    Ok(written(&app.shared, StatusCode::CREATED, &created, &warned))
}

/// The document, its certificate and all warnings, if there are no faults.
fn usable(
    decoded: Decoded<Certificate>,
    mut faults: Vec<FieldError>,
    key: &Hidden,
) -> Result<(Certificate, Bundle, Vec<String>), Failure> {
    // A look into the PEM makes sense only when it is there.
    let mut bundle = None;
    let now = now();
    if faults.is_empty() && decoded.faults.is_empty() {
        let spec = &decoded.value.spec;
        match certs::check(&spec.certificate, key.reveal(), &spec.hosts, now) {
            Ok(found) => bundle = Some(found),
            Err(found) => faults.extend(found),
        }
    }
    let (given, mut warned) = sound(decoded, faults)?;
    let bundle = bundle.ok_or_else(|| Failure::bad_request("the certificate was not read"))?;
    warned.extend(certs::warnings(&bundle, now));
    Ok((given, bundle, warned))
}

fn seal(app: &App, meta: &cara_api::ObjectMeta, key: &Hidden) -> Result<Sealed, Failure> {
    let values: Values = BTreeMap::from([(KEY_FIELD.to_owned(), key.clone())]);
    vault::seal(&app.shared.key, repo::certificate_owner(meta), &values).map_err(Failure::internal)
}

fn open(app: &App, certificate: &SealedCertificate) -> Result<Hidden, Failure> {
    let Some(sealed) = &certificate.sealed else {
        return Ok(Hidden::default());
    };
    let owner = repo::certificate_owner(&certificate.metadata);
    let mut values = vault::open(&app.shared.key, owner, sealed).map_err(Failure::internal)?;
    Ok(values.remove(KEY_FIELD).unwrap_or_default())
}

fn with_conditions(mut certificate: SealedCertificate) -> SealedCertificate {
    certificate.conditions = certs::conditions(
        certificate.managed_by,
        &certificate.facts,
        &certificate.attempts,
        &certificate.conditions,
        now(),
    );
    certificate
}

/// Replaces labels, annotations, hosts and the certificate with its key, all at once.
#[utoipa::path(put, path = "/api/v1/certificates/{name}", tag = "certificates", request_body = Certificate,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header, description = "The expected resourceVersion")),
    responses((status = 200, body = Certificate), (status = 400, body = cara_api::Problem),
        (status = 404, body = cara_api::Problem), (status = 409, body = cara_api::Problem)))]
pub(super) async fn replace(
    Writing(app): Writing,
    Path(name): Path<String>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let decoded = document::<Certificate>(body, &schema::CERTIFICATE).await?;
    let expected = expected_version(&headers, decoded.value.metadata.resource_version)?;
    // Whose it is matters more than its version.
    must_be_of_user(&*objects::current::<SealedCertificate>(&app, &name)?)?;
    let mut warned = Vec::new();
    let replaced = objects::replace(&app, &name, expected, |old| {
        must_be_of_user(old)?;
        let (certificate, warnings) = changed(&app, old, decoded.clone())?;
        warned = warnings;
        Ok(certificate.map(|certificate| {
            let batch = repo::replace_certificate(&certificate);
            (certificate, batch)
        }))
    });
    let replaced = replaced.await?;
    if let Some(new) = &replaced.new {
        if !app.is_rehearsal() {
            tracing::info!(certificate = %name, revision = %new.metadata.resource_version, "replaced");
        }
        audit(&app, &by, Verb::Replace, Some(&replaced.old), Some(new));
    }
    Ok(replaced.answer(&app, &warned))
}

/// Refuses changes of what the server takes care of itself.
fn must_be_of_user(certificate: &SealedCertificate) -> Result<(), Failure> {
    let name = &certificate.metadata.name;
    let what = match certificate.managed_by {
        ManagedBy::User => return Ok(()),
        ManagedBy::Acme => "obtained and renewed by the server",
        ManagedBy::Ca => "issued by the server's internal authority",
    };
    Err(Failure::conflict(format!(
        "certificate {name:?} is {what}: create one under another name, it takes precedence"
    )))
}

/// The certificate with the user's part replaced, none when nothing differs; and warnings.
fn changed(
    app: &App,
    old: &SealedCertificate,
    decoded: Decoded<Certificate>,
) -> Result<(Option<SealedCertificate>, Vec<String>), Failure> {
    let given = &decoded.value;
    let mut faults = validate::same_identity::<Certificate>(
        &given.api_version,
        &given.kind,
        &given.metadata.name,
        &old.metadata.name,
    );
    faults.extend(validate::certificate(given, Key::Optional));
    let is_kept = given.spec.private_key.reveal().is_empty();
    let key = if is_kept {
        open(app, old)?
    } else {
        given.spec.private_key.clone()
    };
    let (given, bundle, warned) = usable(decoded, faults, &key)?;
    let mut certificate = old.clone();
    certificate.metadata.labels = given.metadata.labels;
    certificate.metadata.annotations = given.metadata.annotations;
    // A key that was sent is compared only when nothing else differs. It takes the place of one
    // that cannot be opened, which is how a certificate is mended.
    let is_same = given.spec.certificate == old.chain
        && given.spec.hosts == old.hosts
        && (is_kept || open(app, old).is_ok_and(|stored| key == stored));
    if is_same && certificate == *old {
        return Ok((None, warned));
    }
    if !is_same {
        certificate.chain = given.spec.certificate;
        certificate.hosts = given.spec.hosts;
        certificate.sealed = Some(seal(app, &old.metadata, &key)?);
        certificate.facts = Facts::of(&bundle);
        certificate.metadata.generation = old.metadata.generation.next();
    }
    certificate.metadata.updated_at = Some(now());
    Ok((Some(with_conditions(certificate)), warned))
}

/// Deletes a certificate that no ingress names. One that the server takes care of comes back if
/// it is still needed.
#[utoipa::path(delete, path = "/api/v1/certificates/{name}", tag = "certificates",
    params(("name" = String, Path),
        ("force" = Option<bool>, Query, description = "Delete it although ingresses name it, or the server takes care of it")),
    responses((status = 204, description = "Gone"), (status = 404, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem, description = "Projects still name it, or the server takes care of it")))]
pub(super) async fn delete(
    Writing(app): Writing,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    by: Caller,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    let expected = expected_version(&headers, ResourceVersion::default())?;
    let is_forced = is_forced(&query);
    let deleted = objects::delete(&app, &name, expected, |old| {
        if !is_forced {
            must_be_deletable(&app, old)?;
        }
        Ok(repo::delete_certificate(old))
    });
    let old = deleted.await?;
    tracing::info!(certificate = %name, forced = is_forced, "deleted");
    audit(&app, &by, Verb::Delete, Some(&old), None);
    Ok(StatusCode::NO_CONTENT)
}

fn must_be_deletable(app: &App, certificate: &SealedCertificate) -> Result<(), Failure> {
    let name = certificate.metadata.name.as_str();
    if certificate.managed_by != ManagedBy::User {
        return Err(Failure::conflict(format!(
            "certificate {name:?} is taken care of by the server, which makes or orders it again \
             if it is needed: delete it with force=true, if its key is not safe"
        )));
    }
    let users = users(app, name);
    if users.is_empty() {
        Ok(())
    } else {
        Err(in_use::<Certificate>(name, &users))
    }
}

/// Projects that name the certificate and are not on their way out.
fn users(app: &App, name: &str) -> Vec<String> {
    app.shared.cache.read(|state| {
        let projects = state.projects().values();
        let users = projects.filter(|p| {
            !p.status.phase.is_ending() && p.spec.ingress.iter().any(|i| is_named(i, name))
        });
        users.map(|p| p.metadata.name.clone()).collect()
    })
}

fn is_named(ingress: &Ingress, name: &str) -> bool {
    let mut upstream = ingress.all_targets().filter_map(|t| t.tls.as_ref());
    ingress.tls == name || upstream.any(|tls| tls.certificate == name || tls.ca == name)
}

/// Records a write: names, end and fingerprint, and of the key only that it came, went or changed.
fn audit(
    app: &App,
    by: &Caller,
    verb: Verb,
    before: Option<&SealedCertificate>,
    after: Option<&SealedCertificate>,
) {
    let Some(object) = after.or(before) else {
        return;
    };
    let part = |of: Option<&SealedCertificate>| {
        let Some(certificate) = of else {
            return serde_json::json!({});
        };
        let mut part = audit::meta_part(&certificate.metadata);
        part["spec"] = serde_json::json!({
            "names": certificate.facts.names,
            "notAfter": certificate.facts.not_after,
            "fingerprint": certificate.facts.fingerprint,
            "hosts": certificate.hosts,
        });
        part
    };
    let mut operations = audit::diff(&part(before), &part(after));
    let op = match (before, after) {
        (None, _) => Some(Op::Add),
        (_, None) => Some(Op::Remove),
        (Some(old), Some(new)) => (old.sealed != new.sealed).then_some(Op::Replace),
    };
    let key = op.map(|op| Operation::untold(op, "/spec/privateKey".to_owned()));
    operations.extend(key);
    app.audit_operations::<SealedCertificate>(by, verb, &object.metadata, operations);
}
