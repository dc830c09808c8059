//! The objects as they are, kept from the events of the store; no I/O, no locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cara_api::hostname::Domain;
use cara_api::project::ProjectRevision;
use cara_api::{CertificateName, Generation, Node, NodeName, Project, ProjectName, SecretName};
use cara_store::{Entry, Event, Key, Revision};
use imbl::OrdMap;

use super::access::Access;
use super::history::{Change, History, Object, TooOld};
use super::map::replace;
use crate::plan::claims::{self, Claim};
use crate::plan::evict::Settled;
use crate::plan::fleet::Fleet;
use crate::repo::{self, Challenge, SealedCertificate, SealedSecret};

/// Earlier generations of a project.
pub(crate) type Revisions = BTreeMap<Generation, Arc<ProjectRevision>>;

/// Everything at one revision.
#[derive(Default)]
pub(crate) struct State {
    revision: Revision,
    projects: BTreeMap<ProjectName, Arc<Project>>,
    nodes: BTreeMap<NodeName, Arc<Node>>,
    secrets: BTreeMap<SecretName, Arc<SealedSecret>>,
    certificates: BTreeMap<CertificateName, Arc<SealedCertificate>>,
    /// When a certificate changed last.
    certificates_at: Revision,
    /// Answers to challenges by token; shares its structure with copies.
    challenges: OrdMap<String, Arc<Challenge>>,
    claims: BTreeMap<Claim, ProjectName>,
    by_node: BTreeMap<NodeName, BTreeSet<ProjectName>>,
    /// Projects that move to a node.
    arriving: BTreeMap<NodeName, BTreeSet<ProjectName>>,
    fleet: Fleet,
    revisions: BTreeMap<ProjectName, Revisions>,
    history: History,
    unreadable: BTreeSet<Key>,
    access: Access,
}

impl State {
    /// True when every object could be read.
    pub(super) fn is_whole(&self) -> bool {
        self.unreadable.is_empty()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn projects(&self) -> &BTreeMap<ProjectName, Arc<Project>> {
        &self.projects
    }

    /// Users, tokens and federation rules.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    pub(crate) fn nodes(&self) -> &BTreeMap<NodeName, Arc<Node>> {
        &self.nodes
    }

    pub(crate) fn secrets(&self) -> &BTreeMap<SecretName, Arc<SealedSecret>> {
        &self.secrets
    }

    pub(crate) fn certificates(&self) -> &BTreeMap<CertificateName, Arc<SealedCertificate>> {
        &self.certificates
    }

    pub(crate) fn certificate(&self, name: &str) -> Option<&Arc<SealedCertificate>> {
        self.certificates.get(name)
    }

    /// The revision at which any certificate changed last.
    pub(crate) fn certificates_at(&self) -> Revision {
        self.certificates_at
    }

    /// Answers to challenges by token.
    pub(crate) fn challenges(&self) -> &OrdMap<String, Arc<Challenge>> {
        &self.challenges
    }

    pub(crate) fn claims(&self) -> &BTreeMap<Claim, ProjectName> {
        &self.claims
    }

    pub(crate) fn project(&self, name: &str) -> Option<&Arc<Project>> {
        self.projects.get(name)
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    pub(crate) fn secret(&self, name: &str) -> Option<&Arc<SealedSecret>> {
        self.secrets.get(name)
    }

    /// The hostnames and ports that a project asks for and really owns.
    pub(crate) fn owned_claims(&self, project: &Project, domain: &Domain) -> BTreeSet<Claim> {
        let mut claims = claims::of_spec(&project.spec, &project.metadata.name, domain);
        claims.retain(|claim| {
            self.claims
                .get(claim)
                .is_some_and(|owner| owner.as_str() == project.metadata.name)
        });
        claims
    }

    /// Projects that are bound to a node, sorted by name.
    pub(crate) fn bound_to<'a>(
        &'a self,
        node: &NodeName,
    ) -> impl Iterator<Item = &'a Arc<Project>> {
        self.named(self.by_node.get(node))
    }

    /// The same, each with its stable generation if that was replaced.
    pub(crate) fn settled_on<'a>(&'a self, node: &NodeName) -> impl Iterator<Item = Settled<'a>> {
        self.bound_to(node).map(|project| Settled {
            project,
            stable: self.stable(project).map(|r| &**r),
        })
    }

    /// Projects that move to a node, sorted by name.
    pub(crate) fn arriving_at<'a>(
        &'a self,
        node: &NodeName,
    ) -> impl Iterator<Item = &'a Arc<Project>> {
        self.named(self.arriving.get(node))
    }

    fn named<'a>(
        &'a self,
        names: Option<&'a BTreeSet<ProjectName>>,
    ) -> impl Iterator<Item = &'a Arc<Project>> {
        names
            .into_iter()
            .flatten()
            .filter_map(|name| self.projects.get(name))
    }

    /// All nodes with what is on them.
    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The stored earlier generations of a project.
    pub(crate) fn revisions(&self, project: &str) -> Option<&Revisions> {
        self.revisions.get(project)
    }

    /// The stored spec of a project's stable generation.
    pub(crate) fn stable(&self, project: &Project) -> Option<&Arc<ProjectRevision>> {
        let stored = self.revisions.get(project.metadata.name.as_str())?;
        stored.get(&project.status.stable_generation)
    }

    /// All changes after `revision`, oldest first.
    pub(crate) fn changes_since(&self, revision: Revision) -> Result<Vec<Arc<Change>>, TooOld> {
        self.history.since(revision)
    }

    /// The revision that the history begins after.
    pub(crate) fn floor(&self) -> Revision {
        self.history.floor()
    }

    pub(super) fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// Begins with a full listing, as of `revision`; what was known before becomes history.
    pub(super) fn load_listing(&mut self, entries: &[Entry], revision: Revision) {
        let listed: BTreeSet<&str> = entries.iter().map(|e| e.key.as_str()).collect();
        let known = self.projects.keys().map(repo::project_key);
        let known = known.chain(self.nodes.keys().map(repo::node_key));
        let known = known.chain(self.secrets.keys().map(repo::secret_key));
        let known = known.chain(self.certificates.keys().map(repo::certificate_key));
        let known = known.chain(
            self.challenges
                .keys()
                .filter_map(|t| repo::challenge_key(t)),
        );
        let known = known.chain(self.claims.keys().map(repo::claim_key));
        let known = known.chain(self.access.keys());
        let revisions = self.revisions.iter();
        let known =
            known.chain(revisions.flat_map(|(project, stored)| {
                stored.keys().map(|g| repo::revision_key(project, *g))
            }));
        let gone: Vec<Key> = known.filter(|key| !listed.contains(key.as_str())).collect();
        let is_first = self.revision == Revision(0);
        for key in gone {
            self.take(revision, &Event::Delete(key));
        }
        for entry in entries {
            self.take(revision, &Event::Put(entry.clone()));
        }
        if is_first {
            self.history.begin(revision);
        }
    }

    /// Takes in one event of the store.
    pub(super) fn take(&mut self, revision: Revision, event: &Event) {
        let (key, entry) = match event {
            Event::Put(entry) => (&entry.key, Some(entry)),
            Event::Delete(key) => (key, None),
        };
        let text = key.as_str();
        self.unreadable.remove(key);
        let (before, after) = if let Some(name) = text.strip_prefix(repo::PROJECTS) {
            self.take_project(&ProjectName::trusted(name), entry)
        } else if let Some(name) = text.strip_prefix(repo::NODES) {
            let name = NodeName::trusted(name);
            let node = entry.and_then(|e| self.readable::<Node>(e)).map(Arc::new);
            self.fleet.set_node(&name, node.clone());
            let before = replace(&mut self.nodes, name, node.clone());
            (before.map(Object::Node), node.map(Object::Node))
        } else if let Some(name) = text.strip_prefix(repo::SECRETS) {
            let name = SecretName::trusted(name);
            let secret = entry
                .and_then(|e| self.readable::<SealedSecret>(e))
                .map(Arc::new);
            let before = replace(&mut self.secrets, name, secret.clone());
            (before.map(Object::Secret), secret.map(Object::Secret))
        } else if let Some(name) = text.strip_prefix(repo::CERTIFICATES) {
            self.take_certificate(&CertificateName::trusted(name), entry, revision)
        } else if let Some(token) = text.strip_prefix(repo::CHALLENGES) {
            self.take_challenge(token, entry);
            return;
        } else if let Some(name) = text.strip_prefix(repo::REVISIONS) {
            self.take_revision(name, entry);
            return;
        } else if let Some(rest) = text.strip_prefix(repo::ACCESS) {
            self.take_access(rest, entry);
            return;
        } else {
            self.take_claim(text, entry);
            return;
        };
        if before == after {
            return;
        }
        let text_bytes = entry.map_or(0, |entry| entry.value.len());
        let change = Change {
            revision,
            before,
            after,
        };
        self.history.remember(change, text_bytes);
    }

    fn take_project(
        &mut self,
        name: &ProjectName,
        entry: Option<&Entry>,
    ) -> (Option<Object>, Option<Object>) {
        let project = entry
            .and_then(|e| self.readable::<Project>(e))
            .map(Arc::new);
        let before = replace(&mut self.projects, name.clone(), project.clone());
        self.fleet.change(before.as_deref(), project.as_deref());
        index(
            &mut self.by_node,
            name,
            before.as_deref(),
            project.as_deref(),
            |p| Some(p.status.node_ref.as_str()),
        );
        index(
            &mut self.arriving,
            name,
            before.as_deref(),
            project.as_deref(),
            |p| Some(p.status.moving.as_ref()?.node_ref.as_str()),
        );
        (before.map(Object::Project), project.map(Object::Project))
    }

    fn take_certificate(
        &mut self,
        name: &CertificateName,
        entry: Option<&Entry>,
        revision: Revision,
    ) -> (Option<Object>, Option<Object>) {
        self.certificates_at = revision;
        let certificate = entry.and_then(|e| self.readable::<SealedCertificate>(e));
        let certificate = certificate.map(Arc::new);
        let before = replace(&mut self.certificates, name.clone(), certificate.clone());
        (
            before.map(Object::Certificate),
            certificate.map(Object::Certificate),
        )
    }

    fn take_access(&mut self, key: &str, entry: Option<&Entry>) {
        if let Some(name) = key.strip_prefix(repo::USERS) {
            let user = entry.and_then(|e| self.readable(e));
            self.access.set_user(name, user);
        } else if let Some(name) = key.strip_prefix(repo::TOKENS) {
            let token = entry.and_then(|e| self.readable(e));
            self.access.set_token(name, token);
        } else if let Some(name) = key.strip_prefix(repo::FEDERATIONS) {
            let rule = entry.and_then(|e| self.readable(e));
            self.access.set_federation(name, rule);
        } else if let Some(id) = key.strip_prefix(repo::PEOPLE) {
            let person = entry.and_then(|e| self.readable(e));
            self.access.set_person(id, person);
        }
    }

    /// One that cannot be read is left out: its order fails, and nothing else.
    fn take_challenge(&mut self, token: &str, entry: Option<&Entry>) {
        match entry.and_then(|e| repo::decode_challenge(e).ok()) {
            Some(challenge) => {
                self.challenges
                    .insert(token.to_owned(), Arc::new(challenge));
            }
            None => {
                self.challenges.remove(token);
            }
        }
    }

    /// The object of an entry. One that cannot be read is noted: while there is any, the cache is
    /// not live, since to take it for absent would remove what runs.
    fn readable<T: cara_api::Resource>(&mut self, entry: &Entry) -> Option<T> {
        let object = repo::decode(entry);
        if let Err(error) = &object {
            tracing::error!(key = %entry.key, error = %error, "cannot read an object: not serving the API");
            self.unreadable.insert(entry.key.clone());
        }
        object.ok()
    }

    fn take_revision(&mut self, key: &str, entry: Option<&Entry>) {
        let Some((name, generation)) = repo::split_revision_key(key) else {
            return;
        };
        let revision = entry.and_then(|e| match repo::decode_revision(e) {
            Ok(revision) => Some(Arc::new(revision)),
            Err(error) => {
                tracing::error!(key = %e.key, error = %error, "cannot read an earlier generation: not serving the API");
                self.unreadable.insert(e.key.clone());
                None
            }
        });
        let stored = self.revisions.entry(name.clone()).or_default();
        replace(stored, generation, revision);
        if stored.is_empty() {
            self.revisions.remove(&name);
        }
    }

    fn take_claim(&mut self, key: &str, entry: Option<&Entry>) {
        let Some(claim) = repo::claim_of(key) else {
            return;
        };
        let owner = entry.map(|e| ProjectName::trusted(&String::from_utf8_lossy(&e.value)));
        replace(&mut self.claims, claim, owner);
    }
}

/// Keeps an index of projects by a node that they name.
fn index<'a>(
    index: &mut BTreeMap<NodeName, BTreeSet<ProjectName>>,
    name: &ProjectName,
    before: Option<&'a Project>,
    after: Option<&'a Project>,
    node: impl Fn(&'a Project) -> Option<&'a str>,
) {
    if let Some(old) = before.and_then(&node)
        && let Some(names) = index.get_mut(old)
    {
        names.remove(name);
        if names.is_empty() {
            index.remove(old);
        }
    }
    if let Some(new) = after.and_then(&node).filter(|node| !node.is_empty()) {
        let names = index.entry(NodeName::trusted(new)).or_default();
        names.insert(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{BYTES_MAX, OBJECT_BYTES};
    use super::*;

    fn project(name: &str, node: &str) -> Project {
        let mut project = Project::default();
        project.metadata.name = name.into();
        project.status.node_ref = node.into();
        project
    }

    fn put(project: &Project, revision: u64) -> Event {
        let key = repo::project_key(&project.name());
        let (created, modified) = (Revision(1), Revision(revision));
        Event::Put(Entry {
            key,
            value: repo::encode(project),
            created,
            modified,
        })
    }

    fn names(state: &State, node: &str) -> Vec<String> {
        state
            .bound_to(&NodeName::trusted(node))
            .map(|p| p.metadata.name.clone())
            .collect()
    }

    #[test]
    fn the_index_by_node_follows_a_project_that_moves() {
        let mut state = State::default();
        state.take(Revision(1), &put(&project("b", "n1"), 1));
        state.take(Revision(2), &put(&project("a", "n1"), 2));
        assert_eq!(names(&state, "n1"), ["a", "b"]);
        state.take(Revision(3), &put(&project("a", "n2"), 3));
        assert_eq!(
            (names(&state, "n1"), names(&state, "n2")),
            (vec!["b".into()], vec!["a".into()])
        );
        state.take(
            Revision(4),
            &Event::Delete(repo::project_key(&ProjectName::trusted("b"))),
        );
        assert_eq!(names(&state, "n1"), [""; 0]);
    }

    #[test]
    fn history_answers_what_changed_and_refuses_what_it_forgot() {
        let mut state = State::default();
        for revision in 1..=3 {
            state.take(
                Revision(revision),
                &put(&project("a", &format!("n{revision}")), revision),
            );
        }
        let since = |state: &State, r| {
            state
                .changes_since(Revision(r))
                .map(|c| c.iter().map(|c| c.revision.0).collect())
        };
        assert_eq!(since(&state, 1), Ok(vec![2, 3]));
        assert_eq!(since(&state, 3), Ok(vec![]));
        let fits = BYTES_MAX / OBJECT_BYTES;
        for revision in 4..=(fits as u64 + 5) {
            state.take(
                Revision(revision),
                &put(&project("a", &format!("n{revision}")), revision),
            );
        }
        assert_eq!(since(&state, 4), Err(TooOld));
        let kept = since(&state, state.floor().0).expect("what is kept");
        assert!(kept.len() > fits * 3 / 4 && kept.len() < fits);
    }

    #[test]
    fn a_new_listing_becomes_history_and_drops_what_is_gone() {
        let mut state = State::default();
        let entry = |p: &Project, r| match put(p, r) {
            Event::Put(entry) => entry,
            Event::Delete(_) => unreachable!("put makes a put"),
        };
        state.load_listing(
            &[entry(&project("a", ""), 1), entry(&project("b", ""), 2)],
            Revision(2),
        );
        state.set_revision(Revision(2));
        assert!(state.changes_since(Revision(1)).is_err());
        state.load_listing(
            &[entry(&project("b", ""), 2), entry(&project("c", ""), 8)],
            Revision(9),
        );
        let changes = state
            .changes_since(Revision(2))
            .expect("history reaches back");
        let shown: Vec<String> = changes
            .iter()
            .map(|c| {
                format!(
                    "{} {}",
                    c.project().expect("a project").metadata.name,
                    c.after.is_some()
                )
            })
            .collect();
        assert_eq!(shown, ["a false", "c true"]);
    }

    #[test]
    fn an_entry_of_a_newer_version_is_not_taken_for_absent() {
        let mut state = State::default();
        let key = repo::node_key(&NodeName::trusted("n"));
        let mut take = |value: &'static str| {
            let entry = Entry {
                key: key.clone(),
                value: value.into(),
                created: Revision(1),
                modified: Revision(1),
            };
            state.take(Revision(1), &Event::Put(entry));
            (state.is_whole(), state.nodes().len())
        };
        assert_eq!(take(r#"{"format":99,"kind":"Node","body":7}"#), (false, 0));
        assert_eq!(
            take(r#"{"format":1,"kind":"Node","body":{"metadata":{"name":"n"}}}"#),
            (true, 1)
        );
    }
}
