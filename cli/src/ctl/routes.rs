//! `routes`: what the gateway serves, and why a URL goes where it goes.

mod watch;

use cara_api::explanation::{Explanation, RuleVerdict};
use cara_api::paths;
use cara_api::route::{RouteAction, RouteList, RouteView};

use super::args::{Explain, Output, Routes, RoutesCommand};
use super::failure::Failure;
use super::table::Layout;
use super::{Context, out};

/// Lists or explains.
pub async fn run(context: &Context, options: Routes) -> Result<(), Failure> {
    match options.command {
        Some(RoutesCommand::Explain(options)) => explain(context, options).await,
        None => list(context, &options).await,
    }
}

async fn list(context: &Context, options: &Routes) -> Result<(), Failure> {
    let project = options.project.as_deref();
    let query: Vec<(&str, &str)> = project.map(|name| ("project", name)).into_iter().collect();
    let list: RouteList = context
        .client
        .query(paths::ROUTES, &query)
        .await
        .map_err(|error| Failure::of("routes", &error))?;
    out(&shown(&list, context.output, context.screen.columns)?)?;
    match options.watch {
        true => watch::run(context, project, list).await,
        false => Ok(()),
    }
}

/// The list in the form that was asked for; `columns` is the width of the terminal, if it is one.
pub(super) fn shown(
    list: &RouteList,
    output: Output,
    columns: Option<usize>,
) -> Result<String, Failure> {
    if let Some(text) = output.list(list, &list.items)? {
        return Ok(text);
    }
    if output == Output::Name {
        return Ok(list.items.iter().map(name).collect());
    }
    Ok(Columns::of(list, output, columns).head(list))
}

fn name(route: &RouteView) -> String {
    format!("{}{}\n", route.host, route.path)
}

async fn explain(context: &Context, options: Explain) -> Result<(), Failure> {
    let method = options.method.to_ascii_uppercase();
    let mut query = vec![("url", options.url.as_str()), ("method", method.as_str())];
    query.extend(options.headers.iter().map(|h| ("header", h.as_str())));
    let told: Explanation = context
        .client
        .query(paths::ROUTES_EXPLAIN, &query)
        .await
        .map_err(|error| Failure::of(&format!("explain {:?}", options.url), &error))?;
    out(&match context.output.document(&told)? {
        Some(text) => text,
        None if context.output == Output::Name => format!("{}\n", taken(&told)),
        None => words(&told),
    })
}

/// The rule that takes a request, as PROJECT/INGRESS.
fn taken(told: &Explanation) -> String {
    let rule = told.rules.iter().find(|r| r.verdict == RuleVerdict::Taken);
    rule.map_or_else(
        || "<none>".to_owned(),
        |rule| format!("{}/{}", told.project, rule.ingress),
    )
}

fn words(told: &Explanation) -> String {
    let matched = match told.matched.as_str() {
        "" => "<none>".to_owned(),
        matched => format!("{matched} of project {}", told.project),
    };
    let mut text = format!(
        "Host:   {} -> {matched}\nPath:   {}\n",
        told.host, told.path
    );
    if !told.rules.is_empty() {
        text.push_str("Rules:\n");
    }
    for rule in &told.rules {
        let verdict = match rule.verdict {
            RuleVerdict::Taken => "takes it",
            RuleVerdict::Refused => rule.reason.as_str(),
            RuleVerdict::NotAsked => "not asked, a more specific rule took it",
        };
        let mark = if rule.verdict == RuleVerdict::Taken {
            '*'
        } else {
            ' '
        };
        text.push_str(&format!(
            "{mark} {} ({}): {verdict}\n",
            rule.ingress, rule.takes
        ));
    }
    text.push_str("Then:\n");
    for (step, number) in told.steps.iter().zip(1..) {
        text.push_str(&format!("  {number}. {step}\n"));
    }
    text
}

/// The names of all columns.
const HEADER: [&str; 7] = [
    "HOST",
    "PATH",
    "HEADERS",
    "INGRESS",
    "TO",
    "STATE",
    "ENDPOINTS",
];

/// A table of routes that is written bit by bit.
struct Columns {
    shown: [bool; HEADER.len()],
    layout: Layout,
}

impl Columns {
    fn of(list: &RouteList, output: Output, columns: Option<usize>) -> Self {
        let is_wide = output == Output::Wide;
        // Without them, rules that differ in headers alone look the same.
        let has_headers = is_wide || list.items.iter().any(|route| !route.headers.is_empty());
        let shown = [true, true, has_headers, is_wide, true, true, true];
        let header = HEADER.into_iter().zip(shown);
        let header = header.filter_map(|(name, is_shown)| is_shown.then_some(name));
        let columns = columns.filter(|_| !is_wide);
        Self {
            shown,
            layout: Layout::new(header.collect(), columns),
        }
    }

    fn cells(&self, route: &RouteView) -> Vec<String> {
        let cells = row(route).into_iter().zip(self.shown);
        cells
            .filter_map(|(cell, is_shown)| is_shown.then_some(cell))
            .collect()
    }

    fn head(&mut self, list: &RouteList) -> String {
        let rows: Vec<Vec<String>> = list.items.iter().map(|r| self.cells(r)).collect();
        self.layout.head(&rows)
    }

    fn more(&mut self, route: &RouteView) -> String {
        let row = self.cells(route);
        self.layout.more(&[row])
    }
}

fn row(route: &RouteView) -> Vec<String> {
    let to = match route.action {
        RouteAction::Forward | RouteAction::Passthrough | RouteAction::Stream => {
            let targets = route
                .targets
                .iter()
                .map(|target| match route.targets.len() {
                    1 => format!("{}/{}", route.project, target.service),
                    _ => format!("{}/{}:{}", route.project, target.service, target.weight),
                });
            targets.collect::<Vec<_>>().join(",")
        }
        RouteAction::Redirect => format!("{} ({})", route.to, number(route.status)),
        RouteAction::Respond => format!("answer {}", number(route.status)),
    };
    let mut states: Vec<&str> = route.notes.iter().map(String::as_str).collect();
    for target in &route.targets {
        if !states.contains(&target.state.as_str()) {
            states.push(&target.state);
        }
    }
    let state = match states.is_empty() {
        true => "Ready".to_owned(),
        false => states.join(","),
    };
    let endpoints: Vec<&str> = route
        .targets
        .iter()
        .flat_map(|target| target.endpoints.iter().map(String::as_str))
        .collect();
    vec![
        route.host.clone(),
        route.path.clone(),
        route.headers.join(", "),
        route.ingress.clone(),
        to,
        state,
        endpoints.join(","),
    ]
}

fn number(status: Option<u16>) -> String {
    status.map_or_else(String::new, |status| status.to_string())
}

#[cfg(test)]
mod tests {
    use cara_api::explanation::ConsideredRule;
    use cara_api::route::RouteTarget;

    use super::*;

    fn target(service: &str, weight: u32, state: &str) -> RouteTarget {
        RouteTarget {
            service: service.into(),
            weight,
            state: state.into(),
            endpoints: match state {
                "Ready" => vec!["10.0.0.1:80".into()],
                _ => Vec::new(),
            },
        }
    }

    #[test]
    fn routes_are_shown_in_columns() {
        let view = RouteView {
            host: "a.x".into(),
            project: "shop".into(),
            ingress: "main".into(),
            ..RouteView::default()
        };
        let mut list = RouteList {
            revision: "1".into(),
            items: vec![
                RouteView {
                    path: "/old/*".into(),
                    action: RouteAction::Redirect,
                    to: "/new".into(),
                    status: Some(308),
                    ..view.clone()
                },
                RouteView {
                    path: "/*".into(),
                    targets: vec![target("web", 9, "Ready"), target("beta", 1, "Pending")],
                    notes: vec!["Paused".into()],
                    headers: vec!["x-a: 1".into()],
                    ..view
                },
            ],
        };
        assert_eq!(
            Columns::of(&list, Output::Table, None).head(&list),
            "HOST   PATH     HEADERS   TO                       STATE                  ENDPOINTS\n\
             a.x    /old/*             /new (308)               Ready\n\
             a.x    /*       x-a: 1    shop/web:9,shop/beta:1   Paused,Ready,Pending   10.0.0.1:80\n"
        );
        assert!(
            Columns::of(&list, Output::Wide, None)
                .head(&list)
                .contains("INGRESS")
        );
        list.items.truncate(1);
        assert_eq!(
            Columns::of(&list, Output::Table, None).head(&list),
            "HOST   PATH     TO           STATE   ENDPOINTS\n\
             a.x    /old/*   /new (308)   Ready\n"
        );
    }

    #[test]
    fn an_explanation_is_told_in_words() {
        let rule = |ingress: &str, verdict, reason: &str| ConsideredRule {
            ingress: ingress.into(),
            takes: "all paths".into(),
            verdict,
            reason: reason.into(),
        };
        let told = Explanation {
            host: "a.x".into(),
            path: "/".into(),
            matched: "*.x".into(),
            project: "shop".into(),
            rules: vec![
                rule("canary", RuleVerdict::Refused, "there is no header x"),
                rule("web", RuleVerdict::Taken, ""),
                rule("rest", RuleVerdict::NotAsked, ""),
            ],
            steps: vec!["needs a password".into(), "forwarded".into()],
        };
        assert_eq!(taken(&told), "shop/web");
        assert_eq!(
            words(&told),
            "Host:   a.x -> *.x of project shop\nPath:   /\nRules:\n\
             \x20 canary (all paths): there is no header x\n\
             * web (all paths): takes it\n\
             \x20 rest (all paths): not asked, a more specific rule took it\n\
             Then:\n\x20 1. needs a password\n\x20 2. forwarded\n"
        );
    }
}
