//! Heads and bodies of plain requests and answers: what passes can be read in one way only.

#![no_main]

use cara_gateway::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::plain(bytes));
