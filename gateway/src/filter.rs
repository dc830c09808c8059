//! What rules do with requests and answers: read a head, change headers and targets, compress, allow
//! other origins. In which order, and to which request, is decided in `phases`.

pub(crate) mod compress;
pub(crate) mod cors;
pub(crate) mod head;
pub(crate) mod rules;
pub(crate) mod target;
pub(crate) mod vary;
