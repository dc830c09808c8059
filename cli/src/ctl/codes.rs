//! The codes of errors: what each means and how to mend it, for `explain` and the documentation.
//!
//! A code never changes its meaning and is never given to another; it is what scripts and
//! searches hold on to while messages get better.

/// A code, with what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `E-` and capital letters.
    pub id: &'static str,
    /// What happened, in a sentence.
    pub means: &'static str,
    /// What to do about it.
    pub mend: &'static [&'static str],
}

macro_rules! codes {
    ($($name:ident $id:literal $means:literal [$($mend:literal),+ $(,)?];)+) => {
        $(#[doc = $means] pub static $name: Code = Code { id: $id, means: $means, mend: &[$($mend),+] };)+
        /// All codes, by name.
        pub static ALL: &[&Code] = &[$(&$name),+];
    };
}

codes! {
    BAD_ANSWER "E-BAD-ANSWER" "The server's answer could not be read." [
        "Client and server may be of different versions: caractrl version shows both.",
        "Something between them, such as a proxy, may have changed the answer.",
    ];
    BLOCKED "E-BLOCKED" "Projects are left on a node that should be empty." [
        "The lines below the error name each project, why it stays, and the command that lets it go.",
        "Volumes keep projects where their data is: see \"Taking a node away\" in docs/guide.md.",
    ];
    CHANGED "E-CHANGED" "Somebody else changed the object at the same time; nothing was overwritten." [
        "Read it again (caractrl get KIND NAME -o yaml), repeat your change, and apply it again.",
    ];
    CONFLICT "E-CONFLICT" "What was asked for does not go together with what is there." [
        "The message says with what; change or delete that first.",
    ];
    CONSENT "E-CONSENT" "This deletes services, hostnames or data, and there is no terminal to ask." [
        "Read the plan that was printed; when it is what you want, add --yes.",
        "Scripts that only create and replace need no flag.",
    ];
    CONTAINER_EXITED "E-CONTAINER-EXITED" "A container ended and should not have." [
        "The last lines of its log are shown with the error; caractrl logs PROJECT/SERVICE shows all.",
        "A job that may end needs restartPolicy: OnFailure or Never.",
        "A service that waits for another one needs dependsOn with condition: Ready.",
    ];
    DECLINED "E-DECLINED" "You were asked, and did not say yes; nothing was changed." [
        "Answer y, or add --yes.",
    ];
    EXISTS "E-EXISTS" "There is an object of that name already." [
        "Use another name, or change the one that is there with caractrl apply.",
    ];
    FAILED "E-FAILED" "The command failed, for a reason that only its message tells." [
        "If the message does not help, run caractrl version, and look at the server's log.",
    ];
    FILE "E-FILE" "A file cannot be read." [
        "Check its path and its permissions; - stands for standard input.",
    ];
    FORBIDDEN "E-FORBIDDEN" "You are known, and may not do that." [
        "Ask somebody who administers the server for a role that allows it.",
    ];
    HOST_TAKEN "E-HOST-TAKEN" "A hostname or port is used by another project already." [
        "caractrl routes shows who serves it; choose another one, or delete that rule first.",
    ];
    IMAGE_PULL "E-IMAGE-PULL" "An image cannot be pulled." [
        "Check its name and tag; pull it by hand on the node to see the registry's answer.",
        "A private registry needs docker login on the node, for the user of the agent.",
    ];
    IN_USE "E-IN-USE" "The object is used by others, or something is still bound to it." [
        "caractrl describe KIND NAME shows by whom; change or delete those first.",
        "--force deletes it all the same, and says what that breaks.",
    ];
    INVALID "E-INVALID" "The document breaks the rules." [
        "Every fault is listed with its field, and with line and column when it came from a file.",
        "caractrl explain KIND.FIELD tells what a field takes, for example: caractrl explain project.spec.services.",
    ];
    NAME_COLLISION "E-NAME-COLLISION" "A container, network or volume of that name belongs to somebody else." [
        "Remove it from the node, or choose another name for the project.",
    ];
    NO_ANSWER "E-NO-ANSWER" "The server took the call, and did not answer in time." [
        "It may be under load, or its disk may be slow: look at its log and its metrics.",
        "Calls that change something may have come through: read the object before you repeat them.",
    ];
    NO_CAPACITY "E-NO-CAPACITY" "No node can take the project." [
        "The message tells, node by node, what is missing.",
        "Ask for less (resources.requests), add a node, or open one: caractrl get nodes -o wide shows who is closed.",
    ];
    NO_KEYS "E-NO-KEYS" "There is no room for a new idempotency key; nothing was done." [
        "Send the request without Idempotency-Key, as caractrl does by itself, or try again later.",
    ];
    NOT_FOUND "E-NOT-FOUND" "There is no such object." [
        "caractrl get KIND lists those that there are.",
    ];
    NOT_LOGGED_IN "E-NOT-LOGGED-IN" "The server does not know who you are." [
        "Log in again, or check the token that you gave: it may have expired.",
    ];
    NOT_READY "E-NOT-READY" "A service did not become ready in time." [
        "caractrl describe project NAME shows the check that fails; caractrl logs PROJECT/SERVICE what the service says.",
        "A slow start needs a startup check with a higher failureThreshold.",
    ];
    NOT_THE_API "E-NOT-THE-API" "Something else than the API answered, such as a web page, or the gateway." [
        "Check the address that --server or CARA_SERVER names: the API has a port of its own.",
    ];
    ROLLED_BACK "E-ROLLED-BACK" "The change failed; the generation before keeps running." [
        "The message and the lines below it say why it failed.",
        "Correct the document and apply it again; the same document once more is another try.",
    ];
    SERVER "E-SERVER" "The server failed." [
        "Its log tells why; look for the id of the request that the message names.",
    ];
    TIMED_OUT "E-TIMED-OUT" "What was waited for did not happen in time; it may still happen." [
        "caractrl describe shows how far it is; --timeout waits longer.",
    ];
    TOO_MANY "E-TOO-MANY" "Too many requests; the server asks to slow down." [
        "Wait a moment, and try again.",
    ];
    UNAVAILABLE "E-UNAVAILABLE" "The server is there and cannot serve now." [
        "It may be starting, or its store may not answer: try again, then look at its log.",
    ];
    UNHEALTHY "E-UNHEALTHY" "A project failed." [
        "caractrl describe project NAME shows its services, conditions and events.",
    ];
    UNREACHABLE "E-UNREACHABLE" "Nobody answers at the server's address." [
        "Is the server running, and is the address right? Name it with --server or CARA_SERVER.",
        "A firewall, or a proxy of this machine (HTTP_PROXY), may stand between.",
    ];
    USAGE "E-USAGE" "The command line is wrong." [
        "Add --help to the command to see what it takes.",
    ];
    YAML "E-YAML" "A file is not a document that can be applied." [
        "The message names line and column; tabs, and values that need quotes, are the usual reasons.",
        "Each document needs kind (Project, Node, Secret, Certificate, User or Federation) and metadata.name.",
    ];
}

/// The code of that name, in any case.
pub fn find(id: &str) -> Option<&'static Code> {
    ALL.iter().find(|c| c.id.eq_ignore_ascii_case(id)).copied()
}

/// The code for the reason of a condition or event.
pub fn of_reason(reason: &str) -> &'static Code {
    match reason {
        "ImagePullFailed" => &IMAGE_PULL,
        "ContainerExited" => &CONTAINER_EXITED,
        "NameCollision" => &NAME_COLLISION,
        "NotReady" => &NOT_READY,
        _ => &UNHEALTHY,
    }
}

/// The code for an answer of the server with that status and text.
pub fn of_status(status: u16, detail: &str) -> &'static Code {
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    match status {
        400 | 413 | 422 => &INVALID,
        401 => &NOT_LOGGED_IN,
        403 => &FORBIDDEN,
        404 => &NOT_FOUND,
        409 | 412 if says(&["is already used by"]) => &HOST_TAKEN,
        409 | 412 if says(&["still assigned", "is used by", "force=true"]) => &IN_USE,
        409 | 412 if says(&["already exists"]) => &EXISTS,
        409 | 412 if says(&["resourceVersion", "by others at the same time"]) => &CHANGED,
        409 | 412 => &CONFLICT,
        429 => &TOO_MANY,
        503 => &UNAVAILABLE,
        500.. => &SERVER,
        _ => &FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unlike_each_other() {
        let ids: Vec<&str> = ALL.iter().map(|code| code.id).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(ids, sorted);
        for code in ALL {
            assert!(code.id.starts_with("E-"), "{}", code.id);
            assert!(code.means.ends_with('.'), "{}", code.id);
        }
        assert_eq!(find("e-not-found"), Some(&NOT_FOUND));
        assert_eq!(find("E-GHOST"), None);
    }

    #[test]
    fn codes_of_the_api_are_explained() {
        for id in cara_api::problem::code::ALL {
            assert!(find(id).is_some(), "{id}");
        }
        for status in [400, 401, 403, 404, 409, 413, 418, 422, 429, 500, 502, 503] {
            let id = cara_api::problem::code::of_status(status);
            assert_eq!(of_status(status, "").id, id, "{status}");
        }
    }

    #[test]
    fn a_conflict_says_which_one_it_is() {
        for (detail, expected) in [
            ("project a: resource already exists", &EXISTS),
            (
                "cannot delete node \"b\": 2 project(s) still assigned: resource already exists",
                &IN_USE,
            ),
            ("host x is already used by project y", &HOST_TAKEN),
            (
                "secret \"a\" is used by b/web: change or delete them first",
                &IN_USE,
            ),
            (
                "project \"a\" has resourceVersion 3, not 2: read it again",
                &CHANGED,
            ),
            ("project \"a\" is being deleted", &CONFLICT),
        ] {
            assert_eq!(of_status(409, detail), expected, "{detail}");
        }
        assert_eq!(of_status(503, ""), &UNAVAILABLE);
        assert_eq!(of_status(500, ""), &SERVER);
        assert_eq!(of_status(418, ""), &FAILED);
    }
}
