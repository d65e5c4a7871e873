//! Common Process ID.
