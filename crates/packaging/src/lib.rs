//! What is installed on a Mac: the app with the system extension in it, its signature and the
//! installer's package, made on any machine and read back with code that did not make it.
//!
//! Used by the developer's tools only; nothing of it is shipped.

#![forbid(unsafe_code)]

pub mod app;
pub mod archive;
pub mod build_id;
pub mod credentials;
pub mod inspect;
pub mod notices;
pub mod package;
pub mod requirement_blob;
pub mod sbom;
pub mod signature;
pub mod universal;
pub mod version;
