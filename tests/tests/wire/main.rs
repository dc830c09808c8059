//! The wire: what the older system was recorded to answer, held against what this server answers.
//!
//! The cases are data, in `golden/*.yaml`, and run in order. `recorded` is the older system's
//! answer. Where ours is another one on purpose, the case says why (`differs`, a key of
//! `golden/reasons.yaml`) and what ours is (`ours`); `docs/compatibility.md` has to list it.
//! Steps without a case number (`setup`) bring this server to where the recording was.

mod cases;
mod compare;
mod document;
mod old_agent;
mod replay;
