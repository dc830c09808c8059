//! Histories of tokens, joins, revocations and deletions: what must hold after each step.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Few of each, so that they meet.
const NAMES: [&str; 2] = ["a", "b"];
const KEYS: [&str; 2] = ["k1", "k2"];
/// The newest tokens, which are shown again.
const NEWEST: usize = 2;
/// How long a certificate lives, in steps.
const LIFE: i64 = 12;
/// How long a token can be used, in steps.
const TTL: i64 = 16;

#[derive(Debug, Clone)]
enum Step {
    /// Makes a token, for one node or any.
    Token(Option<usize>),
    /// Shows one of the newest tokens, with its secret or another.
    Join {
        token: usize,
        node: usize,
        key: usize,
        is_right: bool,
    },
    Renew(usize),
    Revoke(usize),
    Delete(usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NAMES.len();
    prop_oneof![
        2 => prop::option::of(node.clone()).prop_map(Step::Token),
        6 => (0..NEWEST, node.clone(), 0..KEYS.len(), prop::bool::weighted(0.9))
            .prop_map(|(token, node, key, is_right)| Step::Join { token, node, key, is_right }),
        2 => node.clone().prop_map(Step::Renew),
        2 => node.clone().prop_map(Step::Revoke),
        1 => node.prop_map(Step::Delete),
        1 => Just(Step::Wait),
    ]
}

/// What a server knows, and what is out in the world.
#[derive(Default)]
struct World {
    second: i64,
    nodes: BTreeMap<&'static str, Option<Admission>>,
    tokens: Vec<StoredToken>,
    certificates: Vec<Presented>,
    /// Admissions that were ended: nothing of them may ever count again.
    ended: BTreeSet<Uuid>,
    /// Which admission came of which token.
    born: BTreeMap<String, Uuid>,
    count: u128,
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second).expect("a time")
    }

    fn later(&self, steps: i64) -> Timestamp {
        Timestamp::from_second(self.second + steps).expect("a time")
    }

    fn end(&mut self, node: &str) {
        let old = self.nodes.get(node).and_then(Option::as_ref);
        self.ended.extend(old.map(|admission| admission.id));
    }

    fn certify(&mut self, node: &'static str, admission: Uuid) {
        let not_after = self.later(LIFE);
        self.certificates.push(Presented {
            node: NodeName::trusted(node),
            admission,
            not_after,
        });
    }

    fn join(&mut self, back: usize, node: &'static str, key: &'static str, is_right: bool) {
        let name = NodeName::trusted(node);
        let found = self.nodes.get(node).cloned();
        let candidate = Candidate {
            secret_hash: if is_right { "right" } else { "wrong" },
            node: &name,
            key,
            exists: found.is_some(),
            admission: found.as_ref().and_then(Option::as_ref),
        };
        let at = self.tokens.len().wrapping_sub(1 + back);
        let token = self.tokens.get(at).cloned();
        match redeem(token.as_ref(), candidate, self.now()) {
            Ok(Redeemed::Admit) => {
                let token = token.expect("redeemed");
                assert!(is_right, "the secret was wrong");
                assert!(self.now() < token.expires_at, "it had ended");
                assert!(token.node.as_ref().is_none_or(|bound| *bound == name));
                assert!(
                    found.is_none() || token.node.is_some(),
                    "the name was taken"
                );
                self.count += 1;
                let admission = Uuid::from_u128(self.count);
                let before = self.born.insert(token.id.clone(), admission);
                assert_eq!(before, None, "it was used before");
                self.end(node);
                let (at_time, used_at) = (self.now(), at);
                self.tokens[used_at].used = Some(Use {
                    at: at_time,
                    node: name,
                    admission,
                    key: key.to_owned(),
                });
                let admitted = Admission {
                    id: admission,
                    joined_at: at_time,
                    certificate_not_after: self.later(LIFE),
                    revoked_at: None,
                };
                self.nodes.insert(node, Some(admitted));
                self.certify(node, admission);
            }
            Ok(Redeemed::Again(admission)) => {
                let token = token.expect("redeemed");
                assert_eq!(token.used.expect("used").key, key, "for the same key");
                assert!(!self.ended.contains(&admission), "it was ended");
                self.certify(node, admission);
            }
            Err(_) => {}
        }
    }

    fn apply(&mut self, step: &Step) {
        self.second += 1;
        let now = self.now();
        match step {
            Step::Token(node) => self.tokens.push(StoredToken {
                id: self.tokens.len().to_string(),
                secret_hash: "right".to_owned(),
                node: node.map(|at| NodeName::trusted(NAMES[at])),
                created_at: now,
                expires_at: self.later(TTL),
                used: None,
            }),
            Step::Join {
                token,
                node,
                key,
                is_right,
            } => {
                self.join(*token, NAMES[*node], KEYS[*key], *is_right);
            }
            Step::Renew(at) => self.renew(*at),
            Step::Revoke(node) => {
                self.end(NAMES[*node]);
                if let Some(Some(admission)) = self.nodes.get_mut(NAMES[*node]) {
                    admission.revoked_at = Some(now);
                }
            }
            Step::Delete(node) => {
                self.end(NAMES[*node]);
                self.nodes.remove(NAMES[*node]);
            }
            Step::Wait => self.second += LIFE / 2,
        }
    }

    /// Whoever holds the newest certificate of a node asks for the next one.
    fn renew(&mut self, at: usize) {
        let node = NAMES[at];
        let mut held = self.certificates.iter().rev();
        let held = held.find(|c| c.node.as_str() == node).cloned();
        if let Some(held) = held
            && let Who::Node(_) = self.who(&held)
        {
            self.certify(node, held.admission);
        }
    }

    fn who(&self, presented: &Presented) -> Who {
        let admission = self.nodes.get(presented.node.as_str());
        let admission = admission.and_then(Option::as_ref);
        who(
            &Shown::Certificate(presented.clone()),
            admission,
            self.now(),
        )
    }

    fn check(&self) {
        for presented in &self.certificates {
            let counts = self.who(presented) == Who::Node(presented.node.clone());
            let should =
                !self.ended.contains(&presented.admission) && self.now() < presented.not_after;
            assert_eq!(counts, should, "{presented:?}");
        }
    }
}

proptest! {
    #[test]
    fn what_was_ended_never_counts_again_and_a_token_admits_once(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in &steps {
            world.apply(step);
            world.check();
        }
    }
}
