//! Plans that are shown, and the question before a change that replaces or destroys.
//!
//! | what the plan does | somebody to ask | nobody to ask |
//! |---|---|---|
//! | creates, or changes in place | goes on | goes on |
//! | replaces containers, or a hostname by another | asks | goes on |
//! | deletes services, ingress rules, or data that lasts | asks | refuses with exit code 2 |
//!
//! `--yes` always goes on. Scripts that create and update need no flag; what cannot be undone
//! does. What several objects become is shown together, and asked about once.

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
    /// What is said only beside something that asks.
    aside: Vec<String>,
}

impl Intent {
    /// What happens, and how much it asks.
    pub fn new(weight: Weight, lines: Vec<String>) -> Self {
        Self {
            lines,
            weight,
            aside: Vec::new(),
        }
    }

    /// The intent for an object that is made, kept, changed or replaced as a whole.
    pub fn whole(object: &str, fate: Fate, because: &[String], paint: Paint) -> Self {
        let reasons = match because {
            [] => String::new(),
            because => format!(": {}", because.join(", ")),
        };
        let line = signed(
            fate,
            paint,
            &format!("{:<7} {object}{reasons}", fate.as_str()),
        );
        let weight = match fate {
            Fate::Keep | Fate::Create => Weight::Harmless,
            Fate::Update | Fate::Replace => Weight::Replaces,
            Fate::Delete => Weight::Destroys,
        };
        match weight {
            Weight::Harmless => Self {
                aside: vec![line],
                ..Self::new(weight, Vec::new())
            },
            Weight::Replaces | Weight::Destroys => Self::new(weight, vec![line]),
        }
    }

    /// The intent of a plan for an object, such as `project/shop`.
    pub fn of(object: &str, plan: &Plan, paint: Paint) -> Self {
        let weight = plan.weight();
        let mut lines = Vec::new();
        let mut aside = Vec::new();
        // What is only added is told in a word.
        if plan.steps.iter().any(|step| step.fate > Fate::Create) {
            lines.push(format!("{object}:"));
            lines.extend(
                plan.steps
                    .iter()
                    .map(|step| format!("  {}", line(step, paint))),
            );
        } else {
            let fate = plan.steps.iter().map(|step| step.fate).max();
            let fate = fate.unwrap_or(Fate::Keep);
            let text = format!("{:<7} {object}", fate.as_str());
            aside.push(signed(fate, paint, &text));
        }
        Self {
            lines,
            weight,
            aside,
        }
    }
}

fn line(step: &Step, paint: Paint) -> String {
    signed(step.fate, paint, &step.to_string())
}

fn signed(fate: Fate, paint: Paint, text: &str) -> String {
    let (sign, tone) = match fate {
        Fate::Keep => ("=", Tone::Aside),
        Fate::Create => ("+", Tone::Good),
        Fate::Update => ("~", Tone::Good),
        Fate::Replace => ("~", Tone::Warning),
        Fate::Delete => ("-", Tone::Bad),
    };
    paint.text(tone, &format!("{sign} {text}"))
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
    let all: Vec<&Intent> = intents.iter().collect();
    show(&all);
    let weight = weight(&all);
    match decide(weight, consent, context.screen.asks) {
        Decision::Go => Ok(()),
        Decision::Refuse => Err(Failure::usage(
            "nothing was changed: this deletes services, hostnames or data, and there is no terminal to ask",
        )
        .coded(&codes::CONSENT)
        .with("--yes does it without asking")),
        Decision::Ask => match ask(question) {
            true => Ok(()),
            false => Err(Failure::other("nothing was changed").coded(&codes::DECLINED)),
        },
    }
}

/// Shows what is going to happen, or would.
pub fn show(intents: &[&Intent]) {
    let is_harmless = weight(intents) == Weight::Harmless;
    for intent in intents {
        let aside = intent.aside.iter().filter(|_| !is_harmless);
        for line in intent.lines.iter().chain(aside) {
            tell(format_args!("{line}"));
        }
    }
}

fn weight(intents: &[&Intent]) -> Weight {
    let weights = intents.iter().map(|intent| intent.weight);
    weights.max().unwrap_or(Weight::Harmless)
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
