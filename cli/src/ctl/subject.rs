//! Which project and services a command is about.
//!
//! Words name them, as PROJECT/SERVICE or PROJECT SERVICE. Where the context or `CARA_PROJECT`
//! has a default project, a word that is one of its services means that service, and no word at
//! all means the project. What is deleted is always named.

use cara_api::{Project, paths};

use super::Context;
use super::failure::Failure;

/// A project, and some of its services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The project.
    pub project: String,
    /// The services that are named; none when none is.
    pub services: Vec<String>,
}

/// The project that is meant where none is named.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    /// Its name.
    pub project: &'a str,
    /// The names of its services.
    pub services: &'a [String],
}

/// What words mean.
///
/// # Errors
/// They name nothing, or are no names; in words.
pub fn resolve(words: &[String], home: Option<Home<'_>>) -> Result<Subject, String> {
    let Some((first, rest)) = words.split_first() else {
        return project(None, home.map(|home| home.project)).map(|project| Subject {
            project,
            services: Vec::new(),
        });
    };
    let subject = match (first.split_once('/'), home) {
        (Some((project, service)), _) => Subject {
            project: project.to_owned(),
            services: std::iter::once(service.to_owned())
                .chain(rest.iter().cloned())
                .collect(),
        },
        (None, Some(home)) if home.services.contains(first) => Subject {
            project: home.project.to_owned(),
            services: words.to_vec(),
        },
        (None, _) => Subject {
            project: first.clone(),
            services: rest.to_vec(),
        },
    };
    let is_odd = |service: &String| service.is_empty() || service.contains('/');
    if subject.project.is_empty() || subject.services.iter().any(is_odd) {
        return Err(format!(
            "invalid target {first:?}: expected <project>/<service>, or <project> and services"
        ));
    }
    Ok(subject)
}

/// The project that is named, else the default one.
///
/// # Errors
/// There is neither; in words.
pub fn project(named: Option<&str>, home: Option<&str>) -> Result<String, String> {
    named.or(home).map(str::to_owned).ok_or_else(|| {
        "which project? name it, or set one for all commands: CARA_PROJECT=PROJECT, or caractrl context set NAME --project PROJECT"
            .to_owned()
    })
}

impl Context {
    /// What words mean here.
    ///
    /// # Errors
    /// They name nothing, or the server does not answer.
    pub async fn subject(&self, words: &[String]) -> Result<Subject, Failure> {
        let home = self.project.as_deref();
        // Only a word alone may be a service of the default project.
        let is_asked = words.first().is_some_and(|word| !word.contains('/'));
        let services = match home {
            Some(home) if is_asked => self.services(home).await?,
            Some(_) | None => Vec::new(),
        };
        let home = home.map(|project| Home {
            project,
            services: &services,
        });
        resolve(words, home).map_err(Failure::usage)
    }

    /// The project that is named, else the default one.
    ///
    /// # Errors
    /// There is neither.
    pub fn project_or(&self, named: Option<String>) -> Result<String, Failure> {
        project(named.as_deref(), self.project.as_deref()).map_err(Failure::usage)
    }

    /// The services of the default project; none when it is not there, or not to be seen.
    async fn services(&self, home: &str) -> Result<Vec<String>, Failure> {
        let found: Result<Project, _> =
            self.client.get(&paths::fill(paths::PROJECT, &[home])).await;
        match found {
            Ok(found) => Ok(found.spec.services.into_iter().map(|s| s.name).collect()),
            Err(error) if matches!(error.status(), Some(403 | 404)) => Ok(Vec::new()),
            Err(error) => Err(Failure::of(&format!("get project {home:?}"), &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_a_project_and_services() {
        let services = ["web".to_owned(), "db".to_owned()];
        let home = Home {
            project: "shop",
            services: &services,
        };
        for (words, home, expected) in [
            ("blog", None, "blog:"),
            ("blog/api", None, "blog: api"),
            ("blog api db", None, "blog: api db"),
            ("blog/api db", None, "blog: api db"),
            ("web", None, "web:"),
            ("web", Some(home), "shop: web"),
            ("web db", Some(home), "shop: web db"),
            ("shop", Some(home), "shop:"),
            ("blog", Some(home), "blog:"),
            ("blog web", Some(home), "blog: web"),
            ("web/web", Some(home), "web: web"),
            ("", Some(home), "shop:"),
            ("", None, "which project?"),
            ("blog/", None, "invalid target"),
            ("/web", Some(home), "invalid target"),
            ("a/b/c", None, "invalid target"),
        ] {
            let split: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            let shown = match resolve(&split, home) {
                Ok(found) => format!("{}: {}", found.project, found.services.join(" ")),
                Err(said) => said,
            };
            let shown = shown.trim_end();
            match expected {
                "which project?" | "invalid target" => assert!(shown.starts_with(expected)),
                _ => assert_eq!(shown, expected, "{words:?}"),
            }
        }
    }
}
