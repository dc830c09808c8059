//! Plans that are shown, and the question before a change that replaces or destroys.
//!
//! | what the plan does | somebody to ask | nobody to ask |
//! |---|---|---|
//! | creates, or changes in place | goes on | goes on |
//! | replaces containers | asks | goes on |
//! | deletes services, or data that lasts | asks | refuses with exit code 2 |
//!
//! `--yes` always goes on. Scripts that create and update need no flag; what cannot be undone
//! does.

use std::io::{BufRead, Write};

use cara_api::plan::{Fate, Plan, Step, Weight};

use super::args::Consent;
use super::codes;
use super::failure::Failure;
use super::screen::{Paint, Tone};
use super::{Context, tell};

/// What is going to happen, in words, and how much that asks of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Lines that say what happens; none when there is nothing to say.
    pub lines: Vec<String>,
    /// How much it asks of a user.
    pub weight: Weight,
}

impl Intent {
    /// The intent of a plan for an object, such as `project/shop`.
    pub fn of(object: &str, plan: &Plan, paint: Paint) -> Self {
        let weight = plan.weight();
        let mut lines = Vec::new();
        if weight > Weight::Harmless {
            lines.push(format!("{object}:"));
            lines.extend(
                plan.steps
                    .iter()
                    .map(|step| format!("  {}", line(step, paint))),
            );
        }
        Self { lines, weight }
    }
}

fn line(step: &Step, paint: Paint) -> String {
    let (sign, tone) = match step.fate {
        Fate::Keep => ("=", Tone::Aside),
        Fate::Create => ("+", Tone::Good),
        Fate::Update => ("~", Tone::Good),
        Fate::Replace => ("~", Tone::Warning),
        Fate::Delete => ("-", Tone::Bad),
    };
    paint.text(tone, &format!("{sign} {step}"))
}

/// Shows what is going to happen, and asks if there is somebody to ask.
///
/// # Errors
/// The user says no; or nobody can be asked about what cannot be undone.
pub fn obtain(
    context: &Context,
    consent: Consent,
    intents: &[Intent],
    question: &str,
) -> Result<(), Failure> {
    let weights = intents.iter().map(|intent| intent.weight);
    let weight = weights.max().unwrap_or(Weight::Harmless);
    for line in intents.iter().flat_map(|intent| &intent.lines) {
        tell(format_args!("{line}"));
    }
    match decide(weight, consent, context.screen.asks) {
        Decision::Go => Ok(()),
        Decision::Refuse => Err(Failure::usage(
            "nothing was changed: this deletes what cannot be brought back, and there is no terminal to ask",
        )
        .coded(&codes::CONSENT)
        .with("--yes does it without asking")),
        Decision::Ask => match ask(question) {
            true => Ok(()),
            false => Err(Failure::other("nothing was changed").coded(&codes::DECLINED)),
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Go,
    Ask,
    Refuse,
}

fn decide(weight: Weight, consent: Consent, is_there_somebody: bool) -> Decision {
    match (weight, is_there_somebody) {
        _ if consent.yes => Decision::Go,
        (Weight::Harmless, _) | (Weight::Replaces, false) => Decision::Go,
        (Weight::Replaces | Weight::Destroys, true) => Decision::Ask,
        (Weight::Destroys, false) => Decision::Refuse,
    }
}

/// Whether the user says yes; everything else means no.
fn ask(question: &str) -> bool {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    let said = answer.trim().to_ascii_lowercase();
    read.is_ok() && matches!(said.as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::plan::Part;

    #[test]
    fn what_cannot_be_undone_needs_somebody_or_a_flag() {
        let (yes, no) = (Consent { yes: true }, Consent { yes: false });
        for (weight, consent, is_there_somebody, expected) in [
            (Weight::Harmless, no, true, Decision::Go),
            (Weight::Harmless, no, false, Decision::Go),
            (Weight::Replaces, no, true, Decision::Ask),
            (Weight::Replaces, no, false, Decision::Go),
            (Weight::Destroys, no, true, Decision::Ask),
            (Weight::Destroys, no, false, Decision::Refuse),
            (Weight::Destroys, yes, false, Decision::Go),
            (Weight::Replaces, yes, true, Decision::Go),
        ] {
            let found = decide(weight, consent, is_there_somebody);
            assert_eq!(
                found, expected,
                "{weight:?} {consent:?} {is_there_somebody}"
            );
        }
    }

    #[test]
    fn a_plan_is_shown_when_it_touches_what_runs() {
        let step = |fate, name: &str| Step {
            fate,
            part: Part::Service,
            name: name.to_owned(),
            because: vec![],
        };
        let mut plan = Plan {
            steps: vec![step(Fate::Create, "web"), step(Fate::Keep, "db")],
        };
        let intent = |plan: &Plan| Intent::of("project/shop", plan, Paint::Plain).lines;
        assert_eq!(intent(&plan), Vec::<String>::new());
        plan.steps.push(step(Fate::Delete, "old"));
        assert_eq!(
            intent(&plan),
            [
                "project/shop:",
                "  + create  service web",
                "  = keep    service db",
                "  - delete  service old"
            ]
        );
    }
}
