//! Limits, times, balancing, headers and what browsers are told.

use serde_json::{Value, json};

use super::{each, sound};

#[test]
fn limits_and_traffic() {
    sound(&[
        json!({"limits": {"body": "10Mi", "perClient": {"requests": 10, "per": "1m", "burst": 20},
            "total": {"requests": 1000}, "inFlight": 50, "queue": 10, "queueTimeout": "2s"}}),
        json!({"timeouts": {"connect": "500ms", "response": "2m", "idle": "1h"}}),
        json!({"retries": {"attempts": 5, "budgetPercent": 100, "onStatus": [502, 503, 504]}}),
        json!({"balance": {"sticky": {"cookie": "__Host-a", "maxAge": "1h"}, "outlier": {"failures": 3, "ejection": "30s"},
            "healthCheck": {"path": "/up?deep=1", "interval": "5s", "timeout": "1s", "failures": 2, "successes": 2}, "slowStart": "30s"}}),
        json!({"maintenance": {"message": "Back at noon.", "allow": ["10.0.0.1"]}, "pause": {"maxWait": "1m", "maxRequests": 10}}),
        json!({"compression": false, "noIndex": true}),
    ]);
    each(&[
        (
            json!({"limits": {"body": "lots"}}),
            "limits.body",
            "is not a size",
        ),
        (
            json!({"limits": {"body": "1m"}}),
            "limits.body",
            "at least one byte",
        ),
        (
            json!({"limits": {"body": "-1"}}),
            "limits.body",
            "is not a size",
        ),
        (
            json!({"limits": {"perClient": {}}}),
            "limits.perClient.requests",
            "is required",
        ),
        (
            json!({"limits": {"total": {"requests": -1}}}),
            "limits.total.requests",
            "from 1 to",
        ),
        (
            json!({"limits": {"total": {"requests": 1, "per": "10ms"}}}),
            "limits.total.per",
            "must be from 100ms",
        ),
        (
            json!({"limits": {"inFlight": -5}}),
            "limits.inFlight",
            "from 1 to",
        ),
        (
            json!({"limits": {"queue": 5}}),
            "limits.queue",
            "limits.inFlight",
        ),
        (
            json!({"limits": {"queueTimeout": "1s"}}),
            "limits.queueTimeout",
            "limits.inFlight",
        ),
        (
            json!({"timeouts": {"connect": "5"}}),
            "timeouts.connect",
            "is not a duration",
        ),
        (
            json!({"timeouts": {"connect": "2m"}}),
            "timeouts.connect",
            "to 60s",
        ),
        (
            json!({"timeouts": {"response": "0s"}}),
            "timeouts.response",
            "from 1ms",
        ),
        (
            json!({"retries": {"attempts": 6}}),
            "retries.attempts",
            "from 1 to 5",
        ),
        (
            json!({"retries": {"budgetPercent": 101}}),
            "retries.budgetPercent",
            "from 1 to 100",
        ),
        (
            json!({"retries": {"onStatus": [500]}}),
            "retries.onStatus[0]",
            "must be 502, 503 or 504",
        ),
        (
            json!({"balance": {"sticky": {"cookie": "a=b"}}}),
            "balance.sticky.cookie",
            "is invalid",
        ),
        (
            json!({"balance": {"outlier": {"failures": -1}}}),
            "balance.outlier.failures",
            "from 1 to",
        ),
        (
            json!({"balance": {"healthCheck": {}}}),
            "balance.healthCheck.path",
            "must begin with '/'",
        ),
        (
            json!({"balance": {"healthCheck": {"path": "/", "interval": "1ms"}}}),
            "balance.healthCheck.interval",
            "from 100ms",
        ),
        (
            json!({"balance": {"slowStart": "2h"}}),
            "balance.slowStart",
            "to 3600s",
        ),
        (
            json!({"maintenance": {"message": "a\nb"}}),
            "maintenance.message",
            "one sentence",
        ),
        (
            json!({"maintenance": {"allow": ["here"]}}),
            "maintenance.allow[0]",
            "is not a network",
        ),
        (
            json!({"pause": {"maxWait": "1h"}}),
            "pause.maxWait",
            "to 600s",
        ),
        (
            json!({"pause": {"maxRequests": 100_001}}),
            "pause.maxRequests",
            "to 100000",
        ),
    ]);
}

#[test]
fn headers_and_cors() {
    sound(&[
        json!({"requestHeaders": {"remove": ["Cookie"], "set": {"X-Team": "blue"}, "add": {"Via": "1.1 gate"}}}),
        json!({"responseHeaders": {"set": {"Cache-Control": "no-store", "X-Cara-Test": ""}, "remove": ["server"]}}),
        json!({"cors": {"origins": ["*"], "methods": ["PUT"], "headers": ["*"], "maxAge": "0s"}}),
        json!({"cors": {"origins": ["https://app.example.com", "http://localhost:3000"], "credentials": true, "expose": ["X-Total"]}}),
    ]);
    let request = |rules: Value| json!({"requestHeaders": rules});
    let response = |rules: Value| json!({"responseHeaders": rules});
    each(&[
        (
            request(json!({"remove": ["Host"]})),
            "requestHeaders.remove[0]",
            "cannot be changed",
        ),
        (
            request(json!({"set": {"X-Forwarded-For": "1"}})),
            "requestHeaders.set[\"X-Forwarded-For\"]",
            "set by the gateway",
        ),
        (
            request(json!({"add": {"x-cara-user": "root"}})),
            "requestHeaders.add[\"x-cara-user\"]",
            "set by the gateway",
        ),
        (
            request(json!({"set": {"a b": "1"}})),
            "requestHeaders.set[\"a b\"]",
            "is invalid",
        ),
        (
            request(json!({"set": {"A": "1", "a": "2"}})),
            "requestHeaders.set[\"a\"]",
            "named twice",
        ),
        (
            response(json!({"set": {"Content-Length": "1"}})),
            "responseHeaders.set[\"Content-Length\"]",
            "cannot be changed",
        ),
        (
            response(json!({"add": {"Transfer-Encoding": "chunked"}})),
            "responseHeaders.add[\"Transfer-Encoding\"]",
            "cannot be changed",
        ),
        (
            response(json!({"set": {"X-A": "1\r\nX-B: 2"}})),
            "responseHeaders.set[\"X-A\"]",
            "control characters",
        ),
        (
            response(json!({"remove": [""]})),
            "responseHeaders.remove[0]",
            "is invalid",
        ),
        (json!({"cors": {}}), "cors.origins", "at least one origin"),
        (
            json!({"cors": {"origins": ["*"], "credentials": true}}),
            "cors.credentials",
            "name the origins",
        ),
        (
            json!({"cors": {"origins": ["*", "https://a.example.com"]}}),
            "cors.origins",
            "leave out the others",
        ),
        (
            json!({"cors": {"origins": ["https://a.example.com/"]}}),
            "cors.origins[0]",
            "without path",
        ),
        (
            json!({"cors": {"origins": ["a.example.com"]}}),
            "cors.origins[0]",
            "without path",
        ),
        (
            json!({"cors": {"origins": ["*"], "methods": ["GET POST"]}}),
            "cors.methods[0]",
            "is invalid",
        ),
        (
            json!({"cors": {"origins": ["*"], "maxAge": "48h"}}),
            "cors.maxAge",
            "must be from",
        ),
    ]);
}
