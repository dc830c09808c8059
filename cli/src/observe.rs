//! Settings about what the gateway tells of requests: access log and traces.

use cara_gateway::{LogRules, Ratio, Redact, TraceConfig};

use crate::settings::{Reader, Setting, WEB};

/// The part of requests that is logged.
pub const ACCESS_LOG_SAMPLE: Setting = Setting {
    key: "access-log-sample",
    value: "SHARE",
    default: "1.0",
    help: "Part of the requests that the access log names, from 0 to 1; those that failed (status 500 and above, or no answer) or were slow are always there",
};

/// What slow means.
pub const ACCESS_LOG_SLOW: Setting = Setting {
    key: "access-log-slow",
    value: "DURATION",
    default: "1s",
    help: "Requests that took as long are always in the access log",
};

/// What is left out of URLs.
pub const ACCESS_LOG_REDACT: Setting = Setting {
    key: "access-log-redact",
    value: "NAMES",
    default: Redact::DEFAULT,
    help: "Query parameters, separated by commas, whose values are replaced by *** in the access log, in traces and in caractrl tail",
};

/// Headers that are logged.
pub const ACCESS_LOG_HEADERS: Setting = Setting {
    key: "access-log-headers",
    value: "NAMES",
    default: "",
    help: "Headers that lines of the access log also name: user-agent, referer or both, separated by a comma; none if not given",
};

/// Where traces go.
pub const OTLP_ENDPOINT: Setting = Setting {
    key: "otlp-endpoint",
    value: "URL",
    default: "",
    help: "Collector for traces (OTLP over HTTP), such as http://localhost:4318; no traces are made if not given",
};

/// The part of requests that is traced.
pub const TRACE_SAMPLE: Setting = Setting {
    key: "trace-sample",
    value: "SHARE",
    default: "0.01",
    help: "Part of the requests whose traces are kept, from 0 to 1",
};

/// Who decides what is kept.
pub const TRACE_FOLLOW_PARENT: Setting = Setting {
    key: "trace-follow-parent",
    value: "BOOL",
    default: "false",
    help: "Requests that come with a trace (traceparent) are kept if, and only if, their sender keeps it; set it only behind a proxy of your own, since clients can send what they like",
};

const SHARE: &str = "a number from 0 to 1";

/// Reads what the access log says.
pub fn log_rules(reader: &mut Reader) -> LogRules {
    let headers = reader.with("access-log-headers", |text| {
        let names = text.split(',').map(|name| name.trim().to_ascii_lowercase());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        let is_known = |name: &String| matches!(name.as_str(), "user-agent" | "referer");
        match names.iter().all(is_known) {
            true => Ok(names),
            false => Err("must be user-agent, referer or both"),
        }
    });
    let headers = headers.unwrap_or_default();
    LogRules {
        sample: reader.value("access-log-sample", SHARE, Ratio::ALL),
        slow: reader.duration("access-log-slow"),
        redact: reader.value("access-log-redact", "names", Redact::default()),
        user_agent: headers.iter().any(|name| name == "user-agent"),
        referer: headers.iter().any(|name| name == "referer"),
    }
}

/// Reads where traces go, if they do.
pub fn traces(reader: &mut Reader) -> Option<TraceConfig> {
    let sample = reader.value("trace-sample", SHARE, Ratio::NONE);
    let follows_parent = reader.switch("trace-follow-parent");
    let endpoint = reader.url("otlp-endpoint", &WEB, "http://localhost:4318");
    Some(TraceConfig {
        endpoint: endpoint?,
        sample,
        follows_parent,
    })
}
