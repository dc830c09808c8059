//! What a connection begins with, before anybody is trusted: PROXY headers and ClientHellos.

#![no_main]

use cara_gateway::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::proxy_header(bytes);
    fuzzing::client_hello(bytes);
});
