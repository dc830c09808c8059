//! Host normalisation and rule choice: never panic, and always choose what a naive search finds.

#![no_main]

use std::sync::Arc;

use cara_api::gateway::{Action, HeaderMatch, PathMatch, Respond, Route};
use cara_routes::{host, rank};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    |input: (String, String, Vec<(bool, String, Option<String>)>, String)| {
        let (authority, path, rules, value) = input;
        if let Some(normal) = host::normalize(&authority) {
            assert!(normal.len() <= 253 && !normal.is_empty());
            assert!(
                !normal
                    .bytes()
                    .any(|b| b.is_ascii_uppercase() || b == b'/' || b <= b' ')
            );
        }
        let mut routes: Vec<Arc<Route>> = rules
            .into_iter()
            .enumerate()
            .map(|(number, (is_exact, path, header))| {
                let path = format!("/{}", path.trim_matches('/'));
                let wanted = |value| HeaderMatch {
                    name: "x-a".into(),
                    value: Some(value),
                };
                Arc::new(Route {
                    project: "p".into(),
                    ingress: number.to_string(),
                    path: if is_exact {
                        PathMatch::Exact(path)
                    } else {
                        PathMatch::Prefix(path)
                    },
                    headers: header.map(wanted).into_iter().collect(),
                    action: Action::Respond(Respond {
                        status: 200,
                        content_type: String::new(),
                        body: String::new(),
                    }),
                    policy: Arc::default(),
                })
            })
            .collect();
        let takes =
            |route: &Route| rank::matches(route, &path, |_| std::iter::once(value.as_bytes()));
        let naive = routes
            .iter()
            .filter(|route| takes(route))
            .max_by_key(|route| rank::MatchRank::of(route))
            .map(|route| route.ingress.clone());
        rank::sort(&mut routes);
        let found = routes.iter().find(|route| takes(route));
        assert_eq!(found.map(|route| route.ingress.clone()), naive);
    }
);
