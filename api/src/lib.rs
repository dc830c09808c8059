//! The shared language of the system: wire types, their validation, and a typed HTTP client.
//!
//! Owns every type that crosses a process boundary, the paths of the HTTP API and the rules
//! that a document must meet. It refuses to know about storage, Docker and proxying, and does
//! no I/O except in [`client`] (feature `client`).
//!
//! Where to start: [`project`] for the main resource, [`agent`] for what control plane and
//! agents say to each other, [`gateway`] for what the edge is told.

pub mod access;
pub mod agent;
pub mod backup;
pub mod certificate;
#[cfg(feature = "client")]
pub mod client;
pub mod condition;
pub mod decode;
pub mod doctor;
pub mod event;
pub mod explanation;
pub mod gateway;
pub mod hostname;
pub mod image;
pub mod join;
pub mod list;
pub mod meta;
pub mod names;
pub mod network;
pub mod node;
pub mod once;
pub mod paths;
pub mod plan;
pub mod problem;
pub mod project;
pub mod quantity;
pub mod route;
pub mod schema;
pub mod secret;
pub mod selector;
pub mod share;
pub mod signing;
pub mod stream;
#[cfg(feature = "tail")]
pub mod tail;
pub mod validate;

pub use access::{Federation, Token, User};
pub use certificate::Certificate;
pub use condition::Condition;
pub use event::Event;
pub use list::{List, WatchEvent, WatchKind};
pub use meta::{Generation, ObjectMeta, Resource, ResourceVersion, Timestamp};
pub use names::{
    CertificateName, FederationName, NodeName, ProjectName, SecretName, TokenName, UserName,
};
pub use node::Node;
pub use problem::Problem;
pub use project::Project;
pub use secret::Secret;

/// The value of `apiVersion` in every document of this API.
pub const API_VERSION: &str = "caravanserai/v1";
